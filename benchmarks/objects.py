"""What references cost: microseconds and bytes each; and how fast values are put and got.

    python benchmarks/objects.py [--refs N] [--tasks N] [--part bookkeeping|rates|puts|tasks]

Bookkeeping: lists of 10,000 references are put, got, passed to an actor that keeps them, and dropped again, until the
owner knows; and 1,000 references are passed to a task as arguments of their own. Memory is the growth of the driver's
resident set while it holds so many references. Times are medians of several rounds; each part has an interpreter and a
cluster of its own.
"""

import argparse
import gc
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import trayray as ray
from trayray.worker.current import core_worker

_IN_A_LIST = 10_000
_AT_ONCE = 1_000
_ROUNDS = 7


@ray.remote(num_cpus=0)
class Borrower:
    """Keeps references of others."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, refs: list[Any]) -> None:
        self.kept = refs

    def drop(self) -> float:
        """Seconds until all are given up here."""
        begin = time.perf_counter()
        self.kept = []
        return time.perf_counter() - begin


@ray.remote(num_cpus=0)
def take_all(*values: Any) -> int:
    """References as arguments of their own."""
    return len(values)


@ray.remote(num_cpus=0)
def take_list(refs: list[Any]) -> int:
    """References inside an argument, of which none stays."""
    return len(refs)


@ray.remote
def nothing() -> None:
    """A result to refer to."""


def seconds(work: Callable[[], object]) -> float:
    """Of one execution: the median of several, after one that warms up."""
    work()
    times: list[float] = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def row(name: str, value: float, unit: str) -> None:
    """One line of the result."""
    print(f"{name:60} {value:12,.2f} {unit}", flush=True)


def measure_bookkeeping() -> None:
    """Microseconds a reference."""
    refs = [ray.put(i) for i in range(_IN_A_LIST)]
    each = 1e6 / _IN_A_LIST
    row("put of a list of refs (note, export)", seconds(lambda: ray.put(refs)) * each, "us a ref")
    nested = ray.put(refs)
    row("get of that list in its owner (adopt)", seconds(lambda: ray.get(nested)) * each, "us a ref")
    row("a list of refs to a task and back", seconds(lambda: ray.get(take_list.remote(refs))) * each, "us a ref")
    few = refs[:_AT_ONCE]
    row("1,000 refs as arguments", seconds(lambda: ray.get(take_all.remote(*few))) * 1e6 / _AT_ONCE, "us a ref")

    borrower = Borrower.remote()
    kept: list[float] = []
    dropped: list[float] = []
    given_back: list[float] = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        ray.get(borrower.keep.remote(refs))
        kept.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        dropped.append(ray.get(borrower.drop.remote()))
        wait_until_nothing_is_lent()
        given_back.append(time.perf_counter() - begin)
    row("a list of refs to an actor that keeps them", statistics.median(kept) * each, "us a ref")
    row("dropped by the borrower", statistics.median(dropped) * each, "us a ref")
    row("dropped, until the owner has heard of it", statistics.median(given_back) * each, "us a ref")
    ray.kill(borrower)


def wait_until_nothing_is_lent() -> None:
    """Until all that others borrowed has been given back."""
    core = core_worker()
    assert core is not None
    while core.references.lent:
        time.sleep(0.0002)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


def measure_memory(name: str, count: int, make: Callable[[int], Any]) -> None:
    """Bytes and microseconds of each of ``count`` references that are held."""
    gc.collect()
    before = resident()
    begin = time.perf_counter()
    held: list[Any] = []
    while len(held) < count:  # not all at once: what pending tasks take is not the question
        held += [make(i) for i in range(min(_AT_ONCE, count - len(held)))]
        ray.wait(held[-_AT_ONCE:], num_returns=min(_AT_ONCE, len(held)))
    passed = time.perf_counter() - begin
    row(f"{count:,} held {name}", (resident() - before) / count, "bytes a ref")
    row("   made in", passed / count * 1e6, "us a ref")
    begin = time.perf_counter()
    held.clear()
    row("   dropped in", (time.perf_counter() - begin) / count * 1e6, "us a ref")


def measure_rates() -> None:
    """Values a second."""
    small = ray.put(0)
    row("put, small", 1_000 / seconds(lambda: [ray.put(0) for _ in range(1_000)]), "a second")
    row("get, small", 1_000 / seconds(lambda: [ray.get(small) for _ in range(1_000)]), "a second")
    for size, times in ((256 * 1024, 100), (1024 * 1024, 100), (100 * 1024 * 1024, 3)):
        array = np.zeros(size, np.uint8)
        stored = ray.put(array)
        name = f"{size // 1024:,} KiB"
        rate = times / seconds(lambda array=array, times=times: [ray.put(array) for _ in range(times)])
        row(f"put, {name}", rate, f"a second ({rate * size / 1e9:.1f} GB/s)")
        rate = times / seconds(lambda stored=stored, times=times: [ray.get(stored) for _ in range(times)])
        row(f"get, {name}", rate, "a second")


def main() -> None:
    """All of it, on local clusters of two CPUs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refs", type=int, default=1_000_000, help="references of put values to hold at once")
    parser.add_argument("--tasks", type=int, default=200_000, help="references of results to hold at once")
    parser.add_argument("--part", choices=("bookkeeping", "rates", "puts", "tasks"), help="this part alone")
    options = parser.parse_args()
    if options.part is None:
        for part in ("bookkeeping", "rates", "puts", "tasks"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", part], check=True)
        return
    ray.init(address="local", num_cpus=2, object_store_memory=2**30, include_dashboard=False, log_to_driver=False)
    match options.part:
        case "bookkeeping":
            measure_bookkeeping()
        case "rates":
            measure_rates()
        case "puts":
            measure_memory("refs of put integers", options.refs, ray.put)
        case _:
            ray.get([nothing.remote() for _ in range(100)])
            measure_memory("results of tasks", options.tasks, lambda _: nothing.remote())
    ray.shutdown()


if __name__ == "__main__":
    main()
