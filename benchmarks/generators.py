"""How many values a second remote generators deliver, by the kind of executor and by how they are consumed.

    python benchmarks/generators.py [--items N] [--with MODULE]

``--with ray`` measures the same on Ray, where that is installed.
"""

import argparse
import asyncio
import importlib
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

_ROUNDS = 3


def rate(count: int, work: Callable[[], int]) -> float:
    """Values a second, the median of some rounds; ``work`` says how many values it got."""
    rates: list[float] = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        assert work() == count
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


def number_of(values: Iterable[Any]) -> int:
    return sum(1 for _ in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--with", dest="module", default="trayray")
    options = parser.parse_args()
    ray: Any = importlib.import_module(options.module)
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    count: int = options.items

    class Plain:
        def produce(self, n: int) -> Iterator[int]:
            for number in range(n):  # noqa: UP028 -- Ray fails on `yield from` an iterator
                yield number

    class Async:
        async def produce(self, n: int) -> AsyncIterator[int]:
            for number in range(n):
                yield number

    async def consume(stream: Any) -> int:
        return sum([await ref >= 0 async for ref in stream])

    def plain_produce(n: int) -> Iterator[int]:
        for number in range(n):  # noqa: UP028 -- Ray fails on `yield from` an iterator
            yield number

    def blocks(n: int) -> Iterator[bytes]:
        for _ in range(n):
            yield bytes(100_000)

    task = ray.remote(plain_produce)
    limited = task.options(_generator_backpressure_num_objects=100)
    plain, asynchronous = ray.remote(Plain).remote(), ray.remote(Async).remote()
    block = ray.remote(blocks)
    rows: list[tuple[str, int, Callable[[], int]]] = [
        ("task, references only", count, lambda: number_of(task.remote(count))),
        ("task, values", count, lambda: number_of(ray.get(ref) for ref in task.remote(count))),
        ("task, async for and await", count, lambda: asyncio.run(consume(task.remote(count)))),
        ("task, at most 100 ahead", count, lambda: number_of(ray.get(ref) for ref in limited.remote(count))),
        ("plain actor, values", count, lambda: number_of(ray.get(ref) for ref in plain.produce.remote(count))),
        ("async actor, values", count, lambda: number_of(ray.get(ref) for ref in asynchronous.produce.remote(count))),
        ("task, values of 100 kB", count // 20, lambda: number_of(ray.get(ref) for ref in block.remote(count // 20))),
    ]
    try:
        number_of(task.remote(100))
        for name, items, work in rows:
            print(f"{name:30} {rate(items, work):10,.0f} values/s", flush=True)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
