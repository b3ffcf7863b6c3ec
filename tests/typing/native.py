"""What checkers see of the Trio-native face."""

from collections.abc import Iterator
from typing import assert_type

import trayray
from trayray import ObjectRef, ObjectRefGenerator


@trayray.remote
def add(x: int, y: int = 1) -> str:
    return str(x + y)


@trayray.remote(num_returns=2)
def pair(x: int) -> tuple[int, str]:
    return x, str(x)


@trayray.task
async def patient(x: int) -> float:
    return x / 2


@trayray.remote
def numbers(n: int) -> Iterator[int]:
    yield from range(n)


@trayray.remote
class Counter:
    def __init__(self, start: int) -> None:
        self.total = start

    def add(self, x: int) -> int:
        self.total += x
        return self.total

    async def patient(self, x: int) -> str:
        return str(x)

    @trayray.method
    def marked(self, x: int) -> bool:
        return x > 0


async def main(ref: ObjectRef[int]) -> None:
    async with trayray.open_cluster(num_cpus=2) as cluster:
        assert_type(cluster.address, str)
        assert_type(await trayray.call(add, 1, y=2), str)
        assert_type(await trayray.call(add, ref, 2), str)
        assert_type(await trayray.call(add.options(num_cpus=2), 1), str)
        assert_type(await trayray.call(patient, 1), float)
        assert_type(await trayray.call(pair, 1), tuple[int, str])
        async with trayray.open_nursery() as nursery:
            assert_type(nursery.start_soon(add, 1), ObjectRef[str])
            assert_type(nursery.start_soon(add, ref), ObjectRef[str])
            assert_type(nursery.start_soon(numbers, 3), ObjectRefGenerator[int])
            assert_type(await nursery.start_soon(patient, 1), float)
        async with trayray.open_actor(Counter, 1) as counter:
            assert_type(await trayray.call(counter.add, 2), int)
            assert_type(await trayray.call(counter.patient, 2), str)
            assert_type(await trayray.call(counter.marked, 2), bool)
            async with trayray.open_nursery() as nursery:
                assert_type(nursery.start_soon(counter.add, 2), ObjectRef[int])
                assert_type(nursery.start_soon(counter.patient, 2), ObjectRef[str])
        async for each in trayray.as_completed([ref]):
            assert_type(each, ObjectRef[int])
        assert_type(trayray.time_left(), float)
