"""Any interleaving of the clients' links, with clients dying at any point, agrees with what the store must know.

The model keeps history, not states: what has been delivered about each segment. From that it says anew after each
delivery which segments have a reason to exist, so that a segment freed too early and one kept too long both show.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.arena import Arena
from trayray.core.segment_actions import (
    Action,
    Freed,
    Granted,
    NotOwner,
    Refusal,
    Refused,
    SendFence,
    Statistics,
)
from trayray.core.segments import SegmentTable

CAPACITY = 1024
ALIGNMENT = 64


@dataclass(eq=False)
class Segment:
    """All that was delivered to the store about one granted segment."""

    offset: int
    generation: int
    size: int
    writer: bytes
    owner: bytes | None = None  # as named by the seal
    owner_was_connected: bool = True  # at the seal
    given_up: bool = False  # by a free of the writer before the seal, or by its death
    freed_by: set[bytes] = field(default_factory=set[bytes])  # not counting the writer before the seal
    pins: Counter[bytes] = field(default_factory=Counter[bytes])  # of connected clients
    fence: int | None = None  # sent when the owner died
    audience: frozenset[bytes] = frozenset()  # who was sent the fence
    unheard: set[bytes] = field(default_factory=set[bytes])  # those of them that neither acknowledged nor died
    gone: bool = False

    @property
    def place(self) -> tuple[int, int]:
        return self.offset, self.generation

    def holder(self, connected: set[bytes]) -> bytes | None:
        if self.owner is None:
            return None if self.given_up else self.writer
        return self.owner if self.owner in connected and self.owner_decides() else None

    def owner_decides(self) -> bool:
        """Whether it was sealed for a living owner that has not freed it (it may have died since)."""
        return self.owner is not None and self.owner_was_connected and self.owner not in self.freed_by

    def is_wanted(self, connected: set[bytes]) -> bool:
        return bool(self.pins or self.unheard) or self.holder(connected) is not None


@dataclass(eq=False)
class Process:
    """A client as it sees itself: what it may sensibly say next, and its messages on their way to the store."""

    name: bytes
    alive: bool = True
    link: deque[tuple[object, ...]] = field(default_factory=deque[tuple[object, ...]])
    writing: list[Segment] = field(default_factory=list[Segment])
    owning: list[Segment] = field(default_factory=list[Segment])
    mapped: list[Segment] = field(default_factory=list[Segment])  # an entry for each pin sent and not taken back
    fences: list[int] = field(default_factory=list[int])  # received, not answered
    seen: set[int] = field(default_factory=set[int])  # fences answered


class StoreAgainstHistory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena(CAPACITY, ALIGNMENT)
        self.table = SegmentTable(self.arena)
        self.processes: dict[bytes, Process] = {}
        self.connected: set[bytes] = set()
        self.segments: list[Segment] = []
        self.numbers = count(1)

    # What processes do: their messages travel on their links.

    @initialize(number=st.integers(1, 4))
    def start(self, number: int) -> None:
        for _ in range(number):
            self.join()

    @precondition(lambda self: len(self.connected) < 5)
    @rule()
    def join(self) -> None:
        name = b"p%d" % next(self.numbers)
        self.processes[name] = Process(name)
        self.connected.add(name)
        self.table.connect(name)

    def living(self) -> list[Process]:
        return [process for process in self.processes.values() if process.alive]

    def draw_living(self, data: st.DataObject) -> Process:
        return data.draw(st.sampled_from(self.living()))

    @precondition(lambda self: self.living())
    @rule(
        data=st.data(),
        size=st.one_of(st.integers(1, CAPACITY // 4), st.integers(1, CAPACITY + 1)),
        waits=st.booleans(),
    )
    def ask_for_a_segment(self, data: st.DataObject, size: int, waits: bool) -> None:
        process = self.draw_living(data)
        process.link.append(("create", next(self.numbers), size))
        while waits and process.link:
            self.deliver_one(process)

    @precondition(lambda self: any(process.writing for process in self.living()))
    @rule(data=st.data(), gives_up=st.integers(0, 9))
    def finish_writing(self, data: st.DataObject, gives_up: int) -> None:
        writer = data.draw(st.sampled_from([process for process in self.living() if process.writing]))
        segment = data.draw(st.sampled_from(writer.writing))
        writer.writing.remove(segment)
        if gives_up == 9:
            writer.link.append(("free", segment))
            return
        # The owner may be dead, even for long, without the writer knowing.
        owner = self.processes[data.draw(st.sampled_from(list(self.processes)))]
        writer.link.append(("seal", segment, owner.name))
        if owner.alive:
            owner.owning.append(segment)

    @precondition(lambda self: any(process.owning for process in self.living()))
    @rule(data=st.data(), times=st.integers(1, 2))
    def drop_the_last_reference(self, data: st.DataObject, times: int) -> None:
        owner = data.draw(st.sampled_from([process for process in self.living() if process.owning]))
        segment = data.draw(st.sampled_from(owner.owning))
        if times == 1:
            owner.owning.remove(segment)  # otherwise it says so again later
        owner.link.append(("free", segment))

    @precondition(lambda self: self.living() and self.segments)
    @rule(data=st.data())
    def map_a_segment(self, data: st.DataObject) -> None:
        reader = self.draw_living(data)
        segment = data.draw(st.sampled_from([*self.live(), *self.segments[-2:]]))
        reader.mapped.append(segment)
        reader.link.append(("pin", segment, frozenset(reader.seen)))

    @precondition(lambda self: any(process.mapped for process in self.living()))
    @rule(data=st.data())
    def unmap_a_segment(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from([process for process in self.living() if process.mapped]))
        segment = data.draw(st.sampled_from(reader.mapped))
        reader.mapped.remove(segment)
        reader.link.append(("unpin", segment))

    @precondition(lambda self: any(process.fences for process in self.living()))
    @rule(data=st.data())
    def answer_a_fence(self, data: st.DataObject) -> None:
        self.answer_next_fence(data.draw(st.sampled_from([process for process in self.living() if process.fences])))

    def answer_next_fence(self, process: Process) -> None:
        fence = process.fences.pop(0)
        process.seen.add(fence)
        process.link.append(("ack", fence))

    @precondition(lambda self: self.living())
    @rule(data=st.data(), delivered=st.integers(0, 20))
    def die(self, data: st.DataObject, delivered: int) -> None:
        """The first so many messages on the link still arrive, then the store sees its end."""
        self.kill(self.draw_living(data), delivered)

    def kill(self, process: Process, delivered: int) -> None:
        process.alive = False
        process.link = deque([*list(process.link)[:delivered], ("end",)])

    # What arrives at the store

    @precondition(lambda self: any(process.link for process in self.processes.values()))
    @rule(data=st.data(), messages=st.integers(1, 5))
    def deliver(self, data: st.DataObject, messages: int) -> None:
        process = data.draw(st.sampled_from([process for process in self.processes.values() if process.link]))
        for _ in range(min(messages, len(process.link))):
            self.deliver_one(process)

    @precondition(lambda self: any(process.fences for process in self.living()))
    @rule()
    def complete_all_fences(self) -> None:
        for process in self.processes.values():
            while process.alive and process.fences:
                self.answer_next_fence(process)
            while process.link:
                self.deliver_one(process)

    def deliver_one(self, process: Process) -> None:
        match process.link.popleft():
            case ("create", int() as request, int() as size):
                self.deliver_create(process, request, size)
            case ("seal", Segment() as segment, bytes() as owner):
                self.deliver_seal(process, segment, owner)
            case ("free", Segment() as segment):
                self.deliver_free(process, segment)
            case ("pin", Segment() as segment, frozenset() as seen):
                self.deliver_pin(process, segment, seen)
            case ("unpin", Segment() as segment):
                self.deliver_unpin(process, segment)
            case ("ack", int() as fence):
                for segment in self.segments:
                    if segment.fence == fence:
                        segment.unheard.discard(process.name)
                self.expect(self.table.fence_ack(process.name, fence))
            case ("end",):
                self.deliver_end(process)
            case message:
                raise AssertionError(f"the test does not know {message}")

    def deliver_create(self, process: Process, request: int, size: int) -> None:
        footprint = -(-size // ALIGNMENT) * ALIGNMENT
        live = self.live()
        taken = {unit for segment in live for unit in range(segment.offset, segment.offset + segment.size, ALIGNMENT)}
        fits = any(
            taken.isdisjoint(range(start, start + footprint, ALIGNMENT))
            for start in range(0, CAPACITY - footprint + 1, ALIGNMENT)
        )

        answer = self.table.create(process.name, request, size)

        assert (answer.client, answer.request) == (process.name, request)
        if isinstance(answer, Refused):
            assert not fits
            assert answer.refusal is (Refusal.TOO_LARGE if footprint > CAPACITY else Refusal.FULL)
            if answer.refusal is Refusal.FULL:
                held = self.held_bytes()
                assert [count for _, count in answer.holders] == sorted(filter(None, held.values()), reverse=True)[:3]
                assert all(held[client] == count for client, count in answer.holders)
            return
        assert isinstance(answer, Granted)
        assert 0 <= answer.offset <= CAPACITY - footprint
        assert taken.isdisjoint(range(answer.offset, answer.offset + footprint, ALIGNMENT))
        assert all(answer.generation > segment.generation for segment in self.segments)
        segment = Segment(answer.offset, answer.generation, footprint, process.name)
        self.segments.append(segment)
        if process.alive:
            process.writing.append(segment)

    def deliver_seal(self, process: Process, segment: Segment, owner: bytes) -> None:
        claimants = segment.freed_by & self.connected
        segment.owner = owner
        segment.owner_was_connected = owner in self.connected
        strangers = [NotOwner(claimant, *segment.place, owner) for claimant in sorted(claimants - {owner})]
        self.expect(self.table.seal(process.name, *segment.place, owner), *strangers)

    def deliver_free(self, process: Process, segment: Segment) -> None:
        if segment.owner is None and process.name == segment.writer:
            segment.given_up = True
        else:
            segment.freed_by.add(process.name)
        self.expect(self.table.free(process.name, *segment.place))

    def deliver_pin(self, process: Process, segment: Segment, seen: frozenset[int]) -> None:
        pinned = self.table.pin(process.name, *segment.place)

        assert pinned is not segment.gone
        # What fences are for, told without reference to who has acknowledged.
        could_know = process.name not in segment.audience or segment.fence in seen
        if segment.owner_decides() and (segment.owner in self.connected or not could_know):
            assert pinned, "the reader could not know of the owner's death when it sent its pin"
        if pinned:
            segment.pins[process.name] += 1

    def deliver_unpin(self, process: Process, segment: Segment) -> None:
        if not segment.gone:
            segment.pins[process.name] -= 1
            segment.pins += Counter()  # drops zeros
        self.expect(self.table.unpin(process.name, *segment.place))

    def deliver_end(self, process: Process) -> None:
        fence = next(self.numbers)
        self.connected.remove(process.name)
        orphans: list[Segment] = []
        for segment in self.live():
            segment.pins.pop(process.name, None)
            segment.unheard.discard(process.name)
            if segment.owner is None:
                segment.given_up |= segment.writer == process.name
            elif segment.owner == process.name and segment.owner_decides():
                orphans.append(segment)
        if not orphans or not self.connected:
            self.expect(self.table.disconnect(process.name, fence))
            return
        for segment in orphans:
            segment.fence = fence
            segment.audience = frozenset(self.connected)
            segment.unheard = set(self.connected)
        audience = [name for name in self.processes if name in self.connected]
        for name in audience:
            self.processes[name].fences.append(fence)
        self.expect(self.table.disconnect(process.name, fence), SendFence(audience, fence))

    def expect(self, actions: Sequence[Action], *others: Action) -> None:
        """`actions` are `others` and a Freed for each segment that no longer has a reason to exist."""
        unwanted = [segment for segment in self.live() if not segment.is_wanted(self.connected)]
        freed = sorted((a.generation, a.offset, a.size) for a in actions if isinstance(a, Freed))

        assert freed == [(segment.generation, segment.offset, segment.size) for segment in unwanted]
        assert [action for action in actions if not isinstance(action, Freed)] == list(others)
        for segment in unwanted:
            segment.gone = True

    # Messages that no correct client sends

    @precondition(lambda self: self.connected and self.live())
    @rule(data=st.data(), what=st.sampled_from(["seal", "free", "unpin", "ack"]))
    def break_the_protocol(self, data: st.DataObject, what: str) -> None:
        client = data.draw(st.sampled_from(sorted(self.connected)))
        segment = data.draw(st.sampled_from(self.live()))
        is_writing = segment.owner is None and segment.writer == client and not segment.given_up
        before = self.table.statistics()
        if what == "seal" and not is_writing:
            with pytest.raises(ValueError, match="not writing"):
                self.table.seal(client, *segment.place, client)
        elif what == "free" and segment.owner is None and not segment.given_up and segment.writer != client:
            # Wrong unless the seal names this client, which the store learns only then.
            segment.freed_by.add(client)
            self.expect(self.table.free(client, *segment.place))
        elif what == "free" and self.is_anothers(segment, client):
            with pytest.raises(ValueError, match="belongs to"):
                self.table.free(client, *segment.place)
        elif what == "unpin" and not segment.pins[client]:
            with pytest.raises(ValueError, match="without a pin"):
                self.table.unpin(client, *segment.place)
        elif what == "ack":
            with pytest.raises(ValueError, match="was not sent to it"):
                self.table.fence_ack(client, next(self.numbers))
        segment.pins += Counter()  # looking a count up leaves no zero behind
        assert self.table.statistics() == before

    def is_anothers(self, segment: Segment, client: bytes) -> bool:
        """Whether a living owner other than `client` still wants the segment, or a dead one's fence is on its way."""
        return segment.owner not in (None, client) and (
            bool(segment.unheard) or segment.holder(self.connected) is not None
        )

    # What always holds

    def live(self) -> list[Segment]:
        return [segment for segment in self.segments if not segment.gone]

    def held_bytes(self) -> dict[bytes, int]:
        held = dict.fromkeys(self.connected, 0)
        for segment in self.live():
            holder = segment.holder(self.connected)
            if holder is not None:
                held[holder] += segment.size
        return held

    @invariant()
    def the_books_agree(self) -> None:
        self.table.check_invariants()
        live = self.live()
        assert self.arena.blocks() == {segment.offset: segment.size for segment in live}
        written = [segment for segment in live if segment.owner is not None or segment.given_up]
        assert self.table.statistics() == Statistics(
            used=sum(segment.size for segment in live),
            capacity=CAPACITY,
            objects=len(written),
            unsealed=len(live) - len(written),
            pinned_bytes=sum(segment.size for segment in live if segment.pins),
            client_bytes=self.held_bytes(),
        )

    def teardown(self) -> None:
        for process in self.living():
            self.kill(process, delivered=len(process.link))
        for process in self.processes.values():
            while process.link:
                self.deliver_one(process)
        self.the_books_agree()
        assert self.arena.used == 0
        assert self.arena.largest_free == CAPACITY


TestStoreAgainstHistory = StoreAgainstHistory.TestCase
# A whole story (write, seal, pin, die, acknowledge) takes some ten steps of several processes.
TestStoreAgainstHistory.settings = settings(stateful_step_count=80, max_examples=200)
