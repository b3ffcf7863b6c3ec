"""Who holds which segment of the node's shared-memory arena, when it may leave memory, and when it is given back.

This module covers: granting segments to writers, ownership, pins of readers, and what a client's death gives back.
It does not cover: the choice of offsets (`trayray.core.arena`), which bytes are in memory and which on disk
(`trayray.core.residence`), who waits for room and what is spilled for it (`trayray.core.room`), messages and links.

Theory of operation. A client (a driver or worker process) has one ordered link to the store; links are not ordered
among each other. So the owner's `free` and a reader's `pin` may overtake the writer's `seal`, and all messages name a
segment by offset *and* generation, so that a late one cannot hit a newer segment at the same offset. The states:

    UNSEALED   held by its writer  -- seal, owner connected -------------> SEALED
                                   -- seal, owner gone or freed early ---> CONDEMNED
                                   -- writer frees or dies --------------> CONDEMNED
    SEALED     held by its owner   -- owner frees -----------------------> CONDEMNED
                                   -- owner dies, others are connected --> ORPHANED
                                   -- owner dies, nobody else is there --> CONDEMNED
    ORPHANED   held by nobody      -- the owner's fence is complete -----> CONDEMNED
    CONDEMNED  held by nobody      -- no pins (left) --------------------> given back

A fence is a message that the store sends to every connected client when an owner dies and that each client sends back.
Once it is back, all pins which that client sent before it knew of the death have arrived.

The bytes of a segment that is SEALED and has no pins may leave memory, once a copy is on disk. A fence goes first here
too: a reader whose pin is on its way, or an owner that has just begun to read (owners pin only when a fence asks them
to), does not know that they leave. What is pinned when the fence is complete stays. Whoever begins to read later sees
a mark (`trayray.core.marks`), set before the fence was sent, and asks where the bytes are.

A method that raises ValueError has changed nothing: its client broke the protocol.
"""

import enum
import heapq
from collections.abc import Callable, Collection, Sequence

import attrs

from trayray.core.arena import Arena
from trayray.core.residence import Residence, Resident
from trayray.core.segment_actions import (
    Action,
    Freed,
    Granted,
    Left,
    NotOwner,
    Refusal,
    Refused,
    SendFence,
    Statistics,
    Stayed,
)


class _State(enum.Enum):
    UNSEALED = enum.auto()
    SEALED = enum.auto()
    ORPHANED = enum.auto()
    CONDEMNED = enum.auto()


@attrs.define(eq=False)
class _Segment:
    memory: Resident
    # UNSEALED: the writer; SEALED: the owner; both connected. Otherwise None.
    holder: bytes | None
    writer: bytes
    state: _State = _State.UNSEALED
    # Sum of the connected clients' pins on it; CONDEMNED implies at least one, or that its bytes are being copied.
    pins: int = 0

    @property
    def offset(self) -> int:
        return self.memory.home

    @property
    def generation(self) -> int:
        return self.memory.generation

    @property
    def size(self) -> int:
        return self.memory.size


@attrs.define(eq=False)
class _Client:
    # Generations of all and only the segments whose holder is this client.
    held: set[int] = attrs.field(factory=set[int])
    # Sum of the sizes of the segments in `held`.
    held_bytes: int = 0
    # How many of them it is still writing.
    writing: int = 0
    # Generation -> number of this client's pins on it, at least 1.
    pins: dict[int, int] = attrs.field(factory=dict[int, int])


@attrs.define(eq=False)
class _Fence:
    # Connected clients that have not acknowledged; never empty.
    waiting: set[bytes]
    # Generations of the ORPHANED segments it protects; each ORPHANED segment has exactly one fence.
    orphans: Sequence[int]
    # Generations of the segments that leave memory when it is complete. One of the two is not empty.
    leaving: Sequence[int]


_HOLDERS_NAMED = 3  # in the text of a refusal


