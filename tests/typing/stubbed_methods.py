"""What pyright infers with the stub of ``trayray typings``: untyped methods without a decorator. Only type-checked."""

from __future__ import annotations

from typing import Any, assert_type

import trayray as ray


@ray.remote
class K:
    def __init__(self, x: int = 0) -> None: ...
    def add(self, n: int) -> int:
        return n

    @ray.method
    def dec(self, n: int) -> int:
        return n


k = K.remote(1)
assert_type(k.add.remote(1), ray.ObjectRef[Any])
assert_type(k.dec.remote(1), ray.ObjectRef[int])
assert_type(k.add.options(name="x").remote(1), Any)
assert_type(ray.remote(k.add).remote(1), ray.ObjectRef[int])
value: int = ray.get(k.add.remote(1))
assert_type(k.add.bind(1), Any)
assert_type(k.dec.bind(1).execute(), ray.ObjectRef[int])
