"""The text of `trayray memory` for given records."""

from tests.core.test_memory_table import reference, report
from trayray.cli.memory_layout import report_lines, store_lines
from trayray.core.memory_table import GroupBy, MemoryReport, ProcessMemory, SortBy, StoreMemory
from trayray.core.reference_kinds import Kind, Total
from trayray.core.spill_statistics import SpillStatistics

MIB = 2**20


def test_table():
    lines = list(
        report_lines(
            report(
                reference(1, size=15_000_000, call_site="(put object)  | test.py:<module>:17"),
                reference(2, size=None, kind=Kind.USED_BY_PENDING_TASK, owner_pid=0, process_type="Worker", pid=8),
            ),
            "now",
            unit="MB",
        )
    )

    assert lines[:2] == [
        "======== Object references status: now ========",
        "Grouping by node address...        Sorting by object size...        Display all entries per group...",
    ]
    start = lines.index("--- Summary for node address: 10.0.0.1 ---")
    assert lines[start + 1].split("  ")[:2] == ["Mem Used by Objects", "Local References"]
    assert [cell.strip() for cell in lines[start + 2].split("  ") if cell] == [
        "15.0 MB",
        "1, (15.0 MB)",
        "0, (0.0 MB)",
        "1, (0.0 MB)",
        "0, (0.0 MB)",
        "0, (0.0 MB)",
    ]
    table = lines[lines.index("--- Object references for node address: 10.0.0.1 ---") :]
    assert [cell.strip() for cell in table[1].split("  ") if cell.strip()] == [
        "IP Address", "PID", "Type", "Call Site", "Status", "Attempt", "Size", "Reference Type", "Object Ref",
        "Owner PID",
    ]  # fmt: skip
    assert table[2].split() == [
        "10.0.0.1", "8", "Worker", "here", "FINISHED", "1", "?", "USED_BY_PENDING_TASK", "02" * 28, "gone",
    ]  # fmt: skip
    column = table[1].index("Call Site")
    assert [line[column : column + 22].rstrip() for line in table[4:6]] == ["(put object)  |", "test.py:<module>:17"]
    assert table[4].split()[-2:] == ["01" * 28, "7"]


def test_one_line_a_reference():
    lines = list(
        report_lines(
            report(reference(1, call_site="a"), reference(2, call_site="a", pid=3), reference(3, call_site="b")),
            "now",
            group_by=GroupBy.STACK_TRACE,
            sort_by=SortBy.PID,
            formatted=False,
            most=1,
        )
    )

    assert lines[1] == ("Grouping by stack trace...        Sorting by pid...        Display 1 entries per group...")
    rows = [line for line in lines if line.startswith("10.0.0.1")]
    assert rows == [
        f"10.0.0.1 | 3 | Driver | a | FINISHED | 1 | 10.0 B | LOCAL_REFERENCE | {'02' * 28} | 7",
        f"10.0.0.1 | 7 | Driver | b | FINISHED | 1 | 10.0 B | LOCAL_REFERENCE | {'03' * 28} | 7",
    ]
    assert not any("record_ref_creation_sites" in line for line in lines)


def test_what_is_missing_is_said():
    omitting = ProcessMemory(7, "Driver", "10.0.0.1", True, False, [reference(1)], {Kind.ACTOR_HANDLE: Total(3, 0)})
    silent = ProcessMemory(9, "Worker", "10.0.0.1", answered=False)
    found = MemoryReport([omitting, silent], report().store, 0.5)

    by_node, by_site = (list(report_lines(found, "now", group_by=group_by)) for group_by in GroupBy)

    more = "pid 7 (Driver) holds more than is listed: 3 (0.0 B) ACTOR_HANDLE; "
    assert more + "counted in the summary" in by_node
    assert more + "counted in no group" in by_site
    assert "pid 9 (Worker) did not answer within 0.5 s: what it holds is missing here" in by_node
    assert any("TRAYRAY_record_ref_creation_sites=1" in line for line in by_node)


def test_store():
    quiet = StoreMemory(50 * MIB, 100 * MIB, 3, 25 * MIB, SpillStatistics())
    busy = StoreMemory(50 * MIB, 100 * MIB, 3, 25 * MIB, SpillStatistics(200 * MIB, 4, 0.4, 150 * MIB, 3, 0.1))

    usage = "Plasma memory usage 50 MiB, 3 objects, 50.0% full, 25.0% needed"
    assert list(store_lines(quiet)) == ["--- Aggregate object store stats across all nodes ---", usage]
    assert list(store_lines(busy))[1:] == [
        usage,
        "Spilled 200 MiB, 4 objects, avg write throughput 500 MiB/s",
        "Restored 150 MiB, 3 objects, avg read throughput 1500 MiB/s",
    ]
