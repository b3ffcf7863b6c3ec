"""The node's own gRPC services: statistics, shutdown, and copies of stored objects for other nodes."""

from __future__ import annotations

import mmap
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

    async def shutdown(self, message: v1.ShutdownRequest) -> v1.ShutdownReply:
        self._shut_down(message.reason)
        return v1.ShutdownReply(pid=os.getpid())


class ObjectTransferService(v1.ObjectTransferBase):
    """Reads this node's arena for other nodes."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__()
        self._store = store
        self._arena = mmap.mmap(store.descriptor, store.capacity, prot=mmap.PROT_READ)

    async def pull(self, message: v1.PullRequest) -> AsyncIterator[v1.Chunk]:
        """The object's bytes. It is pinned while they are read."""
        reader = f"transfer-{os.urandom(8).hex()}".encode()
        segments = self._store.segments
        segments.connect(reader)
        try:
            if not segments.pin(reader, message.offset, message.generation):
                raise LookupError("the object is not in this node's store any more")
            for position in range(0, message.size, CHUNK_BYTES):
                start = message.offset + position
                end = message.offset + min(position + CHUNK_BYTES, message.size)
                yield v1.Chunk(position=position, data=self._arena[start:end])
        finally:
            segments.disconnect(reader, 0)

    def close(self) -> None:
        self._arena.close()


def available_resources(raylet: Raylet) -> dict[str, float]:
    """What is free on the node, the object store's bytes included."""
    store = ResourceSet.of({"object_store_memory": raylet.store.available})
    bundles = raylet.table.bundles.as_resources(available=True)
    return {**raylet.table.available.to_dict(), **store.to_dict(), **bundles}
