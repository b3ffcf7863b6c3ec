"""Spilling under any interleaving: readers never see bytes that are not their object's, and nobody waits for ever.

Processes write, share, read and drop objects; messages wait on links, files are written and read at any later moment,
and fail at times. The model has the arena's bytes: each unit says which object's it is, or None.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.arena import Arena
from trayray.core.marks import Marks, mark_of
from trayray.core.residence import Resident
from trayray.core.room import Copy, Evict, Located, NoDisk, Return, Room, RoomSettings
from trayray.core.segment_actions import Freed, Granted, Left, NotOwner, Refused, SendFence, Stayed
from trayray.core.segments import SegmentTable

UNIT = 64
CAPACITY = 16 * UNIT


@dataclass(eq=False)
class Object:
    """One object as its owner knows it."""

    owner: bytes
    offset: int
    generation: int
    size: int
    sealed: bool = False
    #: Processes that have a reference; the owner frees the object when none has and none reads.
    held_by: set[bytes] = field(default_factory=set[bytes])


@dataclass(eq=False)
class View:
    """Somebody reads an object: from when it decides to until it has dropped the value."""

    object: Object
    told: bool = False
    #: Where it reads; None: it has asked and waits. "disk": it reads the copy.
    at: int | str | None = None


@dataclass(eq=False)
class Process:
    """A client: what it has said that the store has not heard, and the other way round."""

    name: bytes
    said: deque[tuple[object, ...]] = field(default_factory=deque[tuple[object, ...]])
    heard: deque[tuple[object, ...]] = field(default_factory=deque[tuple[object, ...]])
    views: dict[int, View] = field(default_factory=dict[int, View])
    asked: dict[int, View] = field(default_factory=dict[int, View])
    creating: dict[int, int] = field(default_factory=dict[int, int])


class SpillingAgainstMemory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = SegmentTable(Arena(CAPACITY, UNIT))
        self.marks = Marks()
        self.marked: set[int] = set()
        self.units: list[int | None] = [None] * (CAPACITY // UNIT)
        self.disk: set[int] = set()
        self.processes: dict[bytes, Process] = {}
        self.objects: list[Object] = []
        self.copies: list[Copy] = []
        self.returns: list[Resident] = []
        self.now = 0.0
        self.numbers = count(1)
        self.fences = count(1)

    @initialize(
        clients=st.integers(1, 4),
        spills=st.sampled_from([True, True, True, False]),
        threshold=st.sampled_from([0.2, 0.8, 1.0]),
        least=st.sampled_from([1, 3 * UNIT, 100 * UNIT]),
        most=st.integers(1, 3),
        writers=st.integers(1, 2),
        filled=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=10),
    )
    def start(
        self,
        clients: int,
        spills: bool,
        threshold: float,
        least: int,
        most: int,
        writers: int,
        filled: list[tuple[int, int]],
    ) -> None:
        self.room = Room(self.table, RoomSettings(threshold, spills, least, most, writers, 10.0))
        for number in range(clients):
            name = b"p%d" % number
            self.processes[name] = Process(name)
            self.table.connect(name)
        for which, size in filled:
            self.puts(which, size)

    # --- processes ---

    @rule(which=st.integers(0, 9), size=st.integers(1, 6))
    @precondition(lambda self: self.processes)
    def puts(self, which: int, size: int) -> None:
        """All of a put, and what comes of it by itself."""
        self.asks_for_room(which, size, True)
        self.settle()
        for written in [o for o in self.objects if not o.sealed]:
            self.seal(written)

    @rule()
    def settles(self) -> None:
        self.settle()

    @rule(which=st.integers(0, 9), size=st.integers(1, 6), seals=st.booleans())
    @precondition(lambda self: self.processes)
    def asks_for_room(self, which: int, size: int, seals: bool) -> None:
        process = self.one(which)
        request = next(self.numbers)
        process.creating[request] = size * UNIT
        process.said.append(("create", request, size * UNIT))
        if seals:
            self.hurry(process)

    @rule(which=st.integers(0, 9))
    @precondition(lambda self: any(not o.sealed for o in self.objects))
    def finishes_writing(self, which: int) -> None:
        unsealed = [o for o in self.objects if not o.sealed]
        self.seal(unsealed[which % len(unsealed)])

    def seal(self, written: Object) -> None:
        written.sealed = True
        self.processes[written.owner].said.append(("seal", written.offset, written.generation))
        self.free_if_unheld(written)

    @rule(which=st.integers(0, 99), reader=st.integers(0, 9), hurries=st.booleans())
    @precondition(lambda self: any(o.sealed for o in self.objects))
    def reads(self, which: int, reader: int, hurries: bool) -> None:
        sealed = [o for o in self.objects if o.sealed]
        read = sealed[which % len(sealed)]
        process = self.one(reader)
        if read.generation in process.views:
            return
        read.held_by.add(process.name)  # it has a reference: otherwise it could not read
        view = process.views[read.generation] = View(read)
        if process.name != read.owner:
            self.tell(process, view)
        if mark_of(read.generation) not in self.marked:
            view.at = read.offset
        else:
            self.tell(process, view)
            request = next(self.numbers)
            process.asked[request] = view
            process.said.append(("locate", request, read.offset, read.generation))
        if hurries:
            self.hurry(process)

    def tell(self, process: Process, view: View) -> None:
        if not view.told:
            view.told = True
            process.said.append(("pin", view.object.offset, view.object.generation))

    @rule(which=st.integers(0, 99), reader=st.integers(0, 9))
    def drops_the_value(self, which: int, reader: int) -> None:
        process = self.one(reader)
        settled = [view for view in process.views.values() if view.at is not None]
        if settled:
            self.drop(process, settled[which % len(settled)])

    def drop(self, process: Process, view: View) -> None:
        del process.views[view.object.generation]
        if view.told:
            process.said.append(("unpin", view.object.offset, view.object.generation))

    @rule(which=st.integers(0, 99), holder=st.integers(0, 9))
    @precondition(lambda self: self.objects)
    def drops_the_reference(self, which: int, holder: int) -> None:
        dropped = self.objects[which % len(self.objects)]
        self.let_go(dropped, self.one(holder).name)

    def let_go(self, dropped: Object, holder: bytes) -> None:
        process = self.processes.get(holder)
        if process is not None and dropped.generation in process.views:
            return  # a value that is being read holds its reference
        dropped.held_by.discard(holder)
        self.free_if_unheld(dropped)

    def free_if_unheld(self, dropped: Object) -> None:
        if not dropped.held_by and dropped.sealed and dropped.owner in self.processes:
            self.objects.remove(dropped)
            self.processes[dropped.owner].said.append(("free", dropped.offset, dropped.generation))

    @rule(which=st.integers(0, 9))
    @precondition(lambda self: len(self.processes) > 1)
    def dies(self, which: int) -> None:
        process = self.one(which)
        while process.said:  # what it had sent arrives
            self.deliver(process)
        del self.processes[process.name]
        actions = self.table.disconnect(process.name, next(self.fences))
        self.room.gone(process.name)
        self.carry_out(actions)
        for known in list(self.objects):
            if known.owner == process.name:
                self.objects.remove(known)
            else:
                self.let_go(known, process.name)

    # --- the world ---

    @rule(which=st.integers(0, 9))
    @precondition(lambda self: any(p.said for p in self.processes.values()))
    def store_hears(self, which: int) -> None:
        talking = [p for p in self.processes.values() if p.said]
        self.deliver(talking[which % len(talking)])

    @rule(which=st.integers(0, 9))
    @precondition(lambda self: any(p.heard for p in self.processes.values()))
    def process_hears(self, which: int) -> None:
        listening = [p for p in self.processes.values() if p.heard]
        self.receive(listening[which % len(listening)])

    def hurry(self, process: Process) -> None:
        while process.said or process.heard:
            while process.said:
                self.deliver(process)
            while process.heard:
                self.receive(process)

    @rule(which=st.integers(0, 9), fails=st.sampled_from([False, False, False, True]))
    @precondition(lambda self: self.copies)
    def file_is_written(self, which: int, fails: bool) -> None:
        copy = self.copies.pop(which % len(self.copies))
        if not fails:
            for memory in copy.objects:
                assert self.holds(memory.at, memory.length, memory.generation), "a copy of somebody else's bytes"
                self.disk.add(memory.generation)
        self.carry_out(self.room.copied(copy.objects, "no space left" if fails else ""))

    @rule(which=st.integers(0, 9), fails=st.sampled_from([False, False, False, True]))
    @precondition(lambda self: self.returns)
    def file_is_read(self, which: int, fails: bool) -> None:
        memory = self.returns.pop(which % len(self.returns))
        if not fails:
            self.fill(memory.at, memory.length, memory.generation)
        answers, actions = self.room.returned(memory, "no such file" if fails else "")
        self.mark(memory)
        self.carry_out([*answers, *actions])

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out([])

    # --- the store ---

    def deliver(self, process: Process) -> None:
        name = process.name
        actions: list[object] = []
        match process.said.popleft():
            case ("create", int(request), int(size)):
                refused = self.room.create(name, request, size)
                actions = [refused] if refused else []
            case ("seal", int(offset), int(generation)):
                actions = list(self.table.seal(name, offset, generation, name))
            case ("free", int(offset), int(generation)):
                actions = list(self.table.free(name, offset, generation))
            case ("pin", int(offset), int(generation)):
                self.table.pin(name, offset, generation)
            case ("unpin", int(offset), int(generation)):
                actions = list(self.table.unpin(name, offset, generation))
            case ("locate", int(request), int(offset), int(generation)):
                located = self.room.locate(name, request, offset, generation)
                actions = [located] if located else []
            case ("fence", int(fence)):
                actions = list(self.table.fence_ack(name, fence))
            case other:
                raise AssertionError(other)
        self.carry_out(actions)

    def carry_out(self, actions: list[object]) -> None:
        waiting = deque(actions)
        while True:
            while waiting:
                waiting.extend(self.act(waiting.popleft()))
            plan = self.room.plan(self.now, next(self.fences))
            if not plan:
                return
            waiting.extend(plan)

    def act(self, action: object) -> list[object]:
        match action:
            case Granted(client, request, offset, generation):
                self.send(client, ("granted", request, offset, generation))
            case Refused():
                self.send(action.client, ("refused", action.request))
            case NoDisk(client, request, _):
                self.send(client, ("refused", request))
            case Located(client, request, generation, at, error):
                assert not error or generation in self.disk, "only what is on disk can fail to come back"
                self.send(client, ("located", request, at))
            case Copy():
                self.copies.append(action)
            case Return(memory):
                assert memory.generation in self.disk, "nothing to read"
                self.returns.append(memory)
            case Evict(leaving, orders):
                for generation in leaving:
                    self.change_mark(generation, elsewhere=True)
                return list(orders)
            case SendFence(clients, fence, leaving):
                for client in clients:
                    self.send(client, ("fence", fence, list(leaving)))
            case Stayed(generation):
                self.mark(self.table.residence.all[generation])
            case Freed(_, generation):
                self.change_mark(generation, elsewhere=False)
                self.disk.discard(generation)
            case Left(generation):
                assert generation in self.disk, "bytes left memory that are nowhere else"
            case NotOwner():
                raise AssertionError(action)
            case _:
                raise AssertionError(action)
        return []

    def mark(self, memory: Resident) -> None:
        self.change_mark(memory.generation, elsewhere=not memory.is_at_home)

    def change_mark(self, generation: int, *, elsewhere: bool) -> None:
        change = self.marks.change(generation, elsewhere=elsewhere)
        if change is not None:
            index, value = change
            (self.marked.add if value else self.marked.discard)(index)

    def send(self, client: bytes, message: tuple[object, ...]) -> None:
        if client in self.processes:
            self.processes[client].heard.append(message)

    def receive(self, process: Process) -> None:
        match process.heard.popleft():
            case ("granted", int(request), int(offset), int(generation)):
                size = process.creating.pop(request)
                self.fill(offset, size, generation)
                self.objects.append(Object(process.name, offset, generation, size, held_by={process.name}))
            case ("refused", int(request)):
                del process.creating[request]
            case ("located", int(request), int(at)):
                process.asked.pop(request).at = at
            case ("located", int(request), None):
                process.asked.pop(request).at = "disk"
            case ("fence", int(fence), list(leaving)):
                for generation in leaving:
                    if generation in process.views:
                        self.tell(process, process.views[generation])
                process.said.append(("fence", fence))
            case other:
                raise AssertionError(other)

    # --- memory ---

    def holds(self, at: int | None, size: int, generation: int) -> bool:
        assert at is not None
        return self.units[at // UNIT : (at + size) // UNIT] == [generation] * (size // UNIT)

    def fill(self, at: int | None, size: int, generation: int) -> None:
        assert at is not None
        self.units[at // UNIT : (at + size) // UNIT] = [generation] * (size // UNIT)

    def one(self, which: int) -> Process:
        return list(self.processes.values())[which % len(self.processes)]

    @invariant()
    def everybody_reads_what_they_should(self) -> None:
        for process in self.processes.values():
            for generation, view in process.views.items():
                if isinstance(view.at, int) and view.object.owner in self.processes:
                    assert self.holds(view.at, view.object.size, generation), f"{process.name!r} reads wrong bytes"

    @invariant()
    def books_are_right(self) -> None:
        self.table.check_invariants()
        if hasattr(self, "room"):
            self.room.check_invariants()

    def settle(self) -> None:
        """Everything that can happen by itself happens."""
        for _ in range(10_000):
            for process in list(self.processes.values()):
                self.hurry(process)
            if self.copies:
                self.file_is_written(0, False)
            elif self.returns:
                self.file_is_read(0, False)
            elif not any(process.said or process.heard for process in self.processes.values()):
                return
        raise AssertionError("it never settles")

    def teardown(self) -> None:
        """Left alone, every reader gets its bytes and every writer an answer; without references nothing is left."""
        if not hasattr(self, "room"):
            return
        self.settle()
        assert not any(process.asked for process in self.processes.values()), "a reader waits for ever"
        for _ in range(100):
            if not any(process.creating for process in self.processes.values()):
                break
            self.now += 11.0
            self.carry_out([])
            self.settle()
        assert not any(process.creating for process in self.processes.values()), "a writer waits for ever"
        self.everybody_reads_what_they_should()
        for process in self.processes.values():
            for view in list(process.views.values()):
                self.drop(process, view)
        for known in [known for known in self.objects if not known.sealed]:
            self.seal(known)
        for known in list(self.objects):
            for name in list(known.held_by):
                self.let_go(known, name)
        self.settle()
        assert self.table.statistics().used == 0
        assert not self.disk
        assert not self.marked


TestSpillingAgainstMemory = SpillingAgainstMemory.TestCase
TestSpillingAgainstMemory.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
