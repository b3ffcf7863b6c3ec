"""Mistakes that mypy sees with the plugin: the lines marked E, and no others. Only type-checked."""

from __future__ import annotations

import trayray as ray
from trayray import ObjectRef


@ray.remote
class Counter:
    def __init__(self, start: int) -> None: ...

    def add(self, n: int) -> int:
        return n

    @ray.method
    def dec(self, n: int) -> int:
        return n


def plain(x: int) -> int:
    return x


@ray.remote
def f(x: int, y: str) -> int:
    return x


counter = Counter.remote(1)
Counter.remote()  # E
Counter.remote("a")  # E
Counter.options(nme="a").remote(1)  # E
Counter.options(name="a").remote("a")  # E
counter.add.remote("a")  # E
counter.add.remote()  # E
counter.add.remote(ray.put("a"))  # E
counter.add.remote(m=1)  # E
wrong: ObjectRef[str] = counter.add.remote(1)  # E
counter.add.options(nme="a").remote(1)  # E
counter.add.options(name="a").remote("a")  # E
counter.dec.remote("a")  # E
counter.missing.remote(1)  # E
counter.remote(1)  # E
plain.remote(1)  # E
f.remote(1, y=ray.put(1))  # E
f.remote(1, z=ray.put(""))  # E
