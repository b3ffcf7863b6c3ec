"""References by the ids of their objects, as long as they live.

A `WeakValueDictionary` with what a table of references needs, at half of the cost for each.
Not here: what a reference holds (``references``).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from trayray.worker.references import ObjectRef

    _Weak = weakref.ref[ObjectRef[Any]]
else:
    _Weak = weakref.ref


#: Takes an entry out if its reference is dead, in one step: another thread may be putting a new one there. It is what
#: `WeakValueDictionary` is made of, in all versions of Python that this package is for.
remove_dead = cast(
    "Callable[[dict[Any, Any], Any], None]",
    weakref._remove_dead_weakref,  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] -- not in its stubs
)


class _Known(_Weak):
    """Made and destroyed without any code in Python of its own: that is what the speed comes from."""

    __slots__ = ("id",)

    id: bytes


class KnownReferences:
    """One reference for an id at most. From any thread; finalizers may run, and take entries out, at any moment."""

    __slots__ = ("_forget", "_weak")

    def __init__(self) -> None:
        known: dict[bytes, _Known] = {}

        def forget(weak: Any) -> None:
            remove_dead(known, weak.id)

        self._weak = known
        self._forget = forget

    def get(self, object_id: bytes) -> ObjectRef[Any] | None:
        """The living reference to the object, if there is one."""
        weak = self._weak.get(object_id)
        return None if weak is None else weak()

    def __setitem__(self, object_id: bytes, ref: ObjectRef[Any]) -> None:
        weak = _Known(ref, self._forget)
        weak.id = object_id
        self._weak[object_id] = weak

    def __contains__(self, object_id: bytes) -> bool:
        return self.get(object_id) is not None

    def __len__(self) -> int:
        return len(self._weak)

    def __iter__(self) -> Iterator[bytes]:
        return iter(list(self._weak))

    def values(self) -> list[ObjectRef[Any]]:
        """All living references."""
        return [ref for weak in list(self._weak.values()) if (ref := weak()) is not None]
