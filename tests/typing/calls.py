"""What every checker infers: pyright, mypy, and mypy with the plugin. Only type-checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, assert_type, overload

import trayray as ray
from trayray import DynamicObjectRefGenerator, ObjectRef, ObjectRefGenerator
from trayray.actor import ActorProxy
from trayray.remote_function import RemoteFunction

T = TypeVar("T")
P = ParamSpec("P")


# ------------------------------------------------ functions
@ray.remote
def nothing() -> None: ...


@ray.remote
def f(x: int, y: str = "") -> float:
    return 1.0


@ray.remote(num_cpus=1, max_retries=3)
def g(x: int, *, flag: bool = False, **rest: float) -> list[str]:
    return []


@ray.remote(max_calls=1)
def star(*numbers: int) -> int:
    return sum(numbers)


@ray.remote
def pair(x: T, n: int = 1) -> tuple[T, int]:
    return x, n


@ray.remote
def count(n: int) -> Iterator[int]:
    yield n


@ray.remote
def count_generator(n: int) -> Generator[str, None, float]:
    yield ""
    return 1.0


@ray.remote(num_returns="streaming")
def count_streaming(n: int) -> Iterator[bytes]:
    yield b""


@ray.remote(num_returns=2)
def two(x: int) -> tuple[int, str]:
    return x, ""


@ray.remote(num_returns=3, num_gpus=1)
def three() -> tuple[int, str, bytes]:
    return 1, "", b""


@ray.remote(num_returns=4)
def four() -> tuple[int, int, int, int]:
    return 1, 2, 3, 4


@ray.remote(num_returns=0)
def zero(x: int) -> None: ...


@ray.remote(num_returns="dynamic")
def dynamic(n: int) -> Iterator[int]:
    yield n


@ray.remote(num_returns=2)
def two_of_many(n: int) -> Iterator[int]:
    yield n


@ray.task(num_returns=3)
async def three_of_many(n: int) -> AsyncIterator[str]:
    yield ""


@ray.remote(num_returns=5)
def five_of_many(n: int) -> Generator[int, None, None]:
    yield n


@ray.task
async def coroutine(x: int) -> str:
    return ""


@ray.task
async def task(x: int, *, y: str = "") -> bytes:
    return b""


@ray.task(num_cpus=2)
async def task_with_options(x: int) -> bytes:
    return b""


@ray.task
async def task_stream(n: int) -> AsyncIterator[int]:
    yield n


@ray.task(num_returns=2, max_calls=1)
async def task_pair(n: int) -> tuple[int, str]:
    return n, ""


@ray.task
def sync_task(n: int) -> int:
    return n


@ray.remote
def maybe(x: int | None = None) -> int | None:
    return x


@dataclass
class Point:
    x: int


@ray.remote
def point(p: Point) -> Point:
    return p


@ray.remote
def many(a: int, b: str, c: float, d: bytes, e: bool, f: list[int]) -> int:
    return a


@ray.remote
def refs_inside(refs: list[ObjectRef[int]]) -> int:
    return sum(ray.get(refs))


def int_ref() -> ObjectRef[int]:
    return ray.put(1)


def str_ref() -> ObjectRef[str]:
    return ray.put("")


assert_type(nothing.remote(), ObjectRef[None])
assert_type(f.remote(1), ObjectRef[float])
assert_type(f.remote(1, "a"), ObjectRef[float])
assert_type(f.remote(1, y="a"), ObjectRef[float])
assert_type(f.remote(x=1, y="a"), ObjectRef[float])
assert_type(g.remote(1), ObjectRef[list[str]])
assert_type(g.remote(1, flag=True, z=1.5), ObjectRef[list[str]])
assert_type(star.remote(1, 2, 3, 4, 5, 6, 7), ObjectRef[int])
assert_type(pair.remote("a"), ObjectRef[tuple[str, int]])
assert_type(pair.remote(x=b"", n=2), ObjectRef[tuple[bytes, int]])
assert_type(count.remote(3), ObjectRefGenerator[int])
assert_type(count_generator.remote(3), ObjectRefGenerator[str])
assert_type(count_streaming.remote(3), ObjectRefGenerator[bytes])
assert_type([ray.get(ref) for ref in count.remote(3)], list[int])
assert_type(next(count.remote(3)), ObjectRef[int])
assert_type(count.remote(3).completed(), ObjectRef[None])
assert_type(two.remote(1), tuple[ObjectRef[int], ObjectRef[str]])
first, second = two.remote(1)
assert_type(first, ObjectRef[int])
assert_type(second, ObjectRef[str])
assert_type(ray.get(two.remote(1)), tuple[int, str])
assert_type(three.remote(), tuple[ObjectRef[int], ObjectRef[str], ObjectRef[bytes]])
assert_type(ray.get(three.remote()), tuple[int, str, bytes])
assert_type(four.remote(), list[ObjectRef[Any]])
assert_type(dynamic.remote(1), ObjectRef[DynamicObjectRefGenerator[int]])
assert_type([ray.get(ref) for ref in ray.get(dynamic.remote(1))], list[int])
assert_type(two_of_many.remote(1), tuple[ObjectRef[int], ObjectRef[int]])
assert_type(three_of_many.remote(1), tuple[ObjectRef[str], ObjectRef[str], ObjectRef[str]])
assert_type(five_of_many.remote(1), list[ObjectRef[int]])
assert_type(coroutine.remote(1), ObjectRef[str])
assert_type(task.remote(1, y=""), ObjectRef[bytes])
assert_type(task_with_options.remote(1), ObjectRef[bytes])
assert_type(task_stream.remote(1), ObjectRefGenerator[int])
assert_type(task_pair.remote(1), tuple[ObjectRef[int], ObjectRef[str]])
assert_type(sync_task.remote(1), ObjectRef[int])
assert_type(maybe.remote(None), ObjectRef[int | None])
assert_type(point.remote(Point(1)), ObjectRef[Point])
assert_type(ray.get(point.remote(Point(1))).x, int)
assert_type(refs_inside.remote([int_ref()]), ObjectRef[int])
zero.remote(1)
ray.remote(lambda: 1).remote()

# ------------------------------------------------ options
assert_type(f.options(num_cpus=2).remote(1, y="a"), ObjectRef[float])
assert_type(f.options(name="n", resources={"a": 1}, runtime_env={}).remote(x=1), ObjectRef[float])
assert_type(f.options(retry_exceptions=[ValueError]).remote(1), ObjectRef[float])
assert_type(count.options(num_cpus=1).remote(3), ObjectRefGenerator[int])
assert_type(count.options(num_returns="streaming").remote(3), ObjectRefGenerator[int])
assert_type(count.options(num_returns="dynamic").remote(3), ObjectRef[DynamicObjectRefGenerator[int]])
assert_type(count.options(num_returns=2).remote(3), tuple[ObjectRef[int], ObjectRef[int]])
assert_type(count.options(num_returns=3).remote(3), tuple[ObjectRef[int], ObjectRef[int], ObjectRef[int]])
assert_type(count.options(num_returns=7).remote(3), list[ObjectRef[int]])
assert_type(task_stream.options(num_returns=2).remote(3), tuple[ObjectRef[int], ObjectRef[int]])
assert_type(pair.options(num_returns=1).remote("a"), ObjectRef[tuple[str, int]])
assert_type(f.options(num_returns=5).remote(1), list[ObjectRef[Any]])
assert_type(coroutine.options(num_cpus=1).remote(1), ObjectRef[str])


@ray.remote
def plain_pair(x: int) -> tuple[int, str]:
    return x, ""


assert_type(plain_pair.remote(1), ObjectRef[tuple[int, str]])
assert_type(plain_pair.options(num_returns=2).remote(1), tuple[ObjectRef[int], ObjectRef[str]])
assert_type(two.options(num_cpus=1).remote(1), tuple[ObjectRef[int], ObjectRef[str]])

# ------------------------------------------------ references as arguments
assert_type(f.remote(int_ref()), ObjectRef[float])
assert_type(f.remote(int_ref(), "a"), ObjectRef[float])
assert_type(f.remote(1, str_ref()), ObjectRef[float])
assert_type(f.remote(int_ref(), str_ref()), ObjectRef[float])
assert_type(f.remote(1, y=str_ref()), ObjectRef[float])
assert_type(maybe.remote(x=int_ref()), ObjectRef[int | None])
assert_type(f.options(num_cpus=1).remote(int_ref()), ObjectRef[float])
assert_type(count.remote(int_ref()), ObjectRefGenerator[int])
assert_type(two.remote(int_ref()), tuple[ObjectRef[int], ObjectRef[str]])
assert_type(maybe.remote(int_ref()), ObjectRef[int | None])
assert_type(point.remote(point.remote(Point(1))), ObjectRef[Point])
assert_type(many.remote(int_ref(), "", 1.0, b"", True, []), ObjectRef[int])
assert_type(many.remote(1, str_ref(), 1.0, b"", True, ray.put([1])), ObjectRef[int])

# ------------------------------------------------ get, put, wait, await
assert_type(ray.put([1]), ObjectRef[list[int]])
assert_type(ray.get(f.remote(1)), float)
assert_type(ray.get(f.remote(1), timeout=2), float)
assert_type(ray.get([f.remote(1), f.remote(2)]), list[float])
assert_type(ray.get([f.remote(i) for i in range(3)], timeout=None), list[float])
assert_type(ray.wait([f.remote(1)], num_returns=1, timeout=0), tuple[list[ObjectRef[float]], list[ObjectRef[float]]])
ray.wait(two.remote(1), num_returns=2)
ray.wait([count.remote(1), f.remote(1), count_generator.remote(1)], num_returns=2)
both_kinds: list[ObjectRef[int] | ObjectRefGenerator[str]] = [int_ref(), count_generator.remote(1)]
streams, _ = ray.wait([count.remote(1), count.remote(2)])
assert_type(streams, list[ObjectRefGenerator[int]])
assert_type(next(streams[0]), ObjectRef[int])
assert_type(ray.wait(both_kinds)[0], list[ObjectRef[int] | ObjectRefGenerator[str]])
for item in count.remote(3):
    assert_type(item, ObjectRef[int])
assert_type(count.remote(3).next_ready(), bool)
ray.cancel(f.remote(1), force=True)
ray.cancel(count.remote(3), recursive=False)


async def awaiting() -> None:
    assert_type(await f.remote(1), float)
    async for ref in task_stream.remote(1):
        assert_type(await ref, int)
    assert_type(await anext(count.remote(1)), ObjectRef[int])
    assert_type(await count.remote(1).completed(), None)
    for ref in await dynamic.remote(1):
        assert_type(await ref, int)


ready, unready = ray.wait([coroutine.remote(1)])
assert_type(ray.get(ready[0]), str)


# ------------------------------------------------ classes in the calling form
class _Counter:
    def __init__(self, start: int = 0, *, name: str = "") -> None:
        self.value = start

    def add(self, n: int, *, twice: bool = False) -> int:
        return self.dec(n)

    async def wait_for(self, n: int) -> str:
        return ""

    def stream(self, n: int) -> Iterator[int]:
        yield n

    @ray.method
    def dec(self, n: int, *, twice: bool = False) -> int:
        return -n + self.add(1)

    @ray.method
    async def later(self, n: int) -> bytes:
        return b""

    @ray.method
    def items(self, n: int) -> Iterator[str]:
        yield ""

    @ray.method
    async def async_items(self) -> AsyncIterator[str]:
        yield ""

    @ray.method
    def echo(self, value: T) -> list[T]:
        return [value]

    @ray.method(num_returns=2)
    def split(self, n: int) -> tuple[int, str]:
        return self.dec(n), ""

    @ray.method(num_returns=2)
    async def split_later(self) -> tuple[int, str]:
        return 1, ""

    @ray.method(num_returns=3)
    async def split_in_three(self) -> tuple[int, str, bytes]:
        return 1, "", b""

    @ray.method(concurrency_group="io", max_task_retries=2)
    def grouped(self, n: int) -> float:
        return 1.0

    @ray.method(num_returns="dynamic")
    def dynamic(self) -> Iterator[bytes]:
        yield b""

    @ray.method(num_returns=2)
    async def first_two(self) -> AsyncIterator[int]:
        yield 1

    @ray.method(num_returns=0)
    def fire(self) -> None: ...


class _Derived(_Counter):
    @ray.method
    def more(self) -> int:
        return self.dec(1)


class _Box(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    @ray.method
    def peek(self) -> T:
        return self.value

    @ray.method
    def swap(self, value: T) -> T:
        return value


Counter = ray.remote(_Counter)
Derived = ray.remote(num_cpus=1)(_Derived)
counter = Counter.remote(1, name="a")
assert_type(counter, ray.ActorHandle[_Counter])
assert_type(Counter.remote(), ActorProxy[_Counter])
assert_type(Counter.options(name="x", lifetime="detached", max_restarts=1).remote(1), ray.ActorHandle[_Counter])
assert_type(Counter.remote(int_ref()), ray.ActorHandle[_Counter])
assert_type(Counter.remote(int_ref(), name=str_ref()), ray.ActorHandle[_Counter])
assert_type(counter.dec.remote(1), ObjectRef[int])
assert_type(counter.dec.remote(1, twice=True), ObjectRef[int])
assert_type(counter.dec.remote(n=1), ObjectRef[int])
assert_type(counter.dec.remote(int_ref()), ObjectRef[int])
assert_type(counter.later.remote(1), ObjectRef[bytes])
assert_type(counter.items.remote(1), ObjectRefGenerator[str])
assert_type(counter.async_items.remote(), ObjectRefGenerator[str])
assert_type(counter.echo.remote(1.5), ObjectRef[list[float]])
assert_type(counter.split.remote(1), tuple[ObjectRef[int], ObjectRef[str]])
assert_type(counter.split_later.remote(), tuple[ObjectRef[int], ObjectRef[str]])
assert_type(counter.split_in_three.remote(), tuple[ObjectRef[int], ObjectRef[str], ObjectRef[bytes]])
assert_type(counter.dynamic.remote(), ObjectRef[DynamicObjectRefGenerator[bytes]])
assert_type(counter.first_two.remote(), tuple[ObjectRef[int], ObjectRef[int]])
assert_type(counter.items.options(num_returns=2).remote(1), tuple[ObjectRef[str], ObjectRef[str]])
assert_type(counter.items.options(num_returns="dynamic").remote(1), ObjectRef[DynamicObjectRefGenerator[str]])
assert_type(counter.async_items.options(num_returns=9).remote(), list[ObjectRef[str]])
assert_type(counter.grouped.remote(1), ObjectRef[float])
assert_type(counter.dec.options(name="n").remote(1, twice=True), ObjectRef[int])
assert_type(Derived.remote(2).more.remote(), ObjectRef[int])
assert_type(Derived.remote(2).dec.remote(1), ObjectRef[int])
assert_type(_Counter(1).dec(1), int)
assert_type(_Counter.dec(_Counter(), 1), int)
assert_type(ray.get([counter.dec.remote(i) for i in range(3)]), list[int])
counter.fire.remote()


def with_handle(handle: ray.ActorHandle[_Counter], untyped: ray.ActorHandle[Any]) -> None:
    assert_type(handle.dec.remote(1), ObjectRef[int])
    ray.get(untyped.anything.remote(1, 2, x=3))


with_handle(counter, counter)


def with_box(box: ray.ActorHandle[_Box[int]]) -> None:
    assert_type(box.peek.remote(), ObjectRef[int])
    assert_type(box.swap.remote(1), ObjectRef[int])


# ------------------------------------------------ undecorated methods, typed without decorator, plugin or stub
assert_type(ray.remote(counter.add).remote(1), ObjectRef[int])
assert_type(ray.remote(counter.add).remote(1, twice=True), ObjectRef[int])
assert_type(ray.remote(counter.add).remote(int_ref()), ObjectRef[int])
assert_type(ray.remote(counter.wait_for).remote(1), ObjectRef[str])
assert_type(ray.remote(counter.stream).remote(1), ObjectRefGenerator[int])
assert_type(ray.remote(counter.dec).remote(1), ObjectRef[int])


# ------------------------------------------------ users' wrappers
def submit(function: RemoteFunction[P, ObjectRef[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    return ray.get(function.remote(*args, **kwargs))


assert_type(submit(f, 1, y=""), float)


def make(function: Callable[P, int]) -> RemoteFunction[P, ObjectRef[int]]:
    return ray.remote(function)


@overload
def twice(x: int) -> int: ...
@overload
def twice(x: str) -> str: ...
def twice(x: Any) -> Any:
    return x + x


ray.remote(twice).remote(1)
