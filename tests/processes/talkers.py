"""Actors and functions with streams, for the tests of streams."""

import asyncio
import gc
import os
import pathlib
import threading

import numpy as np
import pytest
import trio

import trayray

MIB = 1024 * 1024


def write(path: str, text: str) -> None:
    with pathlib.Path(path).open("a") as file:
        file.write(text)


@trayray.remote(num_cpus=0)
class Talker:
    """An asynchronous actor."""

    def __init__(self):
        self.got = []
        self.gate = asyncio.Event()
        self.sent = 0
        self.kept = None

    async def echo(self, stream: trayray.Stream[object, object], times: int = 1):
        count = 0
        async for item in stream:
            count += 1
            for _ in range(times):
                await stream.send(item)
        return count

    async def half_close(self, stream: trayray.Stream[int, int], count: int):
        for number in range(count):
            await stream.send(number)
        await stream.send_eof()
        with pytest.raises(trio.ClosedResourceError, match="send_eof"):
            await stream.send(1)
        return [item async for item in stream]

    async def hold_still(self, stream: trayray.Stream[int, int]):
        await self.gate.wait()
        self.gate.clear()
        return [item async for item in stream]

    async def open_gate(self):
        self.gate.set()

    async def pour(self, stream: trayray.Stream[int, int], count: int):
        for number in range(count):
            await stream.send(number)
            self.sent = number + 1
        return "poured"

    async def how_many_sent(self):
        return self.sent

    async def fail_after(self, stream: trayray.Stream[object, int], count: int):
        for number in range(count):
            await stream.send(number)
        raise LookupError(f"after {count}")

    async def stay(self, stream: trayray.Stream[object, str], path: str):
        try:
            await stream.send("there")
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            write(path, "asyncio clean-up")

    async def stay_in_trio(self, stream: trayray.Stream[object, str], path: str):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send, "there")
                nursery.start_soon(stream.receive)
        finally:
            write(path, "trio clean-up")

    async def wait_for_item(self, stream: trayray.Stream[object, str], path: str):
        try:
            await stream.send("there")
            await stream.receive()
        except asyncio.CancelledError:
            write(path, "cancelled")
            raise

    async def keep(self, stream: trayray.Stream[object, object]):
        self.kept = await stream.receive()
        await stream.send(self.kept)

    async def read_kept(self):
        return [await ref for ref in self.kept]

    async def drop_kept(self):
        self.kept = None
        gc.collect()

    async def pid(self):
        return os.getpid()

    async def call_other(self, stream: trayray.Stream[int, int], other, path: str):
        async with trayray.open_stream(other.stay, path) as inner:
            assert await inner.receive() == "there"
            await stream.send(1)
            await inner.receive()

    async def asyncio_ways(self, stream: trayray.Stream[int, object]):
        """What asyncio code does to an await."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stream.receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.receive(), 0.05)
        await stream.send("ready")
        tasks = [asyncio.create_task(stream.receive()) for _ in range(2)]
        found = sorted(await asyncio.gather(*tasks))
        await asyncio.gather(stream.send(found), stream.send(np.full(MIB, 7)))
        async with asyncio.timeout(5):
            return await stream.receive()

    async def none(self):
        return 0

    async def number(self, number: int):
        return number

    async def generator(self, stream: trayray.Stream[int, int]):
        yield 1

    async def wrong_kind(self, stream: trayray.BlockingStream[int, int]):
        return 0

    def plain_method(self, stream: trayray.BlockingStream[int, int]):
        return 0


@trayray.remote(num_cpus=0)
class Plain:
    """A plain actor, or a threaded one."""

    def echo(self, stream: trayray.BlockingStream[object, object], times: int = 1):
        count = 0
        for item in stream:
            count += 1
            for _ in range(times):
                stream.send(item)
        return count

    def first(self, stream: "trayray.BlockingStream[int, int]"):
        stream.send_eof()
        return stream.receive()

    def stay(self, stream: trayray.BlockingStream[object, str], path: str):
        try:
            stream.send("there")
            stream.receive()
        finally:
            pathlib.Path(path).write_text("clean-up")

    def pour(self, stream: trayray.BlockingStream[object, int], path: str):
        try:
            for number in range(1000):
                stream.send(number)
        except BaseException as error:
            pathlib.Path(path).write_text(type(error).__name__)
            raise

    def thread(self):
        return threading.current_thread().name

    def wrong_kind(self, stream: trayray.Stream[int, int]):
        return 0


@trayray.task(num_cpus=0)
async def echo_task(stream: trayray.Stream[object, object]):
    count = 0
    async for item in stream:
        count += 1
        await stream.send(item)
        await asyncio.sleep(0)
        await trio.lowlevel.checkpoint()
    return count


@trayray.remote(num_cpus=0)
def plain_task(stream: trayray.BlockingStream[object, object]):
    count = 0
    for item in stream:
        count += 1
        stream.send(item)
    return count


@trayray.task(num_cpus=0, max_retries=3, retry_exceptions=True)
async def stubborn_task(stream: trayray.Stream[object, str], path: str):
    try:
        await stream.send("there")
        await stream.receive()
        raise ValueError("this is not tried again")
    finally:
        write(path, "ended")
