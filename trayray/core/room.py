"""Who waits for room in the object store, what is spilled for it, and when there is none to come.

Requests are served in the order in which they came, those of readers for bytes that are away before those of writers.
This module covers: the queue, what is copied to disk ahead and for whom, what leaves memory, refusals. It does not
cover: who holds what (`trayray.core.segments`), files (`node.spill_storage`), threads and messages (`node.store`).

A writer that finds no room waits while any comes: bytes are on their way to disk or out of memory, or (for a while,
`RoomSettings.full_seconds` after the last bytes came back) clients that wait for nothing here still read or write
segments. A reader never waits for others: if its bytes find no room, it is sent to the copy on disk.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from trayray.core.residence import Resident
from trayray.core.segment_actions import Action as SegmentAction
from trayray.core.segment_actions import Granted, Refused
from trayray.core.segments import SegmentTable

#: Never more than so large a part of the store is copied for those who may come, however small it is.
_PARTS = 4
#: At least so many parts of the store leave memory together: others need room soon, and a fence costs a round trip.
_AHEAD = 16


class RoomSettings(NamedTuple):
    """When and how much is spilled; sizes in bytes."""

    #: Share of the store that may be used before objects are copied to disk ahead of time; and whether any ever are.
    threshold: float = 0.8
    spills: bool = True
    #: What is copied at once, into one file: at least so many bytes, at most so many objects.
    least: int = 100 * 1024 * 1024
    most: int = 2000
    #: How many files are written at once.
    writers: int = 4
    #: How long a writer waits for others to let go (seconds).
    full_seconds: float = 10.0


class Copy(NamedTuple):
    """Write these objects to disk, into one file; `Room.copied` follows."""

    objects: Sequence[Resident]


class Evict(NamedTuple):
    """Set the marks of these segments, then carry `actions` out."""

    leaving: Sequence[int]
    actions: Sequence[SegmentAction]


class Return(NamedTuple):
    """Read the object from disk to where it is `at`; `Room.returned` follows."""

    memory: Resident


class Located(NamedTuple):
    """The answer to a reader: the bytes are at `at`, or (None) nowhere in memory: it reads the copy on disk."""

    client: bytes
    request: int
    generation: int
    at: int | None
    #: Why they cannot be had at all; empty when they can.
    error: str = ""


class NoDisk(NamedTuple):
    """`client` gets no segment for `request`: nothing can be spilled, for this reason."""

    client: bytes
    request: int
    reason: str


Action = Granted | Refused | NoDisk | Copy | Evict | Return | Located


class _Create(NamedTuple):
    client: bytes
    request: int
    size: int


class _Fetch:
    def __init__(self, memory: Resident) -> None:
        self.memory = memory
        #: (client, request) of those who wait for it.
        self.readers: list[tuple[bytes, int]] = []


class Room:
    """Requests for room in one node's store. Every change ends with `plan`, whose actions are to be carried out."""

    def __init__(self, table: SegmentTable, settings: RoomSettings) -> None:
        self._table = table
        self._memory = table.residence
        self._settings = settings
        self._creates: deque[_Create] = deque()
        #: By generation: those that wait for room, and those that are being read from disk.
        self._fetches: dict[int, _Fetch] = {}
        self._returning: dict[int, _Fetch] = {}
        #: Files that are being written.
        self._writing = 0
        #: Why the last file could not be written; nothing is copied ahead until something has changed.
        self._disk_error = ""
        #: Since when nothing comes back, and how often it had by then.
        self._stuck_since: float | None = None
        self._given_back = 0

    # Requests

    def create(self, client: bytes, request: int, size: int) -> Refused | None:
        """`client` wants a segment of `size` bytes (at least 1, else ValueError); refused if it can never fit."""
        if self._table.is_too_large(size):
            return self._table.refuse(client, request, size)
        self._disk_error = ""
        self._creates.append(_Create(client, request, size))
        return None

    def locate(self, client: bytes, request: int, offset: int, generation: int) -> Located | None:
        """`client`, which has pinned the segment, asks where it is; None: the answer comes by `plan` or `returned`.

        ValueError if it has no pin on it.
        """
        memory = self._table.memory_of(client, offset, generation)
        if memory.is_readable:
            return Located(client, request, generation, memory.at)
        waiting = self._returning if memory.returning else self._fetches
        waiting.setdefault(generation, _Fetch(memory)).readers.append((client, request))
        return None

    def gone(self, client: bytes) -> None:
        """A process is dead, and `SegmentTable.disconnect` was told: it waits for nothing any more."""
        self._creates = deque(create for create in self._creates if create.client != client)
        for generation, fetch in list(self._fetches.items()):
            fetch.readers = [reader for reader in fetch.readers if reader[0] != client]
            if not fetch.readers:
                del self._fetches[generation]
        for fetch in self._returning.values():
            fetch.readers = [reader for reader in fetch.readers if reader[0] != client]

    # What was carried out

    def copied(self, objects: Sequence[Resident], error: str = "") -> list[SegmentAction]:
        """A file was written, or could not be, with the reason."""
        self._writing -= 1
        self._disk_error = error
        actions: list[SegmentAction] = []
        for memory in objects:
            actions += self._table.copied(memory, success=not error)
        return actions

    def returned(self, memory: Resident, error: str = "") -> tuple[list[Located], list[SegmentAction]]:
        """An object was read from disk, or could not be, with the reason."""
        fetch = self._returning.pop(memory.generation)
        at = None if error else memory.at
        answers = [Located(client, request, memory.generation, at, error) for client, request in fetch.readers]
        return answers, self._table.returned(memory, success=not error)

    # Decisions

    @property
    def deadline(self) -> float | None:
        """When `plan` should be asked again though nothing has happened."""
        return None if self._stuck_since is None else self._stuck_since + self._settings.full_seconds

    def plan(self, now: float, new_fence: int) -> list[Action]:
        """What to do next. `new_fence` is a number that was never given to a fence."""
        if not self._creates and not self._fetches and not self._is_over_threshold:
            self._stuck_since = None
            return []
        actions: list[Action] = []
        self._serve(actions)
        if self._creates or self._fetches:
            self._make_room(actions, new_fence)
            self._give_up(actions, now)
        else:
            self._stuck_since = None
            if self._is_over_threshold and not self._disk_error:
                self._copy(actions, self._settings.least)
        return actions

    @property
    def _is_over_threshold(self) -> bool:
        """Whether objects should be copied ahead: enough for a file."""
        memory, settings = self._memory, self._settings
        over = memory.uncopied_bytes - memory.copying_bytes - settings.threshold * self._table.capacity
        return over > 0 and settings.spills and memory.idle_bytes >= settings.least

    def _serve(self, actions: list[Action]) -> None:
        for generation, fetch in list(self._fetches.items()):
            memory = fetch.memory
            if generation not in self._memory.all:  # its readers have given up
                del self._fetches[generation]
            elif memory.is_readable:  # it stayed
                del self._fetches[generation]
                actions += [Located(client, request, generation, memory.at) for client, request in fetch.readers]
            elif self._memory.start_return(memory):
                self._returning[generation] = self._fetches.pop(generation)
                actions.append(Return(memory))
        while self._creates and not self._fetches:
            create = self._creates[0]
            if not self._table.has_room(create.size):
                return
            outcome = self._table.create(create.client, create.request, create.size)
            actions.append(outcome)
            self._creates.popleft()

    def _make_room(self, actions: list[Action], new_fence: int) -> None:
        memory = self._memory
        wanted = sum(fetch.memory.size for fetch in self._fetches.values())
        wanted = min(wanted + sum(create.size for create in self._creates), self._table.capacity)
        # If there is so much, it is not in one piece: as much again has to go, from wherever it is.
        short = wanted - self._table.available if self._table.available < wanted else wanted
        if not self._table.has_fences and memory.idle_copied_bytes:
            leaving, orders = self._table.evict(max(short, self._table.capacity // _AHEAD), new_fence)
            actions.append(Evict(leaving, orders))
        # With something in reserve: who waits now is seldom the last one, and the disk should not wait for writers.
        reserve = min(self._settings.least, self._table.capacity // _PARTS)
        short += reserve - memory.going_bytes - memory.copying_bytes - memory.idle_copied_bytes
        if short > 0 and self._settings.spills and not self._disk_error:
            self._copy(actions, max(short, reserve))

    def _copy(self, actions: list[Action], wanted: int) -> None:
        if self._writing < self._settings.writers:
            objects = self._memory.start_copy(wanted, self._settings.most)
            if objects:
                self._writing += 1
                actions.append(Copy(objects))

    def _give_up(self, actions: list[Action], now: float) -> None:
        """Answer those for whom nothing comes."""
        if self._memory.given_back != self._given_back:
            self._given_back = self._memory.given_back
            self._stuck_since = None
        if self._writing or self._returning or self._table.has_fences:
            self._stuck_since = None
            return
        for generation, fetch in self._fetches.items():
            actions += [Located(client, request, generation, None) for client, request in fetch.readers]
        self._fetches.clear()
        self._serve(actions)
        if not self._creates:
            return
        waiting = {create.client for create in self._creates}
        if not self._disk_error and self._table.others_may_let_go(waiting):
            if self._stuck_since is None:
                self._stuck_since = now
            if now < self._stuck_since + self._settings.full_seconds:
                return
        create = self._creates.popleft()
        self._stuck_since = None
        if self._disk_error:
            actions.append(NoDisk(create.client, create.request, self._disk_error))
        else:
            actions.append(self._table.refuse(create.client, create.request, create.size))
        # The next one may want less. It starts to wait now.
        self._serve(actions)
        if self._creates:
            self._give_up(actions, now)

    def check_invariants(self) -> None:
        """Raise AssertionError if the books contradict themselves."""
        for generation, fetch in self._returning.items():
            assert fetch.memory.returning, f"generation {generation} is not on its way"
        for generation, fetch in self._fetches.items():
            assert fetch.readers, f"nobody waits for generation {generation}"
            assert not fetch.memory.returning, f"generation {generation} is on its way already"
