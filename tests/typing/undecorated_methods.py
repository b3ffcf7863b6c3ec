"""What only mypy with the plugin infers: methods without a decorator, references as any keyword. Only type-checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar, assert_type, overload

import trayray as ray
from trayray import ObjectRef
from trayray.api.shapes.calls import ObjectRefGenerator

T = TypeVar("T")


class Base:
    def inherited(self, n: int) -> str:
        return ""


@ray.remote
class Counter(Base):
    def __init__(self, start: int = 0) -> None: ...

    def add(self, n: int, *, twice: bool = False) -> int:
        return n

    async def later(self, n: int) -> str:
        return ""

    def items(self) -> Iterator[int]:
        yield 1

    async def async_items(self) -> AsyncIterator[int]:
        yield 1

    def echo(self, value: T) -> list[T]:
        return [value]

    @overload
    def both(self, x: int) -> int: ...
    @overload
    def both(self, x: str) -> str: ...
    def both(self, x: int | str) -> int | str:
        return x


@ray.remote
class Box(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def get(self) -> T:
        return self.value


counter = Counter.remote()
assert_type(counter, Counter)
assert_type(counter.add.remote(1), ObjectRef[int])
assert_type(Counter.remote().add.remote(1), ObjectRef[int])
assert_type(counter.add.remote(n=ray.put(1), twice=True), ObjectRef[int])
assert_type(counter.later.remote(1), ObjectRef[str])
assert_type(counter.items.remote(), ObjectRefGenerator[int])
assert_type(counter.async_items.remote(), ObjectRefGenerator[int])
assert_type(counter.echo.remote("a"), ObjectRef[list[str]])
assert_type(counter.both.remote(1), ObjectRef[int])
assert_type(counter.both.remote(""), ObjectRef[str])
assert_type(counter.inherited.remote(1), ObjectRef[str])
assert_type(counter.add.options(name="n").remote(1), ObjectRef[int])
assert_type(Box.remote(1.5).get.remote(), ObjectRef[float])


@ray.remote
def f(x: int, y: str = "", *, z: float = 0) -> bytes:
    return b""


@ray.remote
def same(x: T) -> T:
    return x


assert_type(f.remote(x=1, y=ray.put("")), ObjectRef[bytes])
assert_type(f.remote(ray.put(1), y="", z=ray.put(1.0)), ObjectRef[bytes])
assert_type(same.remote(x=1), ObjectRef[int])


def annotated(handle: Counter, cls: type[Counter], alias: ray.ActorHandle[Counter]) -> None:
    assert_type(handle.add.remote(1), ObjectRef[int])
    assert_type(cls.remote(1).add.remote(1), ObjectRef[int])
    assert_type(alias.add.remote(1), ObjectRef[int])
