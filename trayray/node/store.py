"""The node's object store: carries out what ``core.segments`` and ``core.room`` decide for the clients of this node.

Not here: writing and reading the arena, which every process does itself (``worker.arena_mapping``), what is done on
disk (``node.spilling``).
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from trayray.core.arena import Arena
from trayray.core.residence import Resident
from trayray.core.room import Copy, Evict, Located, NoDisk, Return, Room, RoomSettings
from trayray.core.segment_actions import Freed, Granted, Left, NotOwner, Refused, SendFence, Stayed
from trayray.core.segments import SegmentTable
from trayray.core.spill_statistics import SpillStatistics
from trayray.model.spilling import StoreSettings
from trayray.node.clients import Client, Clients
from trayray.node.spilling import Spilling
from trayray.wire.store_messages import Create, Created, Fence, Free, LeftSegments, Locate, Pin, Seal
from trayray.wire.store_messages import Located as LocatedMessage
from trayray.wire.values import Place

StoreMessage = Create | Seal | Free | Pin | Fence | Locate


class ObjectStore:
    """The arena's memory file and the table of its segments."""

    def __init__(self, capacity: int, clients: Clients, settings: StoreSettings, spilling: Spilling) -> None:
        """``spilling`` has the memory file; its arena has ``capacity`` bytes, whole pages."""
        self.capacity = capacity
        self.descriptor = spilling.descriptor
        self.arena = Arena(capacity)
        self.segments = SegmentTable(self.arena, self._name)
        self._room = Room(self.segments, _room_settings(settings))
        self._clients = clients
        self._spilling = spilling
        self._fences = itertools.count(1)
        self._actions: deque[Any] = deque()
        self._acting = False
        #: This process's own readers (of transfers), and what they wait for.
        self._readers: dict[bytes, trio.Event] = {}
        self._places: dict[bytes, Located] = {}
        self._nursery: trio.Nursery
        self._ending = False
        self._deadline_changed = trio.Event()

    @property
    def spill_statistics(self) -> SpillStatistics:
        """What was written to disk and read back."""
        return self._spilling.statistics

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of objects that have a copy on disk."""
        return self._spilling.bytes_on_disk

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Spill and restore, one child a file, until cancelled; a file that is being written or read is waited for."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            try:
                while True:
                    deadline = self._room.deadline
                    self._deadline_changed = trio.Event()
                    with trio.move_on_at(float("inf") if deadline is None else deadline):
                        await self._deadline_changed.wait()
                    self._carry_out([])
            finally:
                self._ending = True

    def _later(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Start a child task; when the node is ending, what is on disk and in memory ends with it anyway."""
        if not self._ending:
            self._nursery.start_soon(function, *arguments)

    # --- clients ---

    def connect(self, client: Client) -> None:
        self.segments.connect(client.address.encode())

    def disconnect(self, client: Client) -> None:
        """A process is gone; what it wrote, owned and read comes back, and owners hear what it has left to them."""
        who = client.address.encode()
        for owner, segments in self.segments.left_by(who).items():
            other = self._clients.with_address(owner.decode())
            if other is not None:
                other.send([LeftSegments(client.address, segments)])
        actions = self.segments.disconnect(who, next(self._fences))
        self._room.gone(who)
        self._carry_out(actions)

    def handle(self, client: Client, message: StoreMessage) -> None:
        """One message of a client.

        Raises:
            ValueError: the client broke the protocol.
        """
        table, who = self.segments, client.address.encode()
        actions: Iterable[Any] = ()
        match message:
            case Create(request, size):
                refused = self._room.create(who, request, size)
                actions = () if refused is None else [refused]
            case Seal(offset, generation, owner):
                actions = table.seal(who, offset, generation, owner.encode())
            case Free(offset, generation):
                actions = table.free(who, offset, generation)
            case Pin(offset, generation, True):
                table.pin(who, offset, generation)
            case Pin(offset, generation):
                actions = table.unpin(who, offset, generation)
            case Fence(fence):
                actions = table.fence_ack(who, fence)
            case Locate(request, offset, generation):
                located = self._room.locate(who, request, offset, generation)
                actions = () if located is None else [located]
        self._carry_out(actions)

    @asynccontextmanager
    async def reading(self, offset: int, generation: int) -> AsyncGenerator[memoryview]:
        """The bytes of a segment, which stays in memory (or on disk, from where it is read) within the block.

        Raises:
            LookupError: it is not in this store any more.
        """
        who = f"reader-{os.urandom(8).hex()}".encode()
        self.segments.connect(who)
        self._readers[who] = trio.Event()
        try:
            if not self.segments.pin(who, offset, generation):
                raise LookupError("the object is not in this node's store any more")
            located = self._room.locate(who, 0, offset, generation)
            self._carry_out([] if located is None else [located])
            await self._readers[who].wait()
            place = self._places[who]
            if place.error:
                raise LookupError(place.error)
            length = self.segments.memory_of(who, offset, generation).length
            async with self._spilling.viewing(place.generation, place.at, length) as view:
                yield view
        finally:
            del self._readers[who]
            self._places.pop(who, None)
            actions = self.segments.disconnect(who, next(self._fences))
            self._room.gone(who)
            self._carry_out(actions)

    # --- carrying out ---

    def _carry_out(self, actions: Iterable[Any]) -> None:
        """Do these things, and what the room decides after them."""
        self._actions.extend(actions)
        if self._acting:  # whoever is at it does these too
            return
        self._acting = True
        try:
            while True:
                while self._actions:
                    self._act(self._actions.popleft())
                plan = self._room.plan(trio.current_time(), next(self._fences))
                if not plan:
                    break
                self._actions.extend(plan)
        finally:
            self._acting = False
        if self._room.deadline is not None:
            self._deadline_changed.set()

    def _act(self, action: Any) -> None:
        match action:
            case Granted(client, request, offset, generation):
                length = self.segments.residence.all[generation].length
                self._send(client, Created(request, Place(offset, generation, length)))
            case Refused():
                self._send(action.client, Created(action.request, None, action.reason))
            case NoDisk(client, request, reason):
                self._send(client, Created(request, None, reason, True))
            case Located():
                self._located(action)
            case Copy(objects):
                self._later(self._copy, objects)
            case Return(memory):
                self._later(self._return, memory)
            case Evict(leaving, orders):
                for generation in leaving:
                    self._spilling.mark(generation, elsewhere=True)
                self._actions.extend(orders)
            case SendFence(clients, fence, leaving):
                for client in clients:
                    if client in self._readers:  # its pins are not on their way
                        self._actions.extend(self.segments.fence_ack(client, fence))
                    else:
                        self._send(client, Fence(fence, list(leaving)))
            case Stayed(generation):
                self._mark(self.segments.residence.all[generation])
            case Freed(_, generation):
                if self._spilling.forget(generation):
                    self._later(self._spilling.delete_unused)
            case Left() | NotOwner():  # it is marked already; a free that had no effect harms nobody
                return
            case _:
                raise AssertionError(f"the store cannot carry out {action}")

    def _mark(self, memory: Resident) -> None:
        self._spilling.mark(memory.generation, elsewhere=not memory.is_at_home)

    def _send(self, address: bytes, message: Any) -> None:
        client = self._clients.with_address(address.decode())
        if client is not None:
            client.send([message])

    def _located(self, located: Located) -> None:
        if located.client in self._readers:
            self._places[located.client] = located
            self._readers[located.client].set()
        elif located.error:
            self._send(located.client, LocatedMessage(located.request, -1, error=located.error))
        elif located.at is not None:
            self._send(located.client, LocatedMessage(located.request, located.at))
        else:
            self._later(self._send_to_file, located)

    async def _send_to_file(self, located: Located) -> None:
        path, position, error = await self._spilling.file_of(located.generation)
        self._send(located.client, LocatedMessage(located.request, -1, path, position, error))

    async def _copy(self, objects: Sequence[Resident]) -> None:
        error = await self._spilling.write(objects)
        self._carry_out(self._room.copied(objects, error))

    async def _return(self, memory: Resident) -> None:
        error = await self._spilling.read(memory)
        answers, actions = self._room.returned(memory, error)
        self._mark(memory)
        self._carry_out([*answers, *actions])

    def _name(self, address: bytes) -> str:
        client = self._clients.with_address(address.decode())
        return address.decode() if client is None else f"{client.role} (pid {client.pid})"

    @property
    def available(self) -> int:
        """Free bytes."""
        return self.arena.available


def _room_settings(settings: StoreSettings) -> RoomSettings:
    return RoomSettings(
        threshold=settings.threshold,
        spills=settings.automatic,
        least=settings.min_spilling_size,
        most=settings.max_fused_object_count,
        writers=settings.max_io_workers,
        full_seconds=settings.full_seconds,
    )
