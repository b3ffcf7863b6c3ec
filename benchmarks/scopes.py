"""The Trio-native face: what calls through scopes cost, and how quickly failures end everything.

    python benchmarks/scopes.py [--seconds S]

Rates are of calls that do nothing, one at a time unless it says otherwise. The core worker is a task of the program's
own loop. Failures: four calls, of which the first raises after 0.1 s and the others would write a file after 4 s; an
error that passes three processes.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import trio

import trayray


@trayray.remote
def nothing() -> None:
    pass


@trayray.remote(num_cpus=0)
class Idle:
    def ping(self) -> None:
        pass


@trayray.remote(num_cpus=0)
class AsyncIdle:
    async def ping(self) -> None:
        pass


@trayray.remote(num_cpus=0)
def fail(seconds: float) -> None:
    time.sleep(seconds)
    raise ValueError("on purpose")


@trayray.remote(num_cpus=0)
def write(path: pathlib.Path, seconds: float) -> None:
    time.sleep(seconds)
    path.touch()


@trayray.task(num_cpus=0)
async def level(depth: int) -> None:
    if depth == 0:
        raise ValueError("at the bottom")
    async with trayray.open_nursery() as nursery:
        nursery.start_soon(level, depth - 1)
        await trio.sleep_forever()


async def rate(name: str, seconds: float, operation: Callable[[], Awaitable[object]], count: int = 1) -> None:
    await operation()
    rates: list[float] = []
    for _ in range(3):
        begun, done = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            await operation()
            done += count
        rates.append(done / (time.perf_counter() - begun))
    print(f"{name:44s} {statistics.median(rates):10,.0f} /s")


async def nursery_of(count: int) -> None:
    async with trayray.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(nothing)


async def references(count: int) -> None:
    for ref in [nothing.remote() for _ in range(count)]:
        await ref


async def one_actor() -> None:
    async with trayray.open_actor(Idle) as actor:
        await trayray.call(actor.ping)


async def group(directory: pathlib.Path) -> float:
    """Seconds from the failure's moment until the group has arrived."""
    begun = time.perf_counter()
    try:
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(fail, 0.1)
            for i in range(3):
                nursery.start_soon(write, directory / str(i), 4.0)
    except* ValueError:
        pass
    return time.perf_counter() - begun - 0.1


async def three_processes() -> float:
    begun = time.perf_counter()
    with contextlib.suppress(ExceptionGroup):
        await trayray.call(level, 3)
    return time.perf_counter() - begun


async def times(name: str, count: int, measure: Callable[[], Awaitable[float]]) -> None:
    taken = [await measure() * 1e3 for _ in range(count)]
    print(
        f"{name:44s} {statistics.median(taken):10.1f} ms   ({min(taken):.1f} to {max(taken):.1f}, first {taken[0]:.1f})"
    )


async def main(seconds: float) -> None:
    begun = time.perf_counter()
    async with trayray.open_cluster(num_cpus=4, object_store_memory=100 * 2**20, log_to_driver=False):
        print(f"{'open_cluster':44s} {(time.perf_counter() - begun) * 1e3:10.1f} ms")
        await rate("await ref", seconds, nothing.remote)
        await rate("call", seconds, lambda: trayray.call(nothing))
        await rate("1,000 references, awaited", seconds, lambda: references(1000), 1000)
        await rate("nursery of 1,000 calls", seconds, lambda: nursery_of(1000), 1000)
        async with trayray.open_actor(Idle) as actor, trayray.open_actor(AsyncIdle) as async_actor:
            await rate("call of an actor", seconds, lambda: trayray.call(actor.ping))
            await rate("call of an async actor", seconds, lambda: trayray.call(async_actor.ping))
        await rate("open_actor, one call", seconds, one_actor)
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            await times("one of four fails: the group, after that", 10, lambda: group(directory))
            await trio.sleep(4.0)
            print(f"{'files that the others have written':44s} {len(os.listdir(directory)):10d}")
        await times("an error passes three processes", 20, three_processes)
        begun = time.perf_counter()
    print(f"{'leaving the cluster':44s} {(time.perf_counter() - begun) * 1e3:10.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5)
    trio.run(main, parser.parse_args().seconds)
