"""Processes that own and borrow, and a network that delays, reorders, repeats and loses, around `core.ownership`.

Each process counts its local references here, as Python's reference counting does in a real one, and carries out what
its machine decides. Every choice is made by whoever calls the methods. `check` compares with the truth: what any
process holds, or is about to be sent, must be there at its owner.
"""

from collections import deque
from dataclasses import dataclass, field

from trayray.core.ownership import Fate, Loan, Ownership


class Ref:
    """A process's one reference to an object."""

    __slots__ = ("holds", "id", "loan", "lost", "nested", "owner", "ready", "wanted")

    def __init__(self, object_id: bytes, owner: str) -> None:
        self.id = object_id
        self.owner = owner  # empty: the process itself
        self.loan: Loan | None = None
        self.holds = 0
        self.ready = False
        self.nested: list[Ref] = []
        self.lost: Fate | None = None
        self.wanted = False


@dataclass(eq=False)
class Call:
    """A call on its way to its executor, there, and back."""

    caller: "Process"
    executor: "Process"
    refs: list[Ref]
    result: Ref
    state: str = "pushed"
    args: list[Ref] = field(default_factory=list)
    returns: list[Ref] = field(default_factory=list)
    infos: list[tuple[bytes, str, str]] = field(default_factory=list)
    listed: list[bytes] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Answer:
    """A value that its owner is about to send to somebody who has asked."""

    ref: Ref
    asker: str
    requests: list[int]
    infos: list[tuple[bytes, str, str]]


class Process:
    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.machine = Ownership(name)
        self.known: dict[bytes, Ref] = {}
        self.lent: dict[bytes, Ref] = {}
        self.hands: list[Ref] = []
        self.running: list[Call] = []
        self.answers: list[Answer] = []
        self.waiting: list[tuple[Ref, str]] = []  # askers of values that are yet to come
        self.ended: list[Loan] = []
        self.unheard: list[str] = []  # deaths

    # --- local references ---

    def hold(self, ref: Ref) -> Ref:
        ref.holds += 1
        return ref

    def release(self, ref: Ref) -> None:
        assert ref.holds > 0, "a count below zero"
        ref.holds -= 1
        if not ref.holds:
            if self.known.get(ref.id) is ref:
                del self.known[ref.id]
            for nested in ref.nested:
                self.release(nested)
            if ref.loan is not None and ref.loan.is_registered:
                self.ended.append(ref.loan)

    def adopt(self, object_id: bytes, owner: str, voucher: str | None = None) -> Ref:
        """A reference that came from elsewhere, held once more."""
        ref = self.known.get(object_id)
        if ref is None:
            ref = self.known[object_id] = Ref(object_id, owner)
            fate = self.machine.fate(owner)
            if fate is Fate.LOAN:
                ref.loan = Loan(object_id, owner)
            else:
                ref.lost = fate
        self.hold(ref)
        if voucher is not None:
            self.machine.received(object_id, owner, voucher, ref.loan)
            self.hold_lent([object_id])
        return ref

    def hold_lent(self, object_ids) -> None:
        for object_id in object_ids:
            if not self.machine.book.is_lent(object_id):
                ref = self.lent.pop(object_id, None)
                if ref is not None:
                    self.release(ref)
            elif object_id not in self.lent:
                ref = self.known.get(object_id)
                if ref is not None and not ref.owner:
                    self.lent[object_id] = self.hold(ref)

    def pass_on(self, refs: list[Ref], receiver: str) -> tuple[list[int], list[tuple[bytes, str, str]]]:
        requests = self.machine.pass_on([(ref.id, ref.owner, ref.loan) for ref in refs], receiver)
        self.hold_lent([ref.id for ref in refs if not ref.owner])
        return requests, [(ref.id, ref.owner or self.name, self.name if ref.owner else "") for ref in refs]

    def take_ended(self) -> None:
        while self.ended:
            self.machine.dropped(self.ended.pop(0))

    def within_reach(self) -> list[Ref]:
        """What user code here can use: its own variables, and the arguments of what runs."""
        found = [*self.hands, *(ref for call in self.running if call.state == "running" for ref in call.args)]
        return list(dict.fromkeys(found))


