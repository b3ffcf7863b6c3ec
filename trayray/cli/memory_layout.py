"""The text of `trayray memory`, laid out as Ray's: summaries and references of each group, then the object store.

Not here: the records (``core.memory_table``), options and printing (``cli.memory``).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from trayray.core.memory_table import Group, GroupBy, MemoryReport, Reference, SortBy, StoreMemory, groups_of
from trayray.core.reference_kinds import Kind, Total

#: Narrower terminals get the unformatted table.
TABLE_WIDTH: Final = 137
#: Bytes in one of each unit; Ray's are decimal.
UNITS: Final = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}

_MIB: Final = 2**20
_SUMMARY: Final = (
    ("Mem Used by Objects", 21),
    ("Local References", 18),
    ("Pinned", 14),
    ("Used by task", 15),
    ("Captured in Objects", 21),
    ("Actor Handles", 14),
)
_SUMMED: Final = (
    Kind.LOCAL_REFERENCE,
    Kind.PINNED_IN_MEMORY,
    Kind.USED_BY_PENDING_TASK,
    Kind.CAPTURED_IN_OBJECT,
    Kind.ACTOR_HANDLE,
)
#: Headings and widths of the references; text that is too long goes on below.
_COLUMNS: Final = (
    ("IP Address", 17),
    ("PID", 9),
    ("Type", 8),
    ("Call Site", 24),
    ("Status", 16),
    ("Attempt", 9),
    ("Size", 12),
    ("Reference Type", 22),
    ("Object Ref", 58),
    ("Owner PID", 9),
)


def report_lines(
    report: MemoryReport,
    time: str,
    *,
    group_by: GroupBy = GroupBy.NODE_ADDRESS,
    sort_by: SortBy = SortBy.OBJECT_SIZE,
    unit: str = "B",
    formatted: bool = True,
    most: int | None = None,
) -> Iterator[str]:
    """The lines of the whole report; ``time`` as it shall be shown, ``most``: entries shown of each group."""
    shown = "all" if most is None else str(most)
    yield f"======== Object references status: {time} ========"
    named = group_by.value.replace("_", " ").lower()
    sorted_by = sort_by.value.replace("_", " ").lower()
    yield f"Grouping by {named}...        Sorting by {sorted_by}...        Display {shown} entries per group..."
    yield from ("", "")
    for group in groups_of(report, group_by, sort_by):
        yield from _group_lines(group, named, unit, formatted, most)
    yield from _omissions(report, unit, counted=group_by is GroupBy.NODE_ADDRESS)
    if not report.records_call_sites:
        yield (
            "To record callsite information for each ObjectRef created, set env variable "
            "TRAYRAY_record_ref_creation_sites=1 (or RAY_record_ref_creation_sites=1) before the cluster starts"
        )
        yield ""
    yield from store_lines(report.store)


def store_lines(store: StoreMemory) -> Iterator[str]:
    """The lines about the object store."""
    capacity = max(1, store.capacity)
    yield "--- Aggregate object store stats across all nodes ---"
    yield (
        f"Plasma memory usage {store.used // _MIB} MiB, {store.objects} objects, "
        f"{round(100 * store.used / capacity, 2)}% full, {round(100 * store.needed / capacity, 2)}% needed"
    )
    spilling = store.spilling
    if spilling.spilled_objects:
        speed = _throughput(spilling.spilled_bytes, spilling.write_seconds)
        yield (
            f"Spilled {spilling.spilled_bytes // _MIB} MiB, {spilling.spilled_objects} objects, "
            f"avg write throughput {speed}"
        )
    if spilling.restored_objects:
        speed = _throughput(spilling.restored_bytes, spilling.read_seconds)
        yield (
            f"Restored {spilling.restored_bytes // _MIB} MiB, {spilling.restored_objects} objects, "
            f"avg read throughput {speed}"
        )


def _throughput(size: int, seconds: float) -> str:
    return f"{int(size / _MIB / seconds)} MiB/s" if seconds else "unknown"


def _group_lines(group: Group, named: str, unit: str, formatted: bool, most: int | None) -> Iterator[str]:
    yield f"--- Summary for {named}: {group.key} ---"
    yield _row((heading for heading, _ in _SUMMARY), _SUMMARY)
    sums = [f"{total.count}, ({_sized(total.size, unit)})" for total in (group.totals[kind] for kind in _SUMMED)]
    yield _row((_sized(group.size, unit), *sums), _SUMMARY)
    yield from ("", f"--- Object references for {named}: {group.key} ---")
    headings = [heading for heading, _ in _COLUMNS]
    yield _row(headings, _COLUMNS) if formatted else " | ".join(headings)
    for reference in group.references[:most]:
        cells = _cells(reference, unit)
        if formatted:
            yield from _wrapped(cells)
            yield ""
        else:
            yield " | ".join(cells)
    yield ""


def _cells(reference: Reference, unit: str) -> list[str]:
    return [
        reference.node,
        str(reference.pid),
        reference.process_type,
        reference.call_site,
        reference.task_status,
        str(reference.attempt),
        "?" if reference.size is None else _sized(reference.size, unit),
        reference.kind,
        reference.object_id.hex(),
        str(reference.owner_pid) if reference.owner_pid else "gone",
    ]


def _sized(size: int, unit: str) -> str:
    return f"{round(size / UNITS[unit], 3)} {unit}"


def _row(cells: Iterable[str], columns: Sequence[tuple[str, int]]) -> str:
    """Cells side by side; one that is wider than its column keeps a distance from the next."""
    return "".join(f"{f'{cell}  ':<{width}}" for cell, (_, width) in zip(cells, columns, strict=True)).rstrip()


def _wrapped(cells: Sequence[str]) -> Iterator[str]:
    wrapped = [
        textwrap.wrap(cell, width - 2, break_on_hyphens=False) or [""]
        for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    ]
    for line in range(max(map(len, wrapped))):
        yield _row((parts[line] if line < len(parts) else "" for parts in wrapped), _COLUMNS)


def _omissions(report: MemoryReport, unit: str, *, counted: bool) -> Iterator[str]:
    """What is not listed, and who has told nothing."""
    said = False
    for process in report.processes:
        if process.omitted:
            said = True
            kinds = ", ".join(f"{_described(total, unit)} {kind}" for kind, total in process.omitted.items())
            where = "counted in the summary" if counted else "counted in no group"
            yield f"pid {process.pid} ({process.process_type}) holds more than is listed: {kinds}; {where}"
    for process in report.silent:
        said = True
        yield (
            f"pid {process.pid} ({process.process_type}) did not answer within {report.answer_seconds:g} s: what it "
            "holds is missing here"
        )
    if said:
        yield ""


def _described(total: Total, unit: str) -> str:
    return f"{total.count} ({_sized(total.size, unit)})"
