"""What a node has told of its memory, made into the records of ``core.memory_table``.

Not here: asking (``api.node_control``), grouping and sorting (``core.memory_table``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trayray.core.memory_table import MemoryReport, ProcessMemory, Reference, StoreMemory
from trayray.core.reference_kinds import Kind, Total
from trayray.core.spill_statistics import SpillStatistics
from trayray.wire.proto.trayray import v1
from trayray.wire.specs import HeldReferences

_decode = msgspec.msgpack.Decoder(HeldReferences).decode


def report_of(told: v1.NodeMemory, answer_seconds: float) -> MemoryReport:
    """The report of one node, whose processes had ``answer_seconds`` to answer."""
    pids = {process.address: process.pid for process in told.processes}
    return MemoryReport(
        [_process(process, told.node, pids) for process in told.processes],
        StoreMemory(
            told.store_used,
            told.store_capacity,
            told.store_objects,
            told.store_needed,
            SpillStatistics(
                told.spilled_bytes,
                told.spilled_objects,
                told.write_seconds,
                told.restored_bytes,
                told.restored_objects,
                told.read_seconds,
            ),
        ),
        answer_seconds,
    )


def _process(told: v1.ProcessReferences, node: str, pids: Mapping[str, int]) -> ProcessMemory:
    kind = told.role.capitalize()
    if not told.held:
        return ProcessMemory(told.pid, kind, node, answered=False)
    held = _decode(told.held)
    references = [
        Reference(
            object_id=each.id,
            kind=Kind(each.kind),
            size=None if each.size < 0 else each.size,
            call_site=each.call_site,
            task_status=each.task_status,
            attempt=each.attempt,
            owner=each.owner,
            owner_pid=pids.get(each.owner, 0),
            pid=told.pid,
            process_type=kind,
            node=node,
        )
        for each in held.listed
    ]
    omitted = {Kind(name): Total(count, size) for name, count, size in held.omitted}
    return ProcessMemory(told.pid, kind, node, True, held.records_call_sites, references, omitted)
