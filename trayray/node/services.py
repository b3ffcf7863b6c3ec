"""The node's own gRPC services: statistics, shutdown, and copies of stored objects for other nodes."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable

from trayray.model.resources import ResourceSet
from trayray.node.raylet import Raylet
from trayray.node.store import ObjectStore
from trayray.wire.proto.trayray import v1

#: Size of one chunk of a transfer (bytes).
CHUNK_BYTES = 1024 * 1024


class RayletService(v1.RayletBase):
    """What the command line and other nodes ask of a node."""

    def __init__(self, raylet: Raylet, shut_down: Callable[[str], None]) -> None:
        super().__init__()
        self._raylet = raylet
        self._shut_down = shut_down
        self._started = time.monotonic()

    async def get_node_stats(self, message: v1.GetNodeStatsRequest) -> v1.NodeStats:
        raylet, table = self._raylet, self._raylet.table
        statistics = raylet.store.segments.statistics()
        return v1.NodeStats(
            node_id=raylet.identity.node_id,
            pid=os.getpid(),
            total=table.total.to_dict(),
            available=available_resources(raylet),
            workers=len(raylet.processes.workers),
            idle_workers=sum(len(workers) for workers in table.idle.values()),
            leases=len(table.leases),
            store_used=statistics.used,
            store_capacity=statistics.capacity,
            store_objects=statistics.objects,
            uptime_seconds=time.monotonic() - self._started,
            demands=[
                v1.PendingDemand(
                    name=demand.name,
                    resources=demand.resources.to_dict(),
                    count=demand.outstanding,
                    feasible=table.feasible(demand.placement),
                )
                for demand in table.demands.values()
                if demand.outstanding
            ],
        )

    async def get_node_memory(self, message: v1.GetNodeMemoryRequest) -> v1.NodeMemory:
        raylet = self._raylet
        answers = await raylet.memory.gather(message.answer_seconds, message.most_references)
        statistics, spilling = raylet.store.segments.statistics(), raylet.store.spill_statistics
        return v1.NodeMemory(
            node=raylet.identity.ip,
            processes=[
                v1.ProcessReferences(pid=client.pid, role=client.role, address=client.address, held=held)
                for client, held in answers.items()
            ],
            store_used=statistics.used,
            store_capacity=statistics.capacity,
            store_objects=statistics.objects,
            store_needed=sum(statistics.client_bytes.values()),
            spilled_bytes=spilling.spilled_bytes,
            spilled_objects=spilling.spilled_objects,
            write_seconds=spilling.write_seconds,
            restored_bytes=spilling.restored_bytes,
            restored_objects=spilling.restored_objects,
            read_seconds=spilling.read_seconds,
        )

    async def shutdown(self, message: v1.ShutdownRequest) -> v1.ShutdownReply:
        self._shut_down(message.reason)
        return v1.ShutdownReply(pid=os.getpid())


class ObjectTransferService(v1.ObjectTransferBase):
    """Reads this node's arena for other nodes."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__()
        self._store = store

    async def pull(self, message: v1.PullRequest) -> AsyncIterator[v1.Chunk]:
        """The object's bytes. It is pinned while they are read."""
        async with self._store.reading(message.offset, message.generation) as view:
            for position in range(0, message.size, CHUNK_BYTES):
                yield v1.Chunk(position=position, data=bytes(view[position : position + CHUNK_BYTES]))


def available_resources(raylet: Raylet) -> dict[str, float]:
    """What is free on the node, the object store's bytes included."""
    store = ResourceSet.of({"object_store_memory": raylet.store.available})
    bundles = raylet.table.bundles.as_resources(available=True)
    return {**raylet.table.available.to_dict(), **store.to_dict(), **bundles}
