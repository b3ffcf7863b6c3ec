"""A supervisor in a Trio loop: it carries out what ``core.supervision`` decides.

    serve
    `- nursery
       `- _live          one a start of a child, from the start to the end

Each child that runs is a task of this nursery; a supervisor that is a child runs in its parent's. Not here: the block
around the root, requests from elsewhere (``supervisor``), the kinds of children (``supervised_*``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trayray.core.supervised_children import Child, Exit, ExitKind
from trayray.core.supervision import Supervision
from trayray.core.supervision_messages import (
    Command,
    End,
    Ending,
    Event,
    Exited,
    Forget,
    Outcome,
    Reply,
    ShutDown,
    Start,
    Started,
    StartFailed,
    Stop,
)
from trayray.exceptions import SupervisionError, SupervisorGaveUpError, SupervisorStartError
from trayray.model.supervision import SupervisorPolicy
from trayray.native.supervision.actors import SupervisedActor
from trayray.native.supervision.calls import SupervisedCall, SupervisedTask, raised
from trayray.native.supervision.child_runs import STOPPED, ChildRun, Supervised, described
from trayray.native.supervision.child_spec import Spec, SupervisorSpec, seconds_to_stop
from trayray.native.supervision.events import EventKind, Events, SupervisorEvent, logger

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

#: What is killed because its supervisor has failed is gone after so long (seconds), or something is broken.
_KILLED_AFTER: Final = 10.0


@attrs.frozen
class Tree:
    """What all supervisors of one tree share."""

    core: CoreWorker
    events: Events
    #: Called when what the tree looks like has changed.
    changed: Callable[[], None]
    #: Called to end it all.
    shut_down: Callable[[], None]
    #: Called when a child of this loop was interrupted (Ctrl-C), to end it all and raise that afterwards.
    interrupted: Callable[[KeyboardInterrupt], None]


class SupervisionService:
    """One supervisor over all its starts; a `Supervised` itself. Everything in its own loop's thread."""

    def __init__(self, tree: Tree, spec: SupervisorSpec, path: str = "") -> None:
        self._tree = tree
        self.spec = spec
        #: Where it is in its tree; empty for the root.
        self.path = path
        #: What is in the specification is kept over its own restarts, so that handles stay valid.
        self._kept: dict[str, Supervised] = {}
        self._specs: dict[str, Spec] = {}
        self._children: dict[str, Supervised] = {}
        self._runs: dict[str, ChildRun] = {}
        self._requests: dict[int, _Question] = {}
        self._numbers = itertools.count(1)
        #: Children that are forgotten and not gone for good.
        self._closing: dict[str, trio.Event] = {}
        self._in_a_hurry = False
        self._over = trio.Event()
        self._started: Callable[[], None] = lambda: None
        self._nursery: trio.Nursery
        self.machine = self._new_machine()

    @property
    def handle(self) -> SupervisionService:
        """Itself: ``supervisor`` wraps it."""
        return self

    def _new_machine(self) -> Supervision:
        return Supervision(self.spec.supervisor_policy, [child.policy for child in self.spec.children])

    # --- its life ---

    async def serve(self, started: Callable[[], None]) -> Outcome:
        """Start the children, supervise them, and stop them; ``started`` is called when all have started.

        Until `shut_down` or an end that the children bring about. It must not be cancelled: it would leave children.
        """
        self.machine = self._new_machine()
        self._over = trio.Event()
        self._in_a_hurry = False
        self._started = started
        simple = self.machine.template is not None
        self._specs = {} if simple else {child.id: child for child in self.spec.children}
        try:
            async with trio.open_nursery() as self._nursery:
                self._carry_out(self.machine.start(trio.current_time()))
                await self._over.wait()
        except BaseException:
            # It cannot stop its children in order any more; none may outlive it, even so. Killing takes no longer.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _KILLED_AFTER):
                await self.close()
            raise
        outcome = self.machine.outcome
        assert outcome is not None, "it has ended"
        return outcome

    def shut_down(self) -> None:
        """Stop the children in order and end."""
        self.tell(ShutDown())

    def hurry(self) -> None:
        """There is no time for children to clean up any more."""
        for run in self._runs.values():
            if run.stopping.is_set():
                run.kill()
        self._in_a_hurry = True

    def tell(self, event: Event) -> None:
        """Something has happened."""
        if not self.machine.ended:
            self._note(event)
        self._carry_out(self.machine.handle(event, trio.current_time()))

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start(child, run, reason, again):
                    self._start(child, run, reason, again=again)
                case Stop(child, _, shutdown, reason):
                    self._runs[child].stop("brutal_kill" if self._in_a_hurry else shutdown, reason)
                case Forget(child):
                    self._forget(child)
                case Reply(request):
                    question = self._requests.pop(request)
                    question.reply = command
                    question.answered.set()
                case End(outcome):
                    self._end(outcome)
        if self.machine.is_up and self.machine.outcome is None:
            started, self._started = self._started, lambda: None
            started()
        self._tree.changed()

    def _end(self, outcome: Outcome) -> None:
        gave_up = outcome.ending is Ending.INTENSITY
        self._emit("gave_up" if gave_up else "ended", "", _story(outcome, self.machine.policy))
        for child in [child for child in self._children if child not in self._kept]:
            self._nursery.start_soon(self._children.pop(child).close)
        self._over.set()

    # --- children ---

    def _start(self, child_id: str, number: int, reason: str, *, again: bool) -> None:
        child = self.machine.children[child_id]
        if again:
            self._emit("restarting", child_id, reason, child)
        if child_id not in self._children:
            spec = self._specs.get(child_id)
            if spec is None:
                spec = self._requests[child.request].spec
                assert spec is not None, "the request that has added it says what it is"
                self._specs[child_id] = spec
            self._children[child_id] = self._kept.get(child_id) or self._make(spec, child_id)
            if not child.request:
                self._kept[child_id] = self._children[child_id]
        run = ChildRun(lambda: self.tell(Started(child_id, number)))
        self._runs[child_id] = run
        self._nursery.start_soon(self._live, self._children[child_id], run, child_id, number)

    def _make(self, spec: Spec, child_id: str) -> Supervised:
        if isinstance(spec, SupervisorSpec):
            return SupervisionService(self._tree, spec, self.path_of(child_id))
        match spec.kind:
            case "actor":
                return SupervisedActor(self._tree.core, spec)
            case "task":
                return SupervisedCall(spec)
            case _:
                return SupervisedTask(spec)

    async def _live(self, child: Supervised, run: ChildRun, child_id: str, number: int) -> None:
        try:
            how = await child.live(run)
        except Exception as error:  # noqa: BLE001 -- it could not be started: that is its end, which has consequences
            how = Exit(ExitKind.ABNORMAL, described(error), error)
        except KeyboardInterrupt as interrupt:  # the program's: it goes on when the children are gone
            how = raised(interrupt)
            self._tree.interrupted(interrupt)
        core = self._tree.core
        if core.finishing or core.closed is not None:  # the cluster is left, or gone: nothing can be started again
            self._tree.shut_down()
        if run.has_started or run.stopping.is_set():
            self.tell(Exited(child_id, number, how))
        else:
            self.tell(StartFailed(child_id, number, how))

    def _forget(self, child_id: str) -> None:
        self._specs.pop(child_id, None)
        self._kept.pop(child_id, None)
        self._runs.pop(child_id, None)
        child = self._children.pop(child_id, None)
        if child is not None:
            self._closing[child_id] = trio.Event()
            self._nursery.start_soon(self._close, child_id, child)
        self._emit("deleted", child_id)

    async def _close(self, child_id: str, child: Supervised) -> None:
        closed = self._closing[child_id]
        await child.close()
        closed.set()
        if self._closing.get(child_id) is closed:  # else another of this name has been forgotten since
            del self._closing[child_id]

    # --- requests ---

    async def ask(self, make: Callable[[int], Event], spec: Spec | None = None) -> Reply:
        """Make a request and wait for its answer. ``spec``: of a child that is to be added."""
        request = next(self._numbers)
        question = self._requests[request] = _Question(spec)
        self.tell(make(request))
        await question.answered.wait()
        reply = question.reply
        assert reply is not None, "it is answered"
        if reply.child in self._closing:  # it has been forgotten with this: nobody reaches it afterwards
            await self._closing[reply.child].wait()
        return reply

    # --- as a child of another supervisor ---

    async def live(self, run: ChildRun) -> Exit:
        if run.stopping.is_set():
            return STOPPED
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, run)
            outcome = await self.serve(run.started)
            nursery.cancel_scope.cancel()
        error = self.error_of(outcome)
        if error is not None:
            return Exit(ExitKind.ABNORMAL, str(error), error)
        return STOPPED if run.stopping.is_set() else Exit(ExitKind.SHUTDOWN, _story(outcome, self.machine.policy))

    async def _obey(self, run: ChildRun) -> None:
        await run.stopping.wait()
        if run.killed.is_set():
            self.hurry()
        self.shut_down()
        with trio.move_on_after(run.seconds):
            await run.killed.wait()
        self.hurry()

    async def close(self) -> None:
        async with trio.open_nursery() as nursery:
            for child in {**self._kept, **self._children}.values():
                nursery.start_soon(child.close)
        self._kept.clear()

    def seconds_to_stop(self) -> float:
        """How long stopping may take now (seconds); infinite when a child is waited for without a limit."""
        seconds = [
            child.seconds_to_stop() if isinstance(child, SupervisionService) else seconds_to_stop(self._specs[child_id])
            for child_id, child in self._children.items()
        ]
        all_of_them = max(seconds, default=0.0) if self.machine.template is not None else sum(seconds)
        limit = self.spec.shutdown
        return all_of_them if isinstance(limit, str) or not self.path else min(all_of_them, limit)

    def error_of(self, outcome: Outcome) -> SupervisionError | None:
        """What an end that nobody has wished for raises."""
        name = self.path or self.spec.id
        story = _story(outcome, self.machine.policy)
        causes = [how.error for _, how in outcome.exits if how.error is not None]
        match outcome.ending:
            case Ending.INTENSITY:
                error: SupervisionError = SupervisorGaveUpError(
                    f"The supervisor {name!r} has given up: {story}.",
                    name,
                    outcome.child,
                    causes=tuple(causes),
                )
            case Ending.START_FAILED:
                error = SupervisorStartError(
                    f"The supervisor {name!r} has not started: {story}.",
                    name,
                    outcome.child,
                    causes=tuple(causes),
                )
            case Ending.SHUT_DOWN | Ending.AUTO_SHUTDOWN:
                return None
        plain = [cause for cause in causes if isinstance(cause, Exception)]
        if len(plain) > 1:
            error.__cause__ = ExceptionGroup(f"what ended the children of {name!r}, the oldest first", plain)
        elif plain:
            error.__cause__ = plain[0]
        return error

    # --- what it looks like ---

    def path_of(self, child_id: str) -> str:
        return f"{self.path}/{child_id}" if self.path else child_id

    def child(self, child_id: str) -> Supervised | None:
        """A child that has been started at least once."""
        return self._children.get(child_id)

    def spec_of(self, child_id: str) -> Spec | None:
        return self._specs.get(child_id)

    # --- events ---

    def _note(self, event: Event) -> None:
        """Tell what has happened to a child."""
        match event:
            case Started(child_id, number):
                kind: EventKind = "started"
                reason = ""
            case StartFailed(child_id, number, how):
                kind, reason = "start_failed", how.reason
            case Exited(child_id, number, how):
                stopped = child_id in self._runs and self._runs[child_id].stopping.is_set()
                kind, reason = ("stopped", self._runs[child_id].reason) if stopped else ("exited", how.reason)
                if stopped and how.error is not None:  # what went wrong then is nobody's reason to do anything
                    reason = f"{reason}; {how.reason}"
                    logger.warning("%s: %s", self.path_of(child_id), how.reason)
            case _:
                return
        child = self.machine.children.get(child_id)
        if child is not None and child.run == number:
            self._emit(kind, child_id, reason, child)

    def _emit(self, kind: EventKind, child_id: str, reason: str = "", child: Child | None = None) -> None:
        path = self.path_of(child_id) if child_id else self.path
        count = 0 if child is None else child.restarts
        self._tree.events.emit(SupervisorEvent(kind, path, reason, count=count))


@attrs.define
class _Question:
    """A request that has not been answered."""

    #: What is to be added, if that is the question.
    spec: Spec | None
    answered: trio.Event = attrs.field(factory=trio.Event)
    reply: Reply | None = None


def _story(outcome: Outcome, policy: SupervisorPolicy) -> str:
    """How a supervisor has ended: a sentence without a stop."""
    match outcome.ending:
        case Ending.SHUT_DOWN:
            return "it was shut down"
        case Ending.AUTO_SHUTDOWN:
            return f"its significant child {outcome.child!r} has ended: {outcome.exits[-1][1].reason}"
        case Ending.START_FAILED:
            return f"its child {outcome.child!r} could not be started: {outcome.exits[-1][1].reason}"
        case Ending.INTENSITY:
            ends = "; ".join(f"{child!r}: {how.reason.partition(chr(10))[0]}" for child, how in outcome.exits)
            times = "one restart" if policy.intensity == 1 else f"{policy.intensity} restarts"
            return f"more than {times} in {policy.period:g} s would have been due, because children ended: {ends}"
