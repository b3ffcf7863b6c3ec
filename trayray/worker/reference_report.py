"""What this process keeps in memory for its references, found out when the node asks.

Nothing is noted on the way for this: references are objects that Python's cycle collector knows, and what is not held
by one of the runtime's own tables is held by the program. So a report costs one pass over all objects of the process
(40 ms a million) and about 1 us a reference, in a thread of its own.
Not here: the verdict on each (``core.reference_kinds``), gathering from all processes (``node.memory_gathering``).
"""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Iterator
from itertools import compress, repeat
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import trio

from trayray.core.call_ledger import Life
from trayray.core.memory_table import DISABLED, NO_TASK, UNKNOWN
from trayray.core.reference_kinds import Kind, Total, Uses, is_actor_handle, kind_of, largest
from trayray.wire.report_messages import AskReferences, HeldReference, ReferencesTold
from trayray.wire.specs import HeldReferences
from trayray.wire.values import STORED
from trayray.worker.actor_calls import ActorCall
from trayray.worker.actor_creation import ActorGuard
from trayray.worker.objects import SegmentGuard
from trayray.worker.reading import ReadPin
from trayray.worker.references import AnyRef, LoanGuard, ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.pending_task import PendingTask

T = TypeVar("T")

#: References to an object that finding it makes: the list, the loop's variable, the argument of `sys.getrefcount`.
_FINDING: Final = 3
_NO_USES: Final = Uses()


async def tell_references(core: CoreWorker, question: AskReferences) -> None:
    """Answer the node; a child task of the loop."""
    with core.state_lock:
        search = _Search(core)
    listed, omitted = await trio.to_thread.run_sync(search.find, question.most, abandon_on_cancel=True)
    with core.state_lock:
        told = [_described(core, *found) for found in listed]
    rest = [(kind.value, total.count, total.size) for kind, total in omitted.items()]
    held = HeldReferences(told, rest, core.call_sites is not None)
    core.to_node_if_there([ReferencesTold(question.request, msgspec.msgpack.encode(held))])


class _Search:
    """Looks for the references of a process. Made in the loop's thread, under `CoreWorker.state_lock`."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        # They stay as they are while the references are counted, also if they end meanwhile.
        self._calls = [*core.tasks.pending.values(), *core.actors.pending.values()]
        self._creations = list(core.creations._creating.values())
        self._uses: dict[int, Uses] = {}
        #: What the keys of `_uses` stand for: they live as long.
        self._kept: list[ObjectRef[Any]] = []
        #: Of values that are read here though they are others' (bytes).
        self._sizes: dict[int, int] = {}

    def _uses_of(self, ref: ObjectRef[Any]) -> Uses:
        uses = self._uses.get(id(ref))
        if uses is None:
            uses = self._uses[id(ref)] = Uses()
            self._kept.append(ref)
        return uses

    def find(self, most: int) -> tuple[list[tuple[int, Kind, ObjectRef[Any]]], dict[Kind, Total]]:
        """Size (bytes or -1), kind and reference of the ``most`` largest, and sums of all others; in any thread."""
        refs = _live(AnyRef)
        self._count_pending()
        self._count_views(_live(ReadPin))
        self._count_captured(refs)
        self._discount_kept()
        return largest(self._kinds(refs), most)

    # Each in a function of its own, whose variables hold nothing any more when the references are counted.

    def _count_pending(self) -> None:
        for call in self._calls:
            for ref in call.returns:
                self._uses_of(ref).tables += 1
            if isinstance(call, ActorCall) and call.handle_ref is not None:
                self._uses_of(call.handle_ref).pending += 1
        for waiting in (*self._calls, *self._creations):
            for ref in (*(waiting.args or ()), *(waiting.refs or ())):
                self._uses_of(ref).pending += 1

    def _count_views(self, pins: list[ReadPin]) -> None:
        for pin in pins:
            if hasattr(pin, "ref") and pin.ref is not None:  # else another thread is just making it
                self._uses_of(pin.ref).views += 1
                self._sizes[id(pin.ref)] = pin.place.size

    def _count_captured(self, refs: list[ObjectRef[Any]]) -> None:
        for ref in refs:
            if _is_whole(ref) and ref._nested:
                for captured in list(ref._nested):
                    self._uses_of(captured).captured += 1

    def _discount_kept(self) -> None:
        for ref in self._kept:
            self._uses[id(ref)].tables += 1

    def _kinds(self, refs: list[ObjectRef[Any]]) -> Iterator[tuple[int, Kind, ObjectRef[Any]]]:
        """Size in bytes (or -1), kind and reference of all that are kept here."""
        all_uses, lent = self._uses, self._core.references.lent
        count, local = sys.getrefcount, Kind.LOCAL_REFERENCE
        for ref in refs:
            if not _is_whole(ref) or (ref._guard is not None and not self._is_ours(ref._guard)):
                continue
            held = count(ref) - _FINDING - (ref._id in lent)
            uses = all_uses.get(id(ref))
            if uses is None and held > 0 and (ref._id[0] != 0xFF or ref._id[24] != 1):  # the ids of no actor
                kind = local  # as most are
            else:
                kind = kind_of(ref._id, held, uses or _NO_USES)
            if kind is not None:
                yield self._size(ref), kind, ref

    def _is_ours(self, guard: object) -> bool:
        """Whether the reference that has it is none of a cluster that this process has left."""
        match guard:
            case LoanGuard():
                return guard._table is self._core.references
            case SegmentGuard():
                return guard.objects is self._core.objects
            case ActorGuard():
                return guard.core is self._core
            case _:
                return True

    def _size(self, ref: ObjectRef[Any]) -> int:
        value = ref._value
        if value is None:
            return self._sizes.get(id(ref), -1)
        return value.place.size if value.kind == STORED and value.place is not None else len(value.data)


def _described(core: CoreWorker, size: int, kind: Kind, ref: ObjectRef[Any]) -> HeldReference:
    """In the loop's thread, under `CoreWorker.state_lock`."""
    status, attempt = NO_TASK, 1
    if not ref._owner and not is_actor_handle(ref._id):
        task_id = ref._id[:24]
        call = core.tasks.pending.get(task_id) or core.actors.pending.get(task_id)
        if ref._value is not None:
            status = "FINISHED"
        elif call is not None:
            status, attempt = _status_of(core, call), call.failures + 1
    site = DISABLED if core.call_sites is None else core.call_sites.of(ref) or UNKNOWN
    return HeldReference(ref._id, ref._owner or core.address, kind.value, size, site, status, attempt)


def _live(kind: type[T]) -> list[T]:
    """All objects of a type. No Python code runs between the elements, so that nothing else does meanwhile."""
    found = gc.get_objects()
    return list(compress(found, map(operator.is_, map(type, found), repeat(kind))))


def _is_whole(ref: ObjectRef[Any]) -> bool:
    """False for one that another thread is just making, and has not given its attributes yet."""
    try:
        ref._guard  # noqa: B018 -- the last to be set
    except AttributeError:
        return False
    return True


def _status_of(core: CoreWorker, call: PendingTask) -> str:
    """How far an unfinished call is, in Ray's words."""
    if isinstance(call, ActorCall):
        calls = call.client.calls
        sent = calls.life is Life.ALIVE and call.task_id in calls.in_flight
    else:
        sent = core.tasks.executor_of(call) is not None
    if sent:
        return "SUBMITTED_TO_WORKER"
    missing = any(ref._value is None for ref in call.args or ())
    return "PENDING_ARGS_AVAIL" if missing else "PENDING_NODE_ASSIGNMENT"
