"""What kind of reference a process's uses of an object make, and which of many references a report lists.

Not here: finding the uses (``worker.reference_report``), tables of several processes (``memory_table``).
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterable
from operator import itemgetter
from typing import TypeVar

import attrs

from trayray.model.ids import ACTOR_ID_SIZE, JOB_ID_SIZE, TASK_ID_SIZE

T = TypeVar("T")


class Kind(enum.StrEnum):
    """Why a process keeps an object, by Ray's names."""

    LOCAL_REFERENCE = "LOCAL_REFERENCE"
    PINNED_IN_MEMORY = "PINNED_IN_MEMORY"
    USED_BY_PENDING_TASK = "USED_BY_PENDING_TASK"
    CAPTURED_IN_OBJECT = "CAPTURED_IN_OBJECT"
    ACTOR_HANDLE = "ACTOR_HANDLE"


@attrs.define
class Uses:
    """How often a process uses one reference, by what for."""

    #: Values read without a copy that lie where the object is.
    views: int = 0
    #: Unfinished calls that have it among their arguments.
    pending: int = 0
    #: Values of other objects that have it inside.
    captured: int = 0
    #: The runtime's own tables, which keep it for others: no use of this process.
    tables: int = 0

    @property
    def total(self) -> int:
        """References to the Python object that these uses make."""
        return self.views + self.pending + self.captured + self.tables


_UNUSED = Uses()


def kind_of(object_id: bytes, held: int, uses: Uses = _UNUSED) -> Kind | None:
    """The kind that says most; None when the process keeps the object only for others.

    ``held`` counts all references to the Python object, those of ``uses`` included; what is left is the program's.
    """
    program = held > uses.total
    if is_actor_handle(object_id):
        return Kind.ACTOR_HANDLE if program or uses.pending or uses.captured else None
    if uses.views:
        return Kind.PINNED_IN_MEMORY
    if uses.pending:
        return Kind.USED_BY_PENDING_TASK
    if program:
        return Kind.LOCAL_REFERENCE
    return Kind.CAPTURED_IN_OBJECT if uses.captured else None


#: Of every id of a creation task: no unique part of its own, and the actor's id, which no normal task has.
_NO_TASK = b"\xff" * (TASK_ID_SIZE - ACTOR_ID_SIZE)
_NO_ACTOR = b"\xff" * (ACTOR_ID_SIZE - JOB_ID_SIZE)
_FIRST_INDEX = (1).to_bytes(4, "little")


def is_actor_handle(object_id: bytes) -> bool:
    """Whether this is the id of the reference that stands for an actor: the result of its creation."""
    return (
        object_id.startswith(_NO_TASK)
        and object_id[len(_NO_TASK) : TASK_ID_SIZE - JOB_ID_SIZE] != _NO_ACTOR
        and object_id.endswith(_FIRST_INDEX)
    )


@attrs.define
class Total:
    """A number of references, and the bytes of their objects as far as they are known."""

    count: int = 0
    size: int = 0

    def add(self, size: int, count: int = 1) -> None:
        """Count ``count`` more, of ``size`` bytes together."""
        self.count += count
        self.size += size


def largest(found: Iterable[tuple[int, Kind, T]], most: int) -> tuple[list[tuple[int, Kind, T]], dict[Kind, Total]]:
    """The ``most`` largest of (size in bytes or -1, kind, reference), and by kind the sums of all others."""
    everything = list(found)
    if len(everything) <= most:
        return everything, {}
    chosen = heapq.nlargest(most, everything, key=itemgetter(0))
    sums = _sums(everything)
    for kind, listed in _sums(chosen).items():
        sums[kind].add(-listed.size, -listed.count)
    return chosen, {kind: total for kind, total in sums.items() if total.count}


def _sums(found: list[tuple[int, Kind, T]]) -> dict[Kind, Total]:
    sums: dict[Kind, Total] = {}
    for kind in Kind:
        sizes = [size for size, its, _ in found if its is kind]
        if sizes:
            sums[kind] = Total(len(sizes), sum(sizes) + sizes.count(-1))
    return sums
