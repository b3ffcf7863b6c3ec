"""What pyright, and mypy with the plugin, infer of decorated classes and of results of any type. Only type-checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar, assert_type

import trayray as ray
from trayray import ObjectRef
from trayray.api.shapes.calls import ObjectRefGenerator
from trayray.dag import ClassMethodNode

T = TypeVar("T")


@ray.remote
def same(x: T) -> T:
    return x


@ray.remote(num_cpus=1)
def apply(fn: Callable[[int], T], x: int) -> T:
    return fn(x)


class _Generic:
    @ray.method
    def same(self, x: T) -> T:
        return x


@ray.remote
class Counter:
    def __init__(self, start: int = 0, *, name: str = "") -> None:
        self.value = start

    def add(self, n: int, *, twice: bool = False) -> int:
        return n

    @ray.method
    def dec(self, n: int, *, twice: bool = False) -> int:
        return self.add(n)

    @ray.method
    def items(self, n: int) -> Iterator[str]:
        yield ""


@ray.remote(num_cpus=1, max_restarts=2)
class Plain:
    @ray.method(num_returns=2)
    def pair(self) -> tuple[int, str]:
        return 1, ""

    def go(self) -> bool:
        return True


@ray.remote
def use(counter: object) -> int:
    return 1


counter = Counter.remote(1, name="a")
assert_type(counter.dec.remote(1), ObjectRef[int])
assert_type(Counter.remote().dec.remote(1, twice=True), ObjectRef[int])
assert_type(Counter.remote(ray.put(1)).dec.remote(ray.put(1)), ObjectRef[int])
assert_type(Counter.options(name="n", get_if_exists=True).remote(1).items.remote(1), ObjectRefGenerator[str])
assert_type(Counter.options(num_cpus=1).remote(1, name="b").dec.options(name="m").remote(1), ObjectRef[int])
assert_type(Plain.remote().pair.remote(), tuple[ObjectRef[int], ObjectRef[str]])
assert_type(Counter.bind(1, name=Counter.bind()).execute().dec.remote(1), ObjectRef[int])
assert_type(counter.dec.bind(1), ClassMethodNode[ObjectRef[int]])
assert_type(Plain.remote().pair.bind(), tuple[ClassMethodNode[ObjectRef[int]], ClassMethodNode[ObjectRef[str]]])
assert_type(ray.remote(counter.add).remote(1), ObjectRef[int])
assert_type(ray.remote(Plain.remote().go).remote(), ObjectRef[bool])
assert_type(use.remote(counter), ObjectRef[int])
assert_type(ray.get(counter.dec.remote(1)), int)
assert_type(same.remote(1), ObjectRef[int])
assert_type(same.remote("a"), ObjectRef[str])
assert_type(same.options(num_cpus=1).remote("a"), ObjectRef[str])
assert_type(apply.remote(str, 1), ObjectRef[str])
assert_type(ray.remote(_Generic).remote().same.remote(1), ObjectRef[int])
ready, unready = ray.wait([same.remote(1)])
assert_type(ray.get(ready[0]), int)
