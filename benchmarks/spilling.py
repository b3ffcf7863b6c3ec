"""Spilling beside `dd`: a workload of four times the store is put and got again, every value checked.

    python benchmarks/spilling.py [--directory DIR] [--store MIB] [--sizes MIB ...]

For each object size: objects are put until there are four times as many bytes as the store holds, so that most of them
go to files; then all are got, in the order in which they were put. The first half is timed: the last ones may still be
in memory. `dd` writes as many bytes as went to files and reads them, with the object's size as its block size, in the
same directory; who is first alternates, for disks are fast until their caches are full. Neither side syncs what it
writes; before reading, the files of either are written back and dropped from the page cache. trayray's times contain
copying into the store, but not checking what comes back.
"""

import argparse
import gc
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import zlib

import numpy as np

import trayray as ray

_MIB = 2**20
#: How many times the store's size is put.
_TIMES = 4


def drop_from_page_cache(directory: pathlib.Path) -> None:
    """What is read from the files below ``directory`` comes from the disk from now on."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def bytes_below(directory: pathlib.Path) -> int:
    """What the files below ``directory`` hold."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def run_dd(*arguments: str) -> float:
    """Seconds that ``dd`` takes."""
    begin = time.perf_counter()
    subprocess.run(["dd", *arguments, "status=none"], check=True)
    return time.perf_counter() - begin


def measure_dd(directory: pathlib.Path, block: int, total: int) -> tuple[float, float]:
    """MiB a second of writing, and of reading, ``total`` bytes (rounded to blocks) in blocks of ``block`` bytes."""
    path = directory / "dd"
    count = max(1, total // block)
    written = run_dd("if=/dev/zero", f"of={path}", f"bs={block}", f"count={count}")
    drop_from_page_cache(directory)
    read = run_dd(f"if={path}", "of=/dev/null", f"bs={block}")
    path.unlink()
    mebibytes = count * block / _MIB
    return mebibytes / written, mebibytes / read


def measure_trayray(directory: pathlib.Path, block: int, store: int) -> tuple[float, float, int]:
    """MiB a second of writing, and of reading, and the bytes in files when all was put.

    The rates count what goes to files over the time of all puts, and what comes from them over that of its gets.
    """
    count = _TIMES * store // block
    config = {"type": "filesystem", "params": {"directory_path": str(directory)}}
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=store,
        include_dashboard=False,
        log_to_driver=False,
        _system_config={"object_spilling_config": config},
    )
    try:
        array = np.random.default_rng(block).integers(0, 2**63, block // 8, np.int64)
        checksum = zlib.crc32(array[1:])
        refs: list[ray.ObjectRef[np.ndarray]] = []
        begin = time.perf_counter()
        for number in range(count):
            array[0] = number  # no two objects are alike
            refs.append(ray.put(array))
        putting = time.perf_counter() - begin
        spilled = bytes_below(directory)
        drop_from_page_cache(directory)
        getting = 0.0
        for number, ref in enumerate(refs):
            begin = time.perf_counter()
            found = ray.get(ref)
            if number < count // 2:
                getting += time.perf_counter() - begin
            if found[0] != number or zlib.crc32(found[1:]) != checksum:
                raise SystemExit(f"{ref} of {block} bytes came back with other bytes than were put")
            del found
        refs.clear()
        gc.collect()
    finally:
        ray.shutdown()
    return spilled / _MIB / putting, count // 2 * block / _MIB / getting, spilled


def main() -> None:
    """A table: a row a size and direction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", help="where both write; default: a temporary one")
    parser.add_argument("--store", type=int, default=512, help="MiB of the object store")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64], help="MiB of an object")
    parser.add_argument("--rounds", type=int, default=3, help="of both; the medians are shown")
    options = parser.parse_args()
    print(f"{'':28} {'trayray':>14} {'dd':>14}   ratio")
    for size in options.sizes:
        rounds = [
            measure_round(options.directory, size * _MIB, options.store * _MIB, dd_first=number % 2 == 1)
            for number in range(options.rounds)
        ]
        for way, what in enumerate(("spill", "restore")):
            ours = statistics.median(trayray[way] for trayray, _ in rounds)
            theirs = statistics.median(dd[way] for _, dd in rounds)
            print(
                f"{what}, objects of {size} MiB".ljust(28),
                f"{ours:9,.0f} MiB/s {theirs:9,.0f} MiB/s   {ours / theirs:.2f}",
            )


def measure_round(
    parent: str | None, block: int, store: int, *, dd_first: bool
) -> tuple[tuple[float, float], tuple[float, float]]:
    """MiB a second of writing and reading, of trayray and of ``dd``; each begins with nothing left to be written."""
    total = (_TIMES - 1) * store
    dd = None
    with tempfile.TemporaryDirectory(dir=parent) as name:
        directory = pathlib.Path(name)
        if dd_first:
            os.sync()
            dd = measure_dd(directory, block, total)
        os.sync()
        spill, restore, spilled = measure_trayray(directory, block, store)
        if not spilled:
            sys.exit(f"nothing was spilled of {_TIMES} times a store of {store // _MIB} MiB; use a smaller store")
        os.sync()
        return (spill, restore), dd or measure_dd(directory, block, spilled)


if __name__ == "__main__":
    main()
