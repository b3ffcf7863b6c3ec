"""What the processes of a cluster hold, as records: one a reference, grouped, sorted and summed up.

Not here: finding it (``worker.reference_report``), asking for it (``node.memory_gathering``), the layout of its text
(``cli.memory_layout``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs

from trayray.core.reference_kinds import Kind, Total
from trayray.core.spill_statistics import SpillStatistics

#: The call site of a reference whose process does not record them, and of one that was made by no line of the user's.
DISABLED, UNKNOWN = "disabled", "<unknown>"
#: The status of what no task of the process makes.
NO_TASK: Final = "-"


class GroupBy(enum.StrEnum):
    """What the references of one group have in common."""

    NODE_ADDRESS = "NODE_ADDRESS"
    STACK_TRACE = "STACK_TRACE"


class SortBy(enum.StrEnum):
    """What the references of a group are sorted by, ascending."""

    PID = "PID"
    OBJECT_SIZE = "OBJECT_SIZE"
    REFERENCE_TYPE = "REFERENCE_TYPE"


@attrs.frozen
class Reference:
    """One object that one process keeps."""

    object_id: bytes
    kind: Kind
    #: Of the object's value (bytes); None while it is not known.
    size: int | None
    call_site: str
    #: The task that makes the object: PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT, SUBMITTED_TO_WORKER, FINISHED;
    #: "-" in processes that do not own it.
    task_status: str
    #: The try that the task is at, counted from 1.
    attempt: int
    #: Address of the process that owns it.
    owner: str
    #: Its process id, 0 when it is there no more.
    owner_pid: int
    #: Of the process that keeps it.
    pid: int
    #: "Driver" or "Worker".
    process_type: str
    node: str


@attrs.frozen
class ProcessMemory:
    """What one process has told."""

    pid: int
    process_type: str
    node: str
    #: False: it has not, in time.
    answered: bool = True
    #: It records where references are made.
    records_call_sites: bool = False
    references: Sequence[Reference] = ()
    #: What it has counted but not listed.
    omitted: dict[Kind, Total] = attrs.field(factory=dict[Kind, Total])


@attrs.frozen
class StoreMemory:
    """The object stores of all nodes together (bytes)."""

    used: int
    capacity: int
    objects: int
    #: What owners still refer to.
    needed: int
    spilling: SpillStatistics


@attrs.frozen
class MemoryReport:
    """A moment of a cluster's memory."""

    processes: Sequence[ProcessMemory]
    store: StoreMemory
    #: How long a process was waited for (seconds).
    answer_seconds: float

    @property
    def references(self) -> list[Reference]:
        """All that were listed."""
        return [reference for process in self.processes for reference in process.references]

    @property
    def silent(self) -> list[ProcessMemory]:
        """Those that have not answered."""
        return [process for process in self.processes if not process.answered]

    @property
    def records_call_sites(self) -> bool:
        """Whether every process that holds references records where they were made."""
        return all(process.records_call_sites for process in self.processes if process.references)


@attrs.frozen
class Group:
    """References with the same node or call site, sorted."""

    key: str
    references: Sequence[Reference]
    totals: dict[Kind, Total]

    @property
    def size(self) -> int:
        """Bytes of all objects, each counted once a process that keeps it."""
        return sum(total.size for total in self.totals.values())


_KEYS: dict[GroupBy, Callable[[Reference], str]] = {
    GroupBy.NODE_ADDRESS: lambda reference: reference.node,
    GroupBy.STACK_TRACE: lambda reference: reference.call_site,
}
_ORDERS: dict[SortBy, Callable[[Reference], Any]] = {
    SortBy.PID: lambda reference: reference.pid,
    SortBy.OBJECT_SIZE: lambda reference: -1 if reference.size is None else reference.size,
    SortBy.REFERENCE_TYPE: lambda reference: reference.kind,
}


def groups_of(report: MemoryReport, group_by: GroupBy, sort_by: SortBy) -> list[Group]:
    """The report's references in groups, by key; sums of nodes include what their processes have not listed."""
    found: dict[str, list[Reference]] = {}
    for reference in report.references:
        found.setdefault(_KEYS[group_by](reference), []).append(reference)
    groups = [Group(key, sorted(found[key], key=_ORDERS[sort_by]), totals_of(found[key])) for key in sorted(found)]
    if group_by is GroupBy.NODE_ADDRESS:
        for group in groups:
            for process in report.processes:
                if process.node == group.key:
                    for kind, total in process.omitted.items():
                        group.totals[kind].add(total.size, total.count)
    return groups


def totals_of(references: Iterable[Reference]) -> dict[Kind, Total]:
    """Sums by kind; every kind has one."""
    totals = {kind: Total() for kind in Kind}
    for reference in references:
        totals[reference.kind].add(reference.size or 0)
    return totals
