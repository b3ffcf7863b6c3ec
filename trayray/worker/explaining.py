"""What this process knows of waits, told to whoever asks; and finding out what something waits for, by asking others.

Runs in the loop's thread. One mechanism serves two ends: a call that has waited for a while finds out whether it waits
for itself (`inquire`), and a person is told what a reference waits for (`explain`).
Not here: what follows from the facts (``core.waiting``), the words (``core.wait_story``), who waits (``waits``).
"""

from __future__ import annotations

import gc
import itertools
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from trayray.core.call_ledger import Life
from trayray.core.wait_story import deadlock_text, story
from trayray.core.waiting import Deadlock, Fact, Kind, State, Subject, chain, confirmed, find_deadlock
from trayray.exceptions import DeadlockError, RayTaskError
from trayray.model.ids import ACTOR_ID_SIZE, creation_task_id
from trayray.wire.peer_messages import Explain, Explained, Recheck
from trayray.wire.report_messages import AskNode, NodeTold
from trayray.wire.task_messages import METHOD
from trayray.wire.values import ERROR
from trayray.worker.actor_calls import ActorCall
from trayray.worker.current import actor_self
from trayray.worker.pending_task import PendingTask
from trayray.worker.references import ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.execution import Executor
    from trayray.worker.waits import BlockedWait

#: A process that does not answer for so long is left out (seconds).
_ANSWER_SECONDS: Final = 1.0
#: Between the two times that a deadlock must be seen (seconds).
_CONFIRM_SECONDS: Final = 0.05
#: So many objects are told of one wait or task, and so many facts gathered for one question. What is left out counts
#: as something that may end.
_MOST_OBJECTS, _MOST_FACTS = 1000, 5000