class SegmentTable:
    """The books of one node's shared-memory store; all of `arena` belongs to it.

    Every method that takes a `client` except `connect` raises ValueError if that client is not connected. Every method
    that takes an `offset` (bytes into the arena) and a `generation` raises ValueError if that pair was never granted,
    as far as this is still known.
    """

    def __init__(self, arena: Arena, name: Callable[[bytes], str] = lambda client: f"client {client.hex()}") -> None:
        """`arena` must be empty; ValueError otherwise. `name` is how users know a client."""
        if arena.used:
            raise ValueError(f"a segment table needs an arena of its own, but {arena.used} bytes of it are in use")
        self._arena = arena
        self._name_of = name
        #: Where the bytes of all and only the segments are.
        self.residence = Residence(arena)
        # Generation -> segment.
        self._segments: dict[int, _Segment] = {}
        # All and only the connected clients, in order of connection.
        self._clients: dict[bytes, _Client] = {}
        # Generation of an UNSEALED segment -> connected clients other than its writer that freed it; no empty sets.
        self._early_frees: dict[int, set[bytes]] = {}
        # Fences that are on their way.
        self._fences: dict[int, _Fence] = {}
        # Above every generation granted so far.
        self._next_generation = 1

    # Clients

    def connect(self, client: bytes) -> None:
        """A process joins. Raises ValueError if it is connected already."""
        if client in self._clients:
            raise ValueError(f"client {client.hex()} is connected to the store already; a client connects once")
        self._clients[client] = _Client()

    def disconnect(self, client: bytes, fence: int) -> list[Action]:
        """`client` is dead: all that it wrote, pinned and owned comes back, with the caution that readers need.

        Unfinished segments and pins come back at once (a segment that others have pinned, at their last unpin). What it
        owned waits for `fence`, a number that names no fence still on its way (ValueError): see `SendFence`.
        """
        record = self._client(client)
        if fence in self._fences:
            raise ValueError(f"fence {fence} is still on its way; the death of {client.hex()} needs another number")
        del self._clients[client]
        actions: list[Action] = []
        for generation, count in record.pins.items():
            actions += self._drop_pins(self._segments[generation], count)
        for generation, claimants in list(self._early_frees.items()):
            claimants.discard(client)
            if not claimants:
                del self._early_frees[generation]
        for open_fence, entry in list(self._fences.items()):
            if client in entry.waiting:
                actions += self._acknowledge(open_fence, client)
        orphans: list[int] = []
        for generation in sorted(record.held):
            segment = self._segments[generation]
            if segment.state is _State.SEALED and self._clients:
                segment.holder = None
                segment.state = _State.ORPHANED
                self._used(segment)
                orphans.append(generation)
            else:
                segment.holder = None
                actions += self._condemn(segment)
        if orphans:
            self._fences[fence] = _Fence(waiting=set(self._clients), orphans=orphans, leaving=())
            actions.append(SendFence(list(self._clients), fence))
        return actions

    def left_by(self, client: bytes) -> dict[bytes, list[tuple[int, int]]]:
        """What `client` has written for each other owner and these hold: (offset, generation) of the segments.

        A writer that dies between its seal and its word to the owner leaves a segment that the owner knows nothing of.
        """
        left: dict[bytes, list[tuple[int, int]]] = {}
        for segment in self._segments.values():
            if segment.writer == client and segment.state is _State.SEALED and segment.holder not in (None, client):
                left.setdefault(segment.holder, []).append((segment.offset, segment.generation))
        return left

    def fence_ack(self, client: bytes, fence: int) -> list[Action]:
        """`client` has seen `fence`: all that it sent before has arrived. ValueError if it owes no such answer."""
        self._client(client)
        entry = self._fences.get(fence)
        if entry is None or client not in entry.waiting:
            raise ValueError(
                f"client {client.hex()} acknowledged fence {fence}, which was not sent to it or is acknowledged already"
            )
        return self._acknowledge(fence, client)

    # Segments

    def create(self, client: bytes, request: int, size: int) -> Granted | Refused:
        """A segment of `size` bytes (at least 1, else ValueError) for `client` to write, or why there is none.

        `request` is the client's own number; it comes back in the answer.
        """
        record = self._client(client)
        generation = self._next_generation
        memory = self.residence.add(generation, size)
        if memory is None:
            return self.refuse(client, request, size)
        self._next_generation += 1
        segment = _Segment(memory, client, client)
        self._segments[generation] = segment
        record.held.add(generation)
        record.held_bytes += segment.size
        record.writing += 1
        return Granted(client, request, memory.home, generation)

    def seal(self, client: bytes, offset: int, generation: int, owner: bytes) -> list[Action]:
        """The writer `client` has finished; from now on the segment lives as long as its `owner` wants it to.

        It is freed at once (with pins: at the last unpin) if the owner is not connected (any more) or has freed it
        already. ValueError if `client` is not writing this segment.
        """
        self._client(client)
        segment = self._find(offset, generation)
        if segment is None or segment.state is not _State.UNSEALED or segment.holder != client:
            raise ValueError(
                f"client {client.hex()} sealed {_name(offset, generation)}, which it is not writing: "
                "only the client that a segment was granted to seals it, once, and not after freeing it"
            )
        self._let_go(segment)
        early = self._early_frees.pop(generation, set[bytes]())
        actions: list[Action] = [
            NotOwner(claimant, offset, generation, owner) for claimant in sorted(early) if claimant != owner
        ]
        record = self._clients.get(owner)
        if record is None or owner in early:
            return actions + self._condemn(segment)
        segment.state = _State.SEALED
        segment.holder = owner
        record.held.add(generation)
        record.held_bytes += segment.size
        self._used(segment)
        return actions

    def free(self, client: bytes, offset: int, generation: int) -> list[Action]:
        """The owner `client` says that nothing refers to the object any more, or the writer that it gives up.

        Has an effect at the last unpin if readers have it mapped, and at the seal if it overtook the seal. Repeating it
        has no effect. ValueError if another client owns the segment.
        """
        self._client(client)
        segment = self._find(offset, generation)
        if segment is None or segment.state is _State.CONDEMNED:
            return []
        if segment.holder == client:
            self._let_go(segment)
            return self._condemn(segment)
        if segment.state is _State.UNSEALED:
            self._early_frees.setdefault(generation, set()).add(client)
            return []
        owner = "a dead client" if segment.holder is None else f"client {segment.holder.hex()}"
        raise ValueError(
            f"client {client.hex()} freed {_name(offset, generation)}, which belongs to {owner}: "
            "only the owner of a segment frees it"
        )

    def pin(self, client: bytes, offset: int, generation: int) -> bool:
        """The reader `client` maps the segment, which stays until the same number of unpins.

        False, and no pin, if the segment was given back before: the bytes may be another object's by now, and only a
        reader that has let go of them meanwhile is unharmed. A pin may overtake the seal: whoever tells a reader of a
        segment has finished writing it.
        """
        record = self._client(client)
        segment = self._find(offset, generation)
        if segment is None:
            return False
        record.pins[generation] = record.pins.get(generation, 0) + 1
        segment.pins += 1
        self._used(segment)
        return True

    def unpin(self, client: bytes, offset: int, generation: int) -> list[Action]:
        """Take one of the client's pins back. ValueError if it has none on this segment.

        No effect if the segment was given back: then the pin came too late too, which its sender need not know.
        """
        record = self._client(client)
        segment = self._find(offset, generation)
        if segment is None:
            return []
        count = record.pins.get(generation, 0)
        if not count:
            raise ValueError(
                f"client {client.hex()} unpinned {_name(offset, generation)} without a pin on it: "
                "each unpin takes back one pin"
            )
        if count == 1:
            del record.pins[generation]
        else:
            record.pins[generation] = count - 1
        return self._drop_pins(segment, 1)

    # Memory and disk

    @property
    def capacity(self) -> int:
        """Bytes of the arena."""
        return self._arena.capacity

    @property
    def available(self) -> int:
        """Bytes that are free, not necessarily in one piece."""
        return self._arena.available

    def has_room(self, size: int) -> bool:
        """Whether `create` would grant so many bytes (at least 1, else ValueError)."""
        return self._arena.footprint(size) <= self._arena.largest_free

    def is_too_large(self, size: int) -> bool:
        """Whether so many bytes (at least 1, else ValueError) would not fit into the empty arena."""
        return self._arena.footprint(size) > self._arena.capacity

    def memory_of(self, client: bytes, offset: int, generation: int) -> Resident:
        """Where a segment is that `client` has pinned. ValueError if it has not."""
        segment = self._find(offset, generation)
        if segment is None or generation not in self._client(client).pins:
            raise ValueError(
                f"client {client.hex()} asked where {_name(offset, generation)} is without a pin on it: "
                "a reader pins first, so that what it asks for stays"
            )
        return segment.memory

    def copied(self, memory: Resident, *, success: bool) -> list[Action]:
        """As `Residence.copied`; the segment is freed now if nobody needs it any more."""
        self.residence.copied(memory, success=success)
        return self._release_unless_needed(self._segments[memory.generation])

    def returned(self, memory: Resident, *, success: bool) -> list[Action]:
        """As `Residence.returned`; the segment is freed now if nobody needs it any more."""
        self.residence.returned(memory, success=success)
        return self._release_unless_needed(self._segments[memory.generation])

    def evict(self, wanted: int, fence: int) -> tuple[list[int], list[Action]]:
        """Idle segments of `wanted` bytes together that have copies are to leave memory: their generations.

        `fence` is as in `disconnect`. `Left` or `Stayed` follows for each that is not freed meanwhile.
        """
        leaving = [memory.generation for memory in self.residence.evict(wanted)]
        if not leaving or not self._clients:
            return leaving, [self._leave(self._segments[generation]) for generation in leaving]
        self._fences[fence] = _Fence(waiting=set(self._clients), orphans=(), leaving=leaving)
        return leaving, [SendFence(list(self._clients), fence, leaving)]

    @property
    def has_fences(self) -> bool:
        """Whether any fence is on its way."""
        return bool(self._fences)

    def others_may_let_go(self, waiting: Collection[bytes]) -> bool:
        """Whether a client that is not `waiting` writes or reads a segment, whose bytes may be had when it is done."""
        clients = self._clients.items()
        return any(client not in waiting and (record.pins or record.writing) for client, record in clients)

    def statistics(self) -> Statistics:
        """Sums over all segments; takes time linear in their number."""
        unsealed = sum(segment.state is _State.UNSEALED for segment in self._segments.values())
        return Statistics(
            used=self._arena.used,
            capacity=self._arena.capacity,
            objects=len(self._segments) - unsealed,
            unsealed=unsealed,
            pinned_bytes=sum(segment.size for segment in self._segments.values() if segment.pins),
            client_bytes={client: record.held_bytes for client, record in self._clients.items()},
        )

    # Steps

    def _client(self, client: bytes) -> _Client:
        record = self._clients.get(client)
        if record is None:
            raise ValueError(f"client {client.hex()} is not connected to the store; connect() comes before all else")
        return record

    def _find(self, offset: int, generation: int) -> _Segment | None:
        """The segment, None if it was given back; ValueError if there never was such a segment."""
        segment = self._segments.get(generation)
        if segment is not None and segment.offset != offset:
            raise ValueError(f"{_name(offset, generation)} does not exist: that generation is at {segment.offset}")
        if not 0 < generation < self._next_generation:
            raise ValueError(f"{_name(offset, generation)} does not exist: no such generation was granted yet")
        return segment

    def refuse(self, client: bytes, request: int, size: int) -> Refused:
        """Why there is no room for `size` bytes, and who holds it."""
        capacity = self._arena.capacity
        if self.is_too_large(size):
            reason = (
                f"an object of {size} bytes can never fit into this node's object store of {capacity} bytes; "
                "start the node with a larger object_store_memory or split the object"
            )
            return Refused(client, request, Refusal.TOO_LARGE, reason, [])
        held = {holder: record.held_bytes for holder, record in self._clients.items() if record.held_bytes}
        holders = heapq.nlargest(_HOLDERS_NAMED, held.items(), key=lambda entry: entry[1])
        named = [f"{self._name_of(holder)}: {held_bytes} bytes" for holder, held_bytes in holders]
        left_behind = self._arena.used - sum(held.values())
        if left_behind:
            named.append(f"freed by their owners or left by dead ones, but still in use: {left_behind} bytes")
        reason = (
            f"this node's object store is full: {size} bytes were requested, and of its {capacity} bytes "
            f"{self._arena.available} are free, at most {self._arena.largest_free} of them in one piece; "
            f"largest holders: {', '.join(named)}; drop references to objects that are not needed any more"
        )
        return Refused(client, request, Refusal.FULL, reason, holders)

    def _let_go(self, segment: _Segment) -> None:
        """The segment's holder, a connected client, holds it no longer."""
        assert segment.holder is not None, "a segment without a holder cannot be let go"
        record = self._clients[segment.holder]
        record.held.remove(segment.generation)
        record.held_bytes -= segment.size
        record.writing -= segment.state is _State.UNSEALED
        segment.holder = None

    def _condemn(self, segment: _Segment) -> list[Action]:
        """From now on only pins keep the segment, which has no holder."""
        self._early_frees.pop(segment.generation, None)
        segment.state = _State.CONDEMNED
        self._used(segment)
        return self._release_unless_needed(segment)

    def _used(self, segment: _Segment) -> None:
        self.residence.used(segment.memory, idle=segment.state is _State.SEALED and not segment.pins)

    def _release_unless_needed(self, segment: _Segment) -> list[Action]:
        memory = segment.memory
        if segment.pins or memory.copying or memory.returning or segment.state is not _State.CONDEMNED:
            return []
        return [self._release(segment)]

    def _drop_pins(self, segment: _Segment, count: int) -> list[Action]:
        segment.pins -= count
        self._used(segment)
        return self._release_unless_needed(segment)

    def _acknowledge(self, fence: int, client: bytes) -> list[Action]:
        entry = self._fences[fence]
        entry.waiting.remove(client)
        if entry.waiting:
            return []
        del self._fences[fence]
        actions: list[Action] = []
        for generation in entry.orphans:
            actions += self._condemn(self._segments[generation])
        for generation in entry.leaving:
            segment = self._segments.get(generation)
            if segment is not None:  # else it has been given back meanwhile
                actions.append(self._leave(segment))
        return actions

    def _leave(self, segment: _Segment) -> Left | Stayed:
        left = self.residence.leave(segment.memory)
        return Left(segment.generation) if left else Stayed(segment.generation)

    def _release(self, segment: _Segment) -> Freed:
        del self._segments[segment.generation]
        return Freed(segment.offset, segment.generation, self.residence.release(segment.memory))

    def check_invariants(self) -> None:
        """Raise AssertionError if the books contradict themselves; takes time linear in their length."""
        self._arena.check_invariants()
        self.residence.check_invariants()
        memories = {generation: segment.memory for generation, segment in self._segments.items()}
        assert memories == self.residence.all, "what is in memory or on disk are not the segments"
        held: dict[bytes, set[int]] = {client: set() for client in self._clients}
        for generation, segment in self._segments.items():
            assert generation == segment.generation < self._next_generation, f"generation {generation} of {segment}"
            has_holder = segment.state in (_State.UNSEALED, _State.SEALED)
            assert has_holder == (segment.holder is not None), f"state and holder of {segment}"
            moving = segment.memory.copying or segment.memory.returning
            assert segment.pins or moving or segment.state is not _State.CONDEMNED, f"nothing keeps {segment}"
            idle = segment.state is _State.SEALED and not segment.pins
            assert segment.memory.idle == idle, f"{segment} is idle or not"
            pins = sum(record.pins.get(generation, 0) for record in self._clients.values())
            assert pins == segment.pins, f"{segment} has {pins} pins"
            if segment.holder is not None:
                held[segment.holder].add(generation)
        for client, record in self._clients.items():
            assert record.held == held[client], f"client {client.hex()} holds {record.held}, segments {held[client]}"
            writing = sum(self._segments[generation].state is _State.UNSEALED for generation in record.held)
            assert record.writing == writing, f"client {client.hex()} writes {writing} segments"
            held_bytes = sum(self._segments[generation].size for generation in record.held)
            assert record.held_bytes == held_bytes, f"client {client.hex()} holds {held_bytes} bytes"
            assert min(record.pins.values(), default=1) > 0, f"empty pin of client {client.hex()}"
            assert record.pins.keys() <= self._segments.keys(), f"client {client.hex()} pins what was given back"
        for generation, claimants in self._early_frees.items():
            segment = self._segments[generation]
            assert segment.state is _State.UNSEALED, f"early free of {segment}"
            assert claimants, f"empty early free of {segment}"
            assert claimants <= self._clients.keys() - {segment.holder}, f"early free of {segment} by {claimants}"
        orphans = [generation for entry in self._fences.values() for generation in entry.orphans]
        expected = [s.generation for s in self._segments.values() if s.state is _State.ORPHANED]
        assert sorted(orphans) == sorted(expected), "fences and orphans differ"
        for fence, entry in self._fences.items():
            assert entry.orphans or entry.leaving, f"fence {fence} protects nothing"
            assert entry.waiting, f"fence {fence} waits for nobody"
            assert entry.waiting <= self._clients.keys(), f"fence {fence} waits for the dead"


def _name(offset: int, generation: int) -> str:
    return f"the segment at offset {offset}, generation {generation}"
