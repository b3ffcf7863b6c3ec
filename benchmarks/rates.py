"""How many calls, objects and actors a second: the same work on any module with Ray's API, or on process pools.

    python benchmarks/rates.py trayray --json trayray.json
    python benchmarks/rates.py ray --json ray.json          # in an environment that has Ray
    python benchmarks/rates.py pool --json pool.json
    python benchmarks/rates.py --compare trayray.json ray.json pool.json

Run the modules one after the other on a machine that does nothing else. Every row is a rate (higher is better).
"""

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 1000
ROUNDS = 5
#: Shortest round that is worth timing (seconds).
ROUND_SECONDS = 0.5
HUNDRED_MEGABYTES = 100 * 2**20


def rate(work: Callable[[], object], units: float) -> float:
    """Units a second: the median of several rounds, after one that warms up."""
    work()
    rates: list[float] = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        times = 0
        while (passed := time.perf_counter() - begin) < ROUND_SECONDS:
            work()
            times += 1
        rates.append(times * units / passed)
    return statistics.median(rates)


def answer() -> bytes:
    """The smallest useful task."""
    return b"ok"


def measure_pools() -> dict[str, float]:
    """What the standard library offers for the same work."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import Pool

    rows: dict[str, float] = {}
    with ProcessPoolExecutor(2) as executor:
        rows["task, one at a time"] = rate(lambda: executor.submit(answer).result(), 1)
    with Pool(2) as pool:
        rows["tasks, 1,000 at once"] = rate(
            lambda: [result.get() for result in [pool.apply_async(answer) for _ in range(BATCH)]], BATCH
        )
    return rows


def measure(ray: Any) -> dict[str, float]:
    """The rows of a module with Ray's API, on a local cluster of two CPUs."""
    import numpy as np

    ray.init(num_cpus=2, object_store_memory=2 * 2**30, include_dashboard=False, log_to_driver=False)
    task = ray.remote(answer)
    plain, asynchronous = ray.remote(Plain), ray.remote(Asynchronous)
    array = np.zeros(HUNDRED_MEGABYTES, dtype=np.uint8)
    rows: dict[str, float] = {}

    def all_of(call: Callable[[], Any]) -> None:
        ray.get([call() for _ in range(BATCH)])

    rows["task, one at a time"] = rate(lambda: ray.get(task.remote()), 1)
    rows["tasks, 1,000 at once"] = rate(lambda: all_of(task.remote), BATCH)
    for name, cls in (("actor call", plain), ("async actor call", asynchronous)):
        actor = cls.remote()
        rows[f"{name}, one at a time"] = rate(lambda method=actor.answer: ray.get(method.remote()), 1)
        rows[f"{name}s, 1,000 at once"] = rate(lambda method=actor.answer: all_of(method.remote), BATCH)
    small = ray.put(0)
    rows["get, small"] = rate(lambda: ray.get(small), 1)
    rows["put, small"] = rate(lambda: ray.put(0), 1)
    rows["put, 100 MB (GB)"] = rate(lambda: ray.put(array), HUNDRED_MEGABYTES / 1e9)
    time.sleep(1)  # until what the rows before have used has been given back
    begin = time.perf_counter()
    actors = [plain.options(num_cpus=0).remote() for _ in range(20)]
    ray.get([actor.answer.remote() for actor in actors])
    rows["actors started, 20 at once"] = 20 / (time.perf_counter() - begin)
    ray.shutdown()
    return rows


class Plain:
    """An actor that answers."""

    def answer(self) -> bytes:
        return b"ok"


class Asynchronous:
    """An asynchronous actor that answers."""

    async def answer(self) -> bytes:
        return b"ok"


def compare(files: list[str]) -> None:
    """A table: a row a measurement, a column a file, and the first file's ratio to each other one."""
    columns = {Path(file).stem: json.loads(Path(file).read_text()) for file in files}
    first, *others = columns
    print(f"| a second | {' | '.join(columns)} | {' | '.join(f'{first} / {other}' for other in others)} |")
    print("|---|" + "---|" * (len(columns) + len(others)))
    for row, value in columns[first].items():
        values = [columns[name].get(row) for name in columns]
        shown = [f"{number:,.{0 if number >= 100 else 1}f}" if number else "" for number in values]
        ratios = [f"{value / columns[other][row]:.1f}" if row in columns[other] else "" for other in others]
        print(f"| {row} | {' | '.join(shown)} | {' | '.join(ratios)} |")


def main() -> None:
    """Measure one module, or compare files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", nargs="?", default="trayray", help="trayray, ray or pool")
    parser.add_argument("--json", help="write the rates there too")
    parser.add_argument("--compare", nargs="+", metavar="FILE")
    options = parser.parse_args()
    if options.compare:
        compare(options.compare)
        return
    rows = measure_pools() if options.module == "pool" else measure(importlib.import_module(options.module))
    for row, value in rows.items():
        print(f"{row:32} {value:14,.1f}", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
