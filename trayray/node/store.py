"""The node's object store: carries out what ``core.segments`` decides for the clients of this node.

Not here: writing and reading the arena, which every process does itself (``worker.arena_mapping``).
"""

from __future__ import annotations

import itertools
import mmap
import os

from trayray.core.arena import Arena
from trayray.core.segments import Granted, SegmentTable, SendFence
from trayray.node.clients import Client, Clients
from trayray.wire.messages import Create, Created, Fence, Free, LeftSegments, Pin, Place, Seal


class ObjectStore:
    """The arena's memory file and the table of its segments."""

    def __init__(self, capacity: int, clients: Clients) -> None:
        capacity = -(-capacity // mmap.PAGESIZE) * mmap.PAGESIZE
        self.capacity = capacity
        #: An anonymous memory file: the kernel frees it with the last process, however that ends.
        self.descriptor = os.memfd_create("trayray-arena", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, capacity)
        self.arena = Arena(capacity)
        self.segments = SegmentTable(self.arena)
        self._clients = clients
        self._fences = itertools.count(1)

    def connect(self, client: Client) -> None:
        self.segments.connect(client.address.encode())

    def disconnect(self, client: Client) -> None:
        """A process is gone; what it wrote, owned and read comes back, and owners hear what it has left to them."""
        for owner, segments in self.segments.left_by(client.address.encode()).items():
            other = self._clients.with_address(owner.decode())
            if other is not None:
                other.send([LeftSegments(client.address, segments)])
        for action in self.segments.disconnect(client.address.encode(), next(self._fences)):
            if isinstance(action, SendFence):
                for address in action.clients:
                    other = self._clients.with_address(address.decode())
                    if other is not None:
                        other.send([Fence(action.fence)])

    def handle(self, client: Client, message: Create | Seal | Free | Pin | Fence) -> None:
        """One message of a client.

        Raises:
            ValueError: the client broke the protocol.
        """
        table, who = self.segments, client.address.encode()
        match message:
            case Create(request, size):
                outcome = table.create(who, request, size)
                if isinstance(outcome, Granted):
                    client.send([Created(request, Place(outcome.offset, outcome.generation, size))])
                else:
                    client.send([Created(request, None, outcome.reason)])
            case Seal(offset, generation, owner):
                table.seal(who, offset, generation, owner.encode())
            case Free(offset, generation):
                table.free(who, offset, generation)
            case Pin(offset, generation, True):
                table.pin(who, offset, generation)
            case Pin(offset, generation):
                table.unpin(who, offset, generation)
            case Fence(fence):
                table.fence_ack(who, fence)

    @property
    def available(self) -> int:
        """Free bytes."""
        return self.arena.available

    def close(self) -> None:
        os.close(self.descriptor)