class World:
    """All processes and the messages between them."""

    def __init__(self, number: int = 4) -> None:
        self.processes = {name: Process(name) for name in "abcd"[:number]}
        #: By sender, receiver and link: in order. Different links between two processes are not ordered.
        self.links: dict[tuple[str, str, str], deque] = {}
        self.delivered: dict[tuple[str, str], list] = {}
        self.calls: list[Call] = []
        self.created = 0
        #: Held in the name of a caller that has died since, who only borrowed it: see docs/ownership.md, "Limits".
        self.uncovered: set[bytes] = set()

    def living(self) -> list[Process]:
        return [process for process in self.processes.values() if process.alive]

    def new_id(self) -> bytes:
        self.created += 1
        return self.created.to_bytes(4, "big")

    def send(self, sender: str, receiver: str, link: str, message) -> None:
        if self.processes[receiver].alive:
            self.links.setdefault((sender, receiver, link), deque()).append(message)

    # --- what user code does ---

    def put(self, process: Process, refs: list[Ref]) -> None:
        ref = Ref(self.new_id(), "")
        ref.ready = True
        ref.nested = [process.hold(each) for each in refs]
        process.known[ref.id] = ref
        process.hands.append(process.hold(ref))

    def call(self, caller: Process, executor: Process, refs: list[Ref]) -> None:
        result = caller.known[object_id] = Ref(object_id := self.new_id(), "")
        caller.hands.append(caller.hold(result))
        call = Call(caller, executor, [caller.hold(ref) for ref in refs], caller.hold(result))
        self.calls.append(call)
        self.send(caller.name, executor.name, "calls", ("push", call))
        if not executor.alive and executor.name not in caller.unheard:
            self.fail(call)

    def keep(self, process: Process, ref: Ref) -> None:
        process.hands.append(process.hold(ref))

    def drop(self, process: Process, place: int) -> None:
        process.release(process.hands.pop(place))

    def get(self, process: Process, ref: Ref) -> None:
        if ref.loan is not None and not (ref.ready or ref.lost or ref.wanted):
            ref.wanted = True
            self.send(process.name, ref.owner, "peer", ("want", ref.id))

    def finish(self, call: Call, refs: list[Ref]) -> None:
        """The function returns; nothing that is younger than the result, as values refer to no values to come."""
        process = call.executor
        call.returns = [process.hold(ref) for ref in refs if ref.id < call.result.id]
        call.requests, call.infos = process.pass_on(call.returns, call.caller.name)
        call.state = "packing"

    def advance(self, call: Call) -> bool:
        """The executor goes on with its reply, if nothing holds that up."""
        process = call.executor
        if any(process.machine.is_open(request) for request in call.requests):
            return False
        if call.state == "packing":
            met = call.args
            for ref in [*call.returns, *call.args]:
                process.release(ref)
            kept = list(dict.fromkeys(ref for ref in met if ref.holds))
            call.listed, call.requests = process.machine.keep(
                [ref.loan for ref in kept if ref.loan is not None], call.caller.name
            )
            call.state = "keeping"
            return True
        process.running.remove(call)
        call.state = "replied"
        self.send(process.name, call.caller.name, "calls", ("done", call))
        return True

    # --- the network ---

    def flush(self, process: Process) -> bool:
        process.take_ended()
        outbox = process.machine.take_outbox()
        for receiver, messages in outbox.items():
            for message in messages:
                self.send(process.name, receiver, "peer", message)
        return bool(outbox)

    def send_answer(self, process: Process, answer: Answer) -> bool:
        if any(process.machine.is_open(request) for request in answer.requests):
            return False
        process.answers.remove(answer)
        self.send(process.name, answer.asker, "peer", ("ready", answer.ref.id, answer.infos))
        process.release(answer.ref)
        return True

    def deliver(self, key: tuple[str, str, str]) -> None:
        message = self.links[key].popleft()
        if not self.links[key]:
            del self.links[key]
        sender, receiver, _ = key
        process = self.processes[receiver]
        match message:
            case ("push", call):
                call.state = "running"
                call.args = [process.adopt(ref.id, ref.owner or sender) for ref in call.refs]
                process.running.append(call)
            case ("done", call):
                self._done(call)
            case ("want", object_id):
                ref = process.known.get(object_id)
                if ref is None or ref.owner:
                    self.send(receiver, sender, "peer", ("ready", object_id, None))
                elif ref.ready:
                    self._answer(process, ref, sender)
                else:
                    process.waiting.append((process.hold(ref), sender))
            case ("ready", object_id, infos):
                self._ready(process, object_id, infos)
            case _:
                self.delivered.setdefault((sender, receiver), []).append(message)
                self._handle(process, sender, message)

    def repeat(self, sender: str, receiver: str, place: int) -> None:
        """A message of the protocol comes once more, late."""
        messages = self.delivered.get((sender, receiver))
        if messages and self.processes[receiver].alive:
            self._handle(self.processes[receiver], sender, messages[place % len(messages)])

    def _handle(self, process: Process, sender: str, message) -> None:
        process.take_ended()
        process.hold_lent(process.machine.handle(sender, message))

    def _done(self, call: Call) -> None:
        caller = call.caller
        if call.state != "replied":
            return
        call.state = "over"
        caller.machine.lend(call.listed, call.executor.name)
        caller.hold_lent(call.listed)
        call.result.nested = [caller.adopt(*info) for info in call.infos]
        self._settle(call)

    def fail(self, call: Call) -> None:
        call.state = "over"
        self._settle(call)

    def _settle(self, call: Call) -> None:
        caller = call.caller
        self.calls.remove(call)
        call.result.ready = True
        for ref, asker in [each for each in caller.waiting if each[0] is call.result]:
            caller.waiting.remove((ref, asker))
            self._answer(caller, ref, asker)
            caller.release(ref)
        for ref in [*call.refs, call.result]:
            caller.release(ref)

    def _answer(self, process: Process, ref: Ref, asker: str) -> None:
        requests, infos = process.pass_on(ref.nested, asker)
        process.answers.append(Answer(process.hold(ref), asker, requests, infos))

    def _ready(self, process: Process, object_id: bytes, infos) -> None:
        ref = process.known.get(object_id)
        came = [process.adopt(*info) for info in infos or ()]
        if ref is None or ref.ready or ref.lost:
            for each in came:
                process.release(each)
        elif infos is None:
            ref.lost = Fate.DELETED
        else:
            ref.ready, ref.nested = True, came

    # --- death ---

    def kill(self, process: Process, arrive: int) -> None:
        """A process is gone, with what it holds; of each of its links so many messages arrive yet."""
        process.alive = False
        for key in list(self.links):
            if key[1] == process.name:
                del self.links[key]
            elif key[0] == process.name:
                self.links[key] = deque(list(self.links[key])[:arrive])
                if not self.links[key]:
                    del self.links[key]
        for call in self.calls:
            if call.caller is process:
                self.uncovered.update(ref.id for ref in call.refs if ref.owner)
        self.calls = [call for call in self.calls if call.caller is not process]
        for other in self.living():
            other.unheard.append(process.name)

    def hear_of_death(self, process: Process, dead: str) -> None:
        for key in [key for key in self.links if key[:2] == (dead, process.name)]:
            while key in self.links:
                self.deliver(key)
        process.unheard.remove(dead)
        process.take_ended()
        process.hold_lent(process.machine.process_gone(dead))
        for ref in list(process.known.values()):
            if ref.owner == dead and not ref.ready and ref.lost is None:
                ref.lost = Fate.OWNER_DIED
        for call in [call for call in self.calls if call.caller is process and call.executor.name == dead]:
            self.fail(call)
        for waiting in [waiting for waiting in process.waiting if waiting[1] == dead]:
            process.waiting.remove(waiting)
            process.release(waiting[0])

    # --- the truth ---

    def check(self) -> None:
        for process in self.living():
            process.machine.check_invariants()
            for ref in process.known.values():
                assert ref.holds > 0
                assert ref.lost is not Fate.DELETED or ref.id in self.uncovered, "deleted while it was referenced"
                if ref.owner and ref.lost is None and not ref.ready:
                    self._check_there(ref.id, ref.owner)
            for object_id in process.lent:
                assert object_id in process.known
        for (_, receiver, _), messages in self.links.items():
            for message in messages:
                infos = ()
                if message[0] == "done" if isinstance(message, tuple) else False:
                    infos = message[1].infos
                elif isinstance(message, tuple) and message[0] == "ready":
                    infos = message[2] or ()
                for object_id, owner, _ in infos:
                    if not self.processes[receiver].machine.is_gone(owner):
                        self._check_there(object_id, owner)

    def _check_there(self, object_id: bytes, owner: str) -> None:
        process = self.processes[owner]
        if process.alive and object_id not in self.uncovered:
            assert object_id in process.known, "freed although it is referenced"

    # --- rest ---

    def settle(self) -> None:
        """Everybody hears of every death, every message arrives, every call ends; in bounded steps."""
        for _ in range(10_000):
            moved = False
            for process in self.living():
                for dead in list(process.unheard):
                    self.hear_of_death(process, dead)
                    moved = True
                for call in list(process.running):
                    if call.state == "running":
                        self.finish(call, [])
                    moved |= self.advance(call)
                for answer in list(process.answers):
                    moved |= self.send_answer(process, answer)
                moved |= self.flush(process)
            for key in list(self.links):
                moved = True
                if key in self.links:
                    self.deliver(key)
            if not moved:
                return
        raise AssertionError("the network does not come to rest")

    def check_at_rest(self) -> None:
        """Owner deaths have reached everybody."""
        for process in self.living():
            for ref in process.known.values():
                if ref.owner and not self.processes[ref.owner].alive:
                    assert ref.ready or ref.lost is Fate.OWNER_DIED, "the death of an owner was not heard of"

    def check_empty(self) -> None:
        """Nobody refers to anything any more: nothing may be left."""
        for process in self.living():
            machine = process.machine
            assert not process.known, "an object is kept that nobody refers to"
            assert machine.book.is_empty, "a loan is kept that nobody has"
            assert not process.lent
            assert not machine._requests
            assert not machine._vouched
            assert not machine._asked
