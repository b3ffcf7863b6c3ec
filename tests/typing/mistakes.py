"""Mistakes that every checker sees: the lines marked E, and no others. Only type-checked."""

from __future__ import annotations

from collections.abc import Iterator

import trayray as ray
from trayray import ObjectRef


@ray.remote
def f(x: int, y: str = "") -> float:
    return 1.0


@ray.remote
def g(x: int, *, flag: bool = False) -> int:
    return x


@ray.remote
def count(n: int) -> Iterator[int]:
    yield n


@ray.remote(num_returns=2)
def two(x: int) -> tuple[int, str]:
    return x, ""


@ray.task
async def later(x: int) -> str:
    return ""


class _Counter:
    def __init__(self, start: int, *, name: str = "") -> None: ...

    def add(self, n: int) -> int:
        return n

    @ray.method
    def dec(self, n: int) -> int:
        return n


Counter = ray.remote(_Counter)
counter = Counter.remote(1)
int_ref = ray.put(1)
str_ref = ray.put("")

f.remote()  # E
f.remote("a")  # E
f.remote(1, 2)  # E
f.remote(1, "a", 3)  # E
f.remote(1, z=1)  # E
f.remote(x="a")  # E
f.remote(1, y=2)  # E
f.remote(str_ref)  # E
f.remote(1, int_ref)  # E
f.remote(int_ref, int_ref)  # E
f.remote(int_ref, 2)  # E
f.remote(int_ref, y=2)  # E
f(1)  # E
wrong_attribute = f.missing  # E
f.options(num_cpu=1).remote(1)  # E
f.options(num_cpus="a").remote(1)  # E
f.options(num_cpus=1).remote("a")  # E
f.options(num_cpus=1).options(num_cpus=1)  # E
g.remote(1, True)  # E
g.remote(1, flag="a")  # E
count.remote("a")  # E
later.remote("a")  # E
two.remote("a")  # E
one, other, third = two.remote(1)  # E
wrong_result: ObjectRef[str] = f.remote(1)  # E
wrong_value: str = ray.get(f.remote(1))  # E
wrong_values: list[str] = ray.get([f.remote(1)])  # E
ray.get(f.remote(1), timeout="a")  # E
ray.get(1)  # E
ray.get(f)  # E
Counter.remote()  # E
Counter.remote("a")  # E
Counter.remote(1, nme="a")  # E
Counter.remote(str_ref)  # E
Counter.options(max_restart=1).remote(1)  # E
Counter.options(max_restarts=1).remote("a")  # E
Counter(1)  # E
counter.dec.remote("a")  # E
counter.dec.remote()  # E
counter.dec.remote(str_ref)  # E
counter.dec.remote(1, extra=1)  # E
counter.dec.options(nme="a")  # E
counter.missing.remote(1)  # E
wrong_method: ObjectRef[str] = counter.dec.remote(1)  # E
ray.remote(counter.add).remote("a")  # E
wrong_undecorated: ObjectRef[str] = ray.remote(counter.add).remote(1)  # E
ray.remote(num_cpu=1)  # E
ray.remote(num_cpus="1")  # E
ray.method(num_return=2)  # E
ray.remote(1)  # E
wrong_name = ray.no_such_name  # E
ray.task(num_return=2)  # E
ray.task(max_restarts=2)  # E
ray.wait(f.remote(1))  # E
ray.wait([1])  # E
