"""The values that travel with calls and come back: an owner waits for arguments, packs them up and takes results.

Not here: how a value is laid out (``wire.serialization``), who holds a reference (``references``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from trayray.wire.values import STORED, RefInfo, Value
from trayray.worker.objects import SegmentGuard
from trayray.worker.references import Callback, ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

#: The id of an object that has no reference.
_NOBODYS = bytes(ObjectRef.size())


def arguments_ready(core: CoreWorker, refs: list[ObjectRef[Any]], call: Callable[[Any], None], item: Any) -> bool:
    """Whether all ``refs`` have values; if not, ``call(item)`` follows in the loop once they have."""
    missing = 0
    remaining = [0]

    def one_more() -> None:
        remaining[0] -= 1
        if remaining[0] == 0:
            core.call_soon(call, item)

    waiter = Callback(one_more)
    with core.references.lock:
        for ref in refs:
            if core.references.add_waiter(ref, waiter):
                missing += 1
        remaining[0] = missing
    if missing:
        core.objects.want([ref for ref in refs if ref._value is None])
    return missing == 0


def take_result(core: CoreWorker, ref: ObjectRef[Any], value: Value) -> None:
    """A task delivered the value of ``ref``, which this process owns."""
    if value.refs:
        core.references.adopt_nested(ref, value.refs)
        value.refs = None
    if value.kind == STORED and value.place is not None:
        ref._guard = SegmentGuard(core.objects, value.place)
    core.references.complete(ref, value)


def drop_results(core: CoreWorker, values: Iterable[Value]) -> None:
    """Values have come that nobody waits for any more: what was stored, and lent with them, is given back."""
    for value in values:
        take_result(core, ObjectRef(_NOBODYS), value)


def argument_values(core: CoreWorker, args: list[ObjectRef[Any]] | None) -> list[tuple[RefInfo, Value]] | None:
    """The values of top-level references, as they travel with a call."""
    if not args:
        return None
    values: list[tuple[RefInfo, Value]] = []
    for ref in args:
        value = ref._value
        assert value is not None
        if ref._nested:
            value = Value(value.kind, value.data, value.place, core.references.infos(ref._nested))
            for nested in ref._nested:
                core.references.export(nested)
        core.references.export(ref)
        values.append((RefInfo(ref._id, ref._owner or core.address), value))
    return values
