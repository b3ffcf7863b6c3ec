"""Records of references, grouped, sorted and summed up."""

from typing import Any

from trayray.core.memory_table import (
    GroupBy,
    MemoryReport,
    ProcessMemory,
    Reference,
    SortBy,
    StoreMemory,
    groups_of,
    totals_of,
)
from trayray.core.reference_kinds import Kind, Total
from trayray.core.spill_statistics import SpillStatistics


def reference(number: int, **changes: Any) -> Reference:
    values: dict[str, Any] = {
        "object_id": bytes([number]) * 28,
        "kind": Kind.LOCAL_REFERENCE,
        "size": 10,
        "call_site": "here",
        "task_status": "FINISHED",
        "attempt": 1,
        "owner": "me",
        "owner_pid": 7,
        "pid": 7,
        "process_type": "Driver",
        "node": "10.0.0.1",
    }
    return Reference(**values | changes)


def report(*references: Reference, **changes: Any) -> MemoryReport:
    process = ProcessMemory(7, "Driver", "10.0.0.1", True, True, references, **changes)
    return MemoryReport([process], StoreMemory(0, 1, 0, 0, SpillStatistics()), 5.0)


def numbers(references: Any) -> list[int]:
    return [each.object_id[0] for each in references]


def test_by_node_and_size():
    small, unknown, other = reference(1, size=5), reference(2, size=None), reference(3, node="10.0.0.2", size=1)

    first, second = groups_of(report(reference(4), small, unknown, other), GroupBy.NODE_ADDRESS, SortBy.OBJECT_SIZE)

    assert (first.key, numbers(first.references), first.size) == ("10.0.0.1", [2, 1, 4], 15)
    assert (second.key, numbers(second.references)) == ("10.0.0.2", [3])
    assert first.totals[Kind.LOCAL_REFERENCE] == Total(3, 15)
    assert first.totals[Kind.PINNED_IN_MEMORY] == Total()


def test_by_call_site_and_process():
    groups = groups_of(
        report(reference(1, call_site="b", pid=20), reference(2, call_site="b", pid=3), reference(3, call_site="a")),
        GroupBy.STACK_TRACE,
        SortBy.PID,
    )

    assert [(group.key, numbers(group.references)) for group in groups] == [("a", [3]), ("b", [2, 1])]


def test_by_kind():
    (group,) = groups_of(
        report(reference(1), reference(2, kind=Kind.ACTOR_HANDLE), reference(3, kind=Kind.PINNED_IN_MEMORY)),
        GroupBy.NODE_ADDRESS,
        SortBy.REFERENCE_TYPE,
    )

    assert numbers(group.references) == [2, 1, 3]


def test_what_was_not_listed_is_in_the_sums_of_its_node():
    omitted = {Kind.LOCAL_REFERENCE: Total(4, 40)}

    (node,) = groups_of(report(reference(1), omitted=omitted), GroupBy.NODE_ADDRESS, SortBy.PID)
    (site,) = groups_of(report(reference(1), omitted=omitted), GroupBy.STACK_TRACE, SortBy.PID)

    assert node.totals[Kind.LOCAL_REFERENCE] == Total(5, 50)
    assert site.totals[Kind.LOCAL_REFERENCE] == Total(1, 10)
    assert omitted == {Kind.LOCAL_REFERENCE: Total(4, 40)}


def test_every_kind_has_a_sum():
    assert totals_of([]) == {kind: Total() for kind in Kind}


def test_who_records_call_sites():
    silent = ProcessMemory(8, "Worker", "10.0.0.1", answered=False)
    recording = report(reference(1))

    assert recording.records_call_sites
    both = MemoryReport([*recording.processes, silent], recording.store, 5.0)
    assert both.records_call_sites  # it has told of no reference
    assert both.silent == [silent]
    off = ProcessMemory(9, "Worker", "10.0.0.1", references=[reference(2)])
    assert not MemoryReport([*recording.processes, off], recording.store, 5.0).records_call_sites
