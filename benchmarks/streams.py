"""How many items a second streams carry, one way and to and fro, beside a call for each item.

    python benchmarks/streams.py [--items N] [--init]

``--init`` runs the core worker in a thread of its own, as under ``init``; otherwise it is a task of the program's loop.
"""

import argparse
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

import trayray

_ROUNDS = 3


class Async:
    """Streams in an event loop."""

    async def echo(self, stream: trayray.Stream[Any, Any]) -> None:
        async for item in stream:
            await stream.send(item)

    async def sink(self, stream: trayray.Stream[Any, Any]) -> int:
        return sum([1 async for _ in stream])

    async def source(self, stream: trayray.Stream[Any, Any], count: int, item: Any) -> None:
        for _ in range(count):
            await stream.send(item)

    async def same(self, item: Any) -> Any:
        return item


class Plain:
    """Streams in the main thread."""

    def echo(self, stream: trayray.BlockingStream[Any, Any]) -> None:
        for item in stream:
            stream.send(item)

    def sink(self, stream: trayray.BlockingStream[Any, Any]) -> int:
        return sum(1 for _ in stream)

    def source(self, stream: trayray.BlockingStream[Any, Any], count: int, item: Any) -> None:
        for _ in range(count):
            stream.send(item)

    def same(self, item: Any) -> Any:
        return item


async def ping_pong(method: Any, count: int) -> None:
    async with trayray.open_stream(method) as stream:
        for number in range(count):
            await stream.send(number)
            assert await stream.receive() == number


async def send(method: Any, count: int) -> None:
    async with trayray.open_stream(method) as stream:
        for number in range(count):
            await stream.send(number)
        await stream.send_eof()
    assert stream.result == count


async def receive(method: Any, count: int, item: Any = 1) -> None:
    async with trayray.open_stream(method, count, item) as stream:
        assert sum([1 async for _ in stream]) == count


async def calls(method: Any, count: int) -> None:
    for number in range(count):
        assert await trayray.call(method, number) == number


async def rate(count: int, work: Callable[[], Awaitable[None]]) -> float:
    """Items a second, the median of some rounds."""
    rates: list[float] = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        await work()
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


@asynccontextmanager
async def cluster(*, in_thread: bool) -> AsyncGenerator[None]:
    """A cluster of two CPUs."""
    if not in_thread:
        async with trayray.open_cluster(num_cpus=2, log_to_driver=False):
            yield
        return
    trayray.init(address="local", num_cpus=2, log_to_driver=False)
    try:
        yield
    finally:
        trayray.shutdown()


def rows(actor: Any, count: int) -> list[tuple[str, int, Callable[[], Awaitable[None]]]]:
    """What is measured: its name, how many items, the work."""
    wide, large, blocks = {"max_buffered": 256}, bytes(1_000_000), count // 100
    return [
        ("ping-pong", count, lambda: ping_pong(actor.echo, count)),
        ("a call for each", count, lambda: calls(actor.same, count)),
        ("to the actor", count, lambda: send(actor.sink, count)),
        ("to the actor, 256 ahead", count, lambda: send(actor.sink.options(**wide), count)),
        ("from the actor", count, lambda: receive(actor.source, count)),
        ("from the actor, 256 ahead", count, lambda: receive(actor.source.options(**wide), count)),
        ("from the actor, 1 MB each", blocks, lambda: receive(actor.source, blocks, large)),
    ]


async def main(count: int, in_thread: bool) -> None:
    async with cluster(in_thread=in_thread):
        for kind in Async, Plain:
            async with trayray.open_actor(trayray.remote(kind)) as actor:
                await ping_pong(actor.echo, 100)
                for name, items, work in rows(actor, count):
                    print(f"{kind.__name__:6} {name:28} {await rate(items, work):10,.0f} items/s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--init", action="store_true")
    options = parser.parse_args()
    trio.run(main, options.items, options.init)
