"""Lazy graphs as every checker sees them: what a node's ``execute`` gives. Only type-checked, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import trayray as ray
from trayray import ObjectRef, ObjectRefGenerator
from trayray.dag import ClassMethodNode, ClassNode, DAGNode, FunctionNode, InputNode, MultiOutputNode, plot


@ray.remote
def f(x: int, y: str = "") -> float:
    return 1.0


@ray.remote(num_returns=2)
def two(x: int) -> tuple[int, str]:
    return x, ""


@ray.remote
def count(n: int) -> Iterator[int]:
    yield n


class _Counter:
    def __init__(self, start: int = 0) -> None: ...

    @ray.method
    def dec(self, n: int) -> int:
        return n

    @ray.method(num_returns=2)
    def split(self, n: int) -> tuple[int, str]:
        return n, ""


Counter = ray.remote(_Counter)
counter = Counter.remote()

# ------------------------------------------------ tasks
assert_type(f.bind(f.bind(1)), FunctionNode[ObjectRef[float]])
assert_type(f.bind(1).execute(), ObjectRef[float])
assert_type(ray.get(f.bind(1, y="").execute()), float)
assert_type(two.bind(1).execute(), tuple[ObjectRef[int], ObjectRef[str]])
assert_type(count.bind(1).execute(), ObjectRefGenerator[int])
assert_type(f.options(num_cpus=2).bind(1), FunctionNode[ObjectRef[float]])
assert_type(two.options(name="pair").bind(1).execute(), tuple[ObjectRef[int], ObjectRef[str]])
assert_type(count.options(num_returns=2).bind(1).execute(), tuple[ObjectRef[int], ObjectRef[int]])

# ------------------------------------------------ actors
assert_type(Counter.bind(1), ClassNode[_Counter])
assert_type(Counter.options(num_cpus=1).bind(1), ClassNode[_Counter])
assert_type(Counter.bind(1).execute().dec.remote(1), ObjectRef[int])
assert_type(Counter.bind(1).dec.bind(2), ClassMethodNode[Any])
assert_type(counter.dec.bind(1), ClassMethodNode[ObjectRef[int]])
assert_type(counter.dec.bind(1).execute(), ObjectRef[int])
assert_type(counter.dec.options(name="n").bind(1), ClassMethodNode[ObjectRef[int]])
assert_type(counter.split.bind(1), tuple[ClassMethodNode[ObjectRef[int]], ClassMethodNode[ObjectRef[str]]])

# ------------------------------------------------ inputs and outputs
with InputNode() as given:
    assert_type(given, InputNode)
    whole = f.bind(given)
    parts = f.bind(given[0], given.text)
    anything: DAGNode[Any] = given["key"]
assert_type(whole.execute(1), ObjectRef[float])
assert_type(parts.execute(1, text=""), ObjectRef[float])
assert_type(MultiOutputNode([whole, parts]), MultiOutputNode[ObjectRef[float]])
assert_type(MultiOutputNode((whole, parts)).execute(1), list[ObjectRef[float]])
assert_type(ray.get(MultiOutputNode([f.bind(1), f.bind(2)]).execute()), list[float])
assert_type(MultiOutputNode([f.bind(1), "as it is"]), MultiOutputNode[Any])
assert_type(MultiOutputNode([whole]).to_mermaid(), str)
plot(whole)