class Explaining:
    """The facts of one core worker, and its questions to others."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._requests = itertools.count(1)
        self._answers: dict[int, tuple[trio.Event, list[Any]]] = {}
        self._known: dict[Kind, Callable[[Subject, bool], Fact]] = {
            Kind.OBJECT: self._object,
            Kind.TASK: self._task,
            Kind.CALL: self._call,
            Kind.WAIT: self._wait,
        }

    # --- questions of others ---

    def handle(self, address: str, message: Explain | Explained | Recheck) -> None:
        """The process at ``address`` asks or answers."""
        match message:
            case Explain(request, subjects, thorough):
                self._core.peers.send(address, [Explained(request, self.facts(subjects, thorough=thorough))])
            case Explained():
                self.answered(message)
            case Recheck(wait):
                self._core.waits.look_at(wait)

    def answered(self, message: Explained | NodeTold) -> None:
        """A process, or the node, has answered a question of this one."""
        waiting = self._answers.pop(message.request, None)
        if waiting is not None:
            waiting[1].append(message)
            waiting[0].set()

    def facts(self, subjects: Iterable[Subject], *, thorough: bool) -> list[Fact]:
        """What this process knows of these; ``thorough``: for a reader, who may wait longer."""
        with self._core.state_lock:
            return [self._known[subject.kind](subject, thorough) for subject in subjects if subject.kind in self._known]

    # --- a wait of this process ---

    async def inquire(self, wait: BlockedWait) -> None:
        """Find out whether ``wait`` can ever end; if it is the one to give up, it does."""
        try:
            subject = self.subject_of(wait)
            first, _ = await self._deadlock_of(subject)
            if first is None:
                return
            await trio.sleep(_CONFIRM_SECONDS)
            second, facts = await self._deadlock_of(subject)
            if second is None or not confirmed(first, second):
                return
            if second.victim != subject:
                self._core.peers.send(second.victim.at, [Recheck(int.from_bytes(second.victim.id, "little"))])
                return
            names = tuple(
                dict.fromkeys(fact.name for fact in second.cycle if fact.subject.kind in (Kind.WAIT, Kind.CALL))
            )
            self._core.waits.give_up(wait, DeadlockError(deadlock_text(second, facts), names))
        finally:
            wait.asking = False

    async def _deadlock_of(self, subject: Subject) -> tuple[Deadlock | None, dict[Subject, Fact]]:
        facts = await self.gather([subject])
        return find_deadlock(subject, facts), facts

    def subject_of(self, wait: BlockedWait) -> Subject:
        return Subject(Kind.WAIT, wait.number.to_bytes(8, "little"), self._core.address)

    # --- asking ---

    async def gather(self, starts: Iterable[Subject], *, thorough: bool = False) -> dict[Subject, Fact]:
        """All that can be learnt of ``starts`` and of what they wait for, however indirectly."""
        facts: dict[Subject, Fact] = {}
        ask = list(dict.fromkeys(starts))
        while ask:
            places: dict[str, list[Subject]] = {}
            for subject in ask:
                places.setdefault(subject.at, []).append(subject)
            async with trio.open_nursery() as nursery:
                for at, subjects in places.items():
                    nursery.start_soon(self._learn, at, subjects, facts, thorough)
            more = (other for subject in ask if subject in facts for other in facts[subject].on if other not in facts)
            ask = list(dict.fromkeys(more))[: max(0, _MOST_FACTS - len(facts))]
        return facts

    async def _learn(self, at: str, subjects: list[Subject], facts: dict[Subject, Fact], thorough: bool) -> None:
        if at == self._core.address:
            learnt = self.facts(subjects, thorough=thorough)
        elif not at:
            learnt = (await self.ask_node(AskNode(actors=[subject.id for subject in subjects]))).actors
        elif self._core.references.is_gone(at):
            learnt = [Fact(s, State.LOST if s.kind is Kind.OBJECT else State.ENDED) for s in subjects]
        else:
            request = next(self._requests)
            self._core.peers.send(at, [Explain(request, subjects, thorough)])
            answer: Explained | None = await self._reply(request)
            learnt = [] if answer is None else answer.facts
        facts.update((fact.subject, fact) for fact in learnt)

    async def ask_node(self, question: AskNode) -> NodeTold:
        """The node's answer; an empty one when it does not answer in time."""
        question.request = next(self._requests)
        self._core.to_node_if_there([question])
        return await self._reply(question.request) or NodeTold(question.request)

    async def _reply(self, request: int) -> Any:
        event, box = self._answers[request] = trio.Event(), list[Any]()
        with trio.move_on_after(_ANSWER_SECONDS):
            await event.wait()
        self._answers.pop(request, None)
        return box[0] if box else None

    # --- for a reader ---

    async def explain(self, subject: Subject) -> tuple[list[str], list[Fact]]:
        """What ``subject`` waits for: sentences, and the facts that they tell."""
        facts = await self.gather([subject], thorough=True)
        links = chain(subject, facts)
        queued = [fact for fact in links if fact.state is State.QUEUED and fact.subject.kind is Kind.TASK]
        if queued:
            told = await self.ask_node(AskNode(needs=[(dict(fact.resources), fact.where) for fact in queued]))
            for fact, detail in zip(queued, told.needs, strict=False):
                facts[fact.subject] = fact._replace(detail=detail)
        return story(subject, facts), chain(subject, facts)

    async def find(self, kind: Kind, subject_id: bytes) -> Subject | None:
        """Where an object or task is known: at its owner, if that lives."""
        told = await self.ask_node(AskNode(processes=True))
        subjects = [Subject(kind, subject_id, at) for at in (*told.processes, self._core.address)]
        facts: dict[Subject, Fact] = {}
        async with trio.open_nursery() as nursery:
            for subject in subjects:
                nursery.start_soon(self._learn, subject.at, [subject], facts, True)
        found = [fact for fact in facts.values() if fact.state not in (State.UNKNOWN, State.ENDED)]
        found.sort(key=lambda fact: fact.state is State.BORROWED)
        return found[0].subject if found else None

    async def find_actor(self, name: str) -> Subject | None:
        """The living actor of that name, in whatever namespace."""
        told = await self.ask_node(AskNode(name=name))
        return told.actors[0].subject if told.actors else None

    # --- facts: objects and tasks that this process owns ---

    def _object(self, subject: Subject, thorough: bool) -> Fact:
        object_id = subject.id
        ref = self._core.references.known.get(object_id)
        if ref is None and thorough:
            ref = _anywhere(object_id)
        task = self._pending(object_id[:24])
        if ref is not None and ref._value is not None:
            if ref._value.kind != ERROR:
                return Fact(subject, State.READY)
            return Fact(subject, State.FAILED, detail=self._error(ref) if thorough else "")
        if ref is not None and ref._owner:
            return Fact(subject, State.BORROWED, on=(Subject(Kind.OBJECT, object_id, ref._owner),), needs=1)
        if task is None:
            return Fact(subject, State.UNKNOWN)
        made_by = Subject(Kind.TASK, task.task_id, self._core.address)
        return Fact(subject, State.MADE, task.template.define.name, (made_by,), 1)

    def _error(self, ref: ObjectRef[Any]) -> str:
        value = ref._value
        assert value is not None
        try:
            error = self._core.objects.error_of(value)
        except Exception as why:  # noqa: BLE001 -- classes of the user's are loaded; what that raises is told
            return f"its error cannot be read in this process: {type(why).__name__}: {why}"
        if isinstance(error, RayTaskError) and error.cause is not None:
            error = error.cause
        first, *_ = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {first}" if first else f"{type(error).__name__}."

    def _pending(self, task_id: bytes) -> PendingTask | None:
        return self._core.actors.pending.get(task_id) or self._core.tasks.pending.get(task_id)

    def _task(self, subject: Subject, thorough: bool) -> Fact:
        task = self._pending(subject.id)
        if isinstance(task, ActorCall):
            return self._of_actor_call(subject, task)
        if task is not None:
            return self._of_task(subject, task)
        creation = self._core.creations._creating.get(subject.id[-ACTOR_ID_SIZE:])
        if creation is not None and creation.spec.task == subject.id:
            missing = self._missing(creation.args)
            return Fact(subject, State.ARGUMENTS, f"{creation.spec.class_name}.__init__", missing, len(missing))
        return Fact(subject, State.UNKNOWN)

    def _of_task(self, subject: Subject, task: PendingTask) -> Fact:
        tasks, define = self._core.tasks, task.template.define
        missing = self._missing(task.args)
        if missing:
            return Fact(subject, State.ARGUMENTS, define.name, missing, 0 if task.cancelled else len(missing))
        link = tasks.executor_of(task)
        if link is not None:
            call = Subject(Kind.CALL, task.task_id, link)
            return Fact(subject, State.SENT, define.name, (call,), 0 if task.cancelled else 1)
        state = State.RETRYING if tasks.waits_for_retry(task) else State.QUEUED
        needs = tuple(sorted(task.template.resources.items()))
        return Fact(subject, state, define.name, resources=needs, where=task.template.scheduling)

    def _of_actor_call(self, subject: Subject, call: ActorCall) -> Fact:
        client, name = call.client, call.template.define.name
        actor_id, state = client._actor_id, client._state
        missing = self._missing(call.args)
        if state is None or client.calls.life is not Life.ALIVE:
            on = (Subject(Kind.ACTOR, actor_id, ""), *missing)
            return Fact(subject, State.ACTOR_ABSENT, name, on, 0 if call.cancelled else len(on), actor=actor_id)
        if call.task_id in client.calls.in_flight:
            on = (Subject(Kind.CALL, call.task_id, state.address),)
            return Fact(subject, State.SENT, name, on, 0 if call.cancelled else 1, actor=actor_id)
        if missing:
            return Fact(subject, State.ARGUMENTS, name, missing, 0 if call.cancelled else len(missing), actor=actor_id)
        first = next(client.calls.waiting(), None)
        before = () if first is None else self._missing(first.args)
        return Fact(subject, State.HELD_BACK, name, before, 0 if call.cancelled else len(before), actor=actor_id)

    def _missing(self, refs: Iterable[ObjectRef[Any]] | None) -> tuple[Subject, ...]:
        without = (ref for ref in refs or () if ref._value is None)
        return tuple(self._object_of(ref) for ref in itertools.islice(without, _MOST_OBJECTS))

    def _object_of(self, ref: ObjectRef[Any]) -> Subject:
        return Subject(Kind.OBJECT, ref._id, ref._owner or self._core.address)

    # --- facts: what this process executes, and its threads that wait ---

    def _wait(self, subject: Subject, thorough: bool) -> Fact:
        wait = self._core.waits.blocked.get(int.from_bytes(subject.id, "little"))
        if wait is None or wait.error is not None:
            return Fact(subject, State.ENDED)
        missing = wait.missing
        on = tuple(self._object_of(ref) for ref in missing[:_MOST_OBJECTS])
        # A get of several ends with the first error: any of them may end it. So may what is not told here.
        needs = 1 if wait.waiter.eager else wait.waiter.remaining
        return self._here(
            Fact(
                subject,
                State.BLOCKED,
                wait.name,
                on,
                0 if len(missing) > len(on) else needs,
                wait.timed,
                wait.since,
                time.monotonic() - wait.since,
                detail="get" if wait.waiter.eager else "wait",
            )
        )

    def _here(self, fact: Fact) -> Fact:
        actor = actor_self()
        fact = fact._replace(pid=os.getpid(), node=self._core.node_ip)
        return fact if actor is None else fact._replace(actor=actor.actor_id, actor_class=actor.class_name)

    def _call(self, subject: Subject, thorough: bool) -> Fact:
        executor = self._core.executor
        if executor is None:
            return Fact(subject, State.ENDED)
        return self._here(self._of_call(subject, executor))

    def _of_call(self, subject: Subject, executor: Executor) -> Fact:
        waits = list(self._core.waits.blocked.values())
        main = next((wait for wait in waits if wait.whole_process), None)
        if len(subject.id) == ACTOR_ID_SIZE:
            return self._of_actor(subject, executor, main)
        own = next((wait for wait in waits if wait.call == subject.id), None)
        if own is not None:
            return Fact(subject, State.BLOCKED, own.name, (self.subject_of(own),), 1)
        if executor.is_async:
            if main is not None:
                return self._behind(subject, "", (main,), "the loop of its actor cannot run it")
            return Fact(subject, State.RUNNING, detail="It may await something; what, only its own code knows.")
        if subject.id in executor.pooled:
            return self._of_pooled(subject, executor, waits)
        current = executor.current
        if current is not None and current.push.task == subject.id:
            return Fact(subject, State.RUNNING, current.running.name)
        return self._of_queued(subject, executor, main)

    def _of_queued(self, subject: Subject, executor: Executor, main: BlockedWait | None) -> Fact:
        queued = executor.find_queued(subject.id)
        if queued is None:
            actor = actor_self()
            if actor is not None and subject.id == creation_task_id(actor.actor_id):
                return Fact(subject, State.RUNNING, f"{actor.class_name}.__init__")
            return Fact(subject, State.ENDED)
        define, name = queued
        if define.kind != METHOD:  # its owner takes it back
            return Fact(subject, State.STARTING, name)
        only = "its actor runs one call at a time"
        if main is not None:
            return self._behind(subject, name, (main,), only)
        current = executor.current
        if current is None:
            return Fact(subject, State.STARTING, name)
        before = Subject(Kind.CALL, current.push.task, self._core.address)
        return Fact(subject, State.BEHIND, name, (before,), 1, detail=f"{only}, now {current.running.name}().")

    def _behind(self, subject: Subject, name: str, waits: tuple[BlockedWait, ...], why: str) -> Fact:
        names = ", ".join(f"{wait.name}()" for wait in waits)
        detail = f"{why} while {names} waits." if len(waits) == 1 else f"{why} while {names} wait."
        return Fact(subject, State.BEHIND, name, tuple(map(self.subject_of, waits)), 1, detail=detail)

    def _of_pooled(self, subject: Subject, executor: Executor, waits: list[BlockedWait]) -> Fact:
        call = executor.pooled[subject.id]
        if call.thread:
            return Fact(subject, State.RUNNING, call.name)
        running = {task: c for task, c in list(executor.pooled.items()) if c.group == call.group and c.thread}
        blocked = [wait for wait in waits if wait.call in running]
        if len(running) < executor.pool_size(call.group):
            return Fact(subject, State.STARTING, call.name)
        limit = f"its actor runs at most {len(running)} calls of its group at a time"
        if len(blocked) == len(running):
            return self._behind(subject, call.name, tuple(blocked), limit)
        before = tuple(Subject(Kind.CALL, task, self._core.address) for task in running)
        return Fact(subject, State.BEHIND, call.name, before, 1, detail=f"{limit}, and these run.")

    def _of_actor(self, subject: Subject, executor: Executor, main: BlockedWait | None) -> Fact:
        """What an actor does, whichever call it is."""
        if main is not None:
            return Fact(subject, State.BLOCKED, main.name, (self.subject_of(main),), 1)
        current = executor.current
        if current is not None:
            return Fact(subject, State.RUNNING, current.running.name)
        running = [call.name for call in list(executor.pooled.values()) if call.thread]
        if running:
            return Fact(subject, State.RUNNING, running[0], detail=f"So do {len(running) - 1} more calls of its.")
        return Fact(subject, State.IDLE)


def _anywhere(object_id: bytes) -> ObjectRef[Any] | None:
    """The reference to an object of which nobody else has heard: only the program's own variables hold it."""
    for found in gc.get_objects():
        if type(found) is ObjectRef:
            ref = cast("ObjectRef[Any]", found)
            if ref._id == object_id:
                return ref
    return None
