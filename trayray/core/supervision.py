"""What a supervisor decides: which children are started and stopped, in which order, and when it gives up. As in OTP.

A supervisor does one thing after the other. What it is doing is its plan: children to stop, then children to start.
What happens meanwhile waits in its inbox, in order, as in a process's mailbox; only the order to shut down does not
wait. A child that the plan stops, and that has ended by itself just before, is simply stopped.

Events in, commands out; no I/O, and ``now`` is an argument. Not here: the words (``model.supervision``), events and
commands (``supervision_messages``), states (``supervised_children``), carrying it out (``native.supervisor``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import attrs

from trayray.core.restart_intensity import RestartIntensity
from trayray.core.supervised_children import Child, Children, ChildState, Exit, ExitKind
from trayray.core.supervision_messages import (
    Command,
    DeleteChild,
    End,
    Ending,
    Event,
    Exited,
    Forget,
    Outcome,
    Refusal,
    Reply,
    Request,
    RestartChild,
    ShutDown,
    Start,
    StartChild,
    StartDynamic,
    Started,
    StartFailed,
    Stop,
    TerminateChild,
)
from trayray.model.supervision import ChildPolicy, SupervisorPolicy


@attrs.frozen
class _TryAgain:
    """A restart has failed: the next attempt, behind whatever has come in meanwhile."""

    child: str
    run: int
    exit: Exit


@attrs.define
class _Plan:
    """What a supervisor is doing: groups of children to stop, one group after the other; then children to start."""

    stops: deque[list[Child]] = attrs.field(factory=deque[list[Child]])
    starts: deque[Child] = attrs.field(factory=deque[Child])
    #: Children that it has told to stop, or the one that it is starting.
    waits_for: set[str] = attrs.field(factory=set[str])
    #: The group that is being stopped.
    stopping: list[Child] = attrs.field(factory=list[Child])
    #: Why children are started or stopped: a sentence for the user, without a stop.
    reason: str = ""
    #: It starts children again: the child whose end made it necessary; empty when it does something else.
    restarts: str = ""
    #: Somebody has asked for it, and about which child.
    request: Request | None = None
    child: str = ""
    #: The supervisor ends when this is done.
    outcome: Outcome | None = None
    #: The supervisor's own start.
    initial: bool = False


@attrs.frozen
class ChildCounts:
    """How many children a supervisor has."""

    specs: int
    active: int
    supervisors: int
    workers: int


class Supervision:
    """One supervisor. Create it, carry out what `start` says, then report what happens to `handle`."""

    def __init__(self, policy: SupervisorPolicy, children: Iterable[ChildPolicy]) -> None:
        """``children`` in the order of their start; for simple_one_for_one the one that all are made like.

        Raises:
            ValueError: two have the same id, or something does not go together.
        """
        self.policy = policy
        self.children = Children()
        #: What the children of a simple_one_for_one supervisor are made like; None for other strategies.
        self.template: ChildPolicy | None = None
        #: Set once it is ending.
        self.outcome: Outcome | None = None
        self.ended = False
        self._began = False
        #: All children that it began with have started.
        self.is_up = False
        self._intensity: RestartIntensity[tuple[str, Exit]] = RestartIntensity(policy.intensity, policy.period)
        self._inbox: deque[Event | _TryAgain] = deque()
        self._plan: _Plan | None = None
        self._runs = 0
        self._dynamic = 0
        self._commands: list[Command] = []
        self._add_all(list(children))

    def _add_all(self, children: list[ChildPolicy]) -> None:
        if self.policy.strategy == "simple_one_for_one":
            if len(children) != 1:
                raise ValueError(
                    f"a simple_one_for_one supervisor has one child specification, which all its children are made "
                    f"like, not {len(children)}"
                )
            self.policy.check(children[0])
            self.template = children[0]
            return
        for child in children:
            self.policy.check(child)
            if self.children.get(child.id) is not None:
                raise ValueError(f"two children have the id {child.id!r}")
            self.children.add(Child(child))

    # --- what happens ---

    def start(self, now: float) -> list[Command]:
        """Start the children in their order."""
        self._began = True
        self._plan = _Plan(starts=deque(self.children), reason="its supervisor starts", initial=True)
        return self._advance(now)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Something has happened, at ``now`` (seconds)."""
        match event:
            case ShutDown():
                if self.outcome is None:
                    self._begin_end(Outcome(Ending.SHUT_DOWN))
            case Started(child_id, run):
                child = self._awaited(child_id, run)
                if child is not None and child.state is ChildState.STARTING:
                    child.move(ChildState.RUNNING, now)
                    self._no_longer_awaited(child)
            case StartFailed(child_id, run, exit_) | Exited(child_id, run, exit_):
                self._gone(child_id, run, exit_, now)
            case _:
                if self.outcome is not None:
                    self._refuse(event)
                elif not self._began:
                    self._commands.append(Reply(event.request, _child_of(event), Refusal.NOT_STARTED))
                else:
                    self._inbox.append(event)
        return self._advance(now)

    def _gone(self, child_id: str, run: int, exit_: Exit, now: float) -> None:
        child = self.children.get(child_id)
        if child is None or child.run != run:
            return
        child.last_exit = exit_
        match child.state:
            case ChildState.STOPPING:
                child.move(ChildState.STOPPED, now)
                self._no_longer_awaited(child)
            case ChildState.STARTING:
                self._no_longer_awaited(child)
                if self.outcome is not None:  # it ends, and has not come to stopping this one
                    child.move(ChildState.STOPPED, now)
                else:
                    self._not_started(child, exit_, now)
            case ChildState.RUNNING:
                child.unseen = exit_
                self._inbox.append(Exited(child_id, run, exit_))
            case ChildState.STOPPED | ChildState.RESTARTING:
                pass  # said twice

    def _awaited(self, child_id: str, run: int) -> Child | None:
        child = self.children.get(child_id)
        return child if child is not None and child.run == run else None

    def _no_longer_awaited(self, child: Child) -> None:
        if self._plan is not None:
            self._plan.waits_for.discard(child.id)

    # --- doing what is planned ---

    def _advance(self, now: float) -> list[Command]:
        while not self.ended:
            plan = self._plan
            if plan is None:
                if not self._inbox:
                    break
                self._take(self._inbox.popleft(), now)
            elif plan.waits_for:
                break
            elif plan.stopping:
                self._stopped(plan)
            elif plan.stops:
                self._stop(plan, plan.stops.popleft(), now)
            elif plan.starts:
                self._start(plan, plan.starts.popleft(), now)
            else:
                self._plan = None
                self._done(plan)
        commands, self._commands = self._commands, []
        return commands

    def _stop(self, plan: _Plan, group: list[Child], now: float) -> None:
        for child in group:
            if child.unseen is not None or child.state is ChildState.RESTARTING:
                child.move(ChildState.STOPPED, now)
            elif child.state in (ChildState.RUNNING, ChildState.STARTING):
                child.move(ChildState.STOPPING, now)
                self._commands.append(Stop(child.id, child.run, child.policy.shutdown, plan.reason))
            if child.state is ChildState.STOPPING:
                plan.waits_for.add(child.id)
        plan.stopping = group

    def _stopped(self, plan: _Plan) -> None:
        if plan.restarts:
            for child in plan.stopping:
                if child.policy.restart == "temporary":
                    self._remove(child)
        plan.stopping = []

    def _start(self, plan: _Plan, child: Child, now: float) -> None:
        self._runs += 1
        child.run = self._runs
        if plan.restarts:
            child.restarts += 1
        child.move(ChildState.STARTING, now)
        plan.waits_for.add(child.id)
        reason = plan.reason
        if plan.restarts and plan.restarts != child.id:
            reason = f"it is started again with {plan.restarts!r} ({self.policy.strategy}): {reason}"
        self._commands.append(Start(child.id, child.run, reason, again=bool(plan.restarts)))

    def _not_started(self, child: Child, exit_: Exit, now: float) -> None:
        plan = self._plan
        assert plan is not None
        plan.starts.clear()
        if plan.restarts:
            child.move(ChildState.RESTARTING, now)
            self._inbox.append(_TryAgain(child.id, child.run, exit_))
            return
        child.move(ChildState.STOPPED, now)
        if plan.initial:
            self._begin_end(Outcome(Ending.START_FAILED, child.id, ((child.id, exit_),)))
            return
        request, plan.request = plan.request, None
        assert request is not None
        self._commands.append(Reply(request.request, child.id, Refusal.START_FAILED, exit_))
        if isinstance(request, StartChild | StartDynamic):
            self._remove(child)

    def _done(self, plan: _Plan) -> None:
        if plan.outcome is not None:
            self._end(plan.outcome)
        self.is_up |= plan.initial
        match plan.request:
            case None:
                pass
            case TerminateChild(request, child_id):
                child = self.children[child_id]
                if child.policy.restart == "temporary" or self.template is not None:
                    self._remove(child)
                self._commands.append(Reply(request, child_id))
            case request:
                self._commands.append(Reply(request.request, plan.child))

    def _remove(self, child: Child) -> None:
        self.children.remove(child)
        self._commands.append(Forget(child.id))

    # --- what comes next ---

    def _take(self, event: Event | _TryAgain, now: float) -> None:
        match event:
            case Exited(child_id, run, exit_):
                child = self._awaited(child_id, run)
                if child is not None and child.unseen is not None:
                    child.move(ChildState.STOPPED, now)
                    self._ended_by_itself(child, exit_, now)
            case _TryAgain(child_id, run, exit_):
                child = self._awaited(child_id, run)
                if child is not None and child.state is ChildState.RESTARTING:
                    self._restart(child, exit_, now)
            case StartChild() | StartDynamic() | TerminateChild() | RestartChild() | DeleteChild():
                refusal = self._grant(event)
                if refusal is not None:
                    self._commands.append(Reply(event.request, _child_of(event), refusal))
            case Started() | StartFailed() | ShutDown():
                raise AssertionError("what does not wait is in the inbox")

    def _ended_by_itself(self, child: Child, exit_: Exit, now: float) -> None:
        abnormal = exit_.kind is ExitKind.ABNORMAL
        restart = child.policy.restart
        if restart == "permanent" or (restart == "transient" and abnormal):
            self._restart(child, exit_, now)
            return
        if restart == "temporary" or self.template is not None:
            self._remove(child)
        if child.policy.significant and self._shuts_down_without_asking():
            self._begin_end(Outcome(Ending.AUTO_SHUTDOWN, child.id, ((child.id, exit_),)))

    def _shuts_down_without_asking(self) -> bool:
        """Whether the supervisor ends now that one of its significant children has ended."""
        if self.policy.auto_shutdown == "all_significant":
            return not any(
                child.policy.significant and child.state is not ChildState.STOPPED for child in self.children
            )
        return self.policy.auto_shutdown == "any_significant"

    def _restart(self, child: Child, exit_: Exit, now: float) -> None:
        if not self._intensity.count(now, (child.id, exit_)):
            if child.state is ChildState.RESTARTING:
                child.move(ChildState.STOPPED, now)
            self._begin_end(Outcome(Ending.INTENSITY, child.id, self._intensity.causes))
            return
        match self.policy.strategy:
            case "one_for_one" | "simple_one_for_one":
                group = [child]
            case "rest_for_one":
                group = self.children.from_on(child.id)
            case "one_for_all":
                group = list(self.children)
        # Temporary ones are stopped and forgotten (`_stopped`).
        again = [each for each in group if each.policy.restart != "temporary"]
        self._plan = _Plan(
            deque([each] for each in reversed(group)),
            deque(again),
            reason=f"{child.id!r} ended: {exit_.reason}",
            restarts=child.id,
        )

    def _grant(self, event: Request) -> Refusal | None:
        """Plan what was asked for; or why not."""
        if isinstance(event, StartDynamic):
            return self._grant_dynamic(event)
        if self.template is not None and not isinstance(event, TerminateChild):
            return Refusal.SIMPLE_ONE_FOR_ONE
        if isinstance(event, StartChild):
            return self._grant_start(event)
        child = self.children.get(event.child)
        if child is None:
            return Refusal.NOT_FOUND
        if isinstance(event, TerminateChild):
            self._plan = _Plan(stops=deque([[child]]), request=event, reason="terminate_child was called")
            return None
        if child.state is not ChildState.STOPPED:
            return Refusal.RESTARTING if child.state is ChildState.RESTARTING else Refusal.RUNNING
        if isinstance(event, RestartChild):
            self._plan = _Plan(starts=deque([child]), request=event, child=child.id, reason="restart_child was called")
        else:
            self._remove(child)
            self._commands.append(Reply(event.request, event.child))
        return None

    def _grant_start(self, event: StartChild) -> Refusal | None:
        present = self.children.get(event.policy.id)
        if present is not None:
            stopped = present.state is ChildState.STOPPED
            return Refusal.ALREADY_PRESENT if stopped else Refusal.ALREADY_STARTED
        self._add_and_start(event.policy, event)
        return None

    def _grant_dynamic(self, event: StartDynamic) -> Refusal | None:
        if self.template is None:
            return Refusal.SIMPLE_ONE_FOR_ONE
        self._dynamic += 1
        self._add_and_start(attrs.evolve(self.template, id=f"{self.template.id}-{self._dynamic}"), event)
        return None

    def _add_and_start(self, policy: ChildPolicy, event: StartChild | StartDynamic) -> None:
        child = Child(policy, event.request)
        self.children.add(child)
        self._plan = _Plan(starts=deque([child]), request=event, child=child.id, reason="start_child was called")

    # --- the end ---

    def _begin_end(self, outcome: Outcome) -> None:
        """Whatever it is doing is given up: all children are stopped in reverse order, those made alike all at once."""
        self.outcome = outcome
        if self._plan is not None and self._plan.request is not None:
            self._refuse(self._plan.request)
        while self._inbox:
            event = self._inbox.popleft()
            if isinstance(event, StartChild | StartDynamic | TerminateChild | RestartChild | DeleteChild):
                self._refuse(event)
        ordered = list(reversed(list(self.children)))
        groups = [ordered] if self.template is not None else [[child] for child in ordered]
        self._plan = _Plan(deque(groups), outcome=outcome, reason=f"its supervisor ends: {outcome.ending.value}")

    def _refuse(self, request: Request) -> None:
        self._commands.append(Reply(request.request, _child_of(request), Refusal.SUPERVISOR_ENDS))

    def _end(self, outcome: Outcome) -> None:
        self.ended = True
        self._inbox.clear()  # ends of children, which have been stopped
        self._commands.append(End(outcome))

    # --- what it knows ---

    def count(self) -> ChildCounts:
        """How many children there are, as OTP counts them."""
        active = sum(child.state is ChildState.RUNNING and child.unseen is None for child in self.children)
        kinds = [child.policy.kind for child in self.children]
        specs = len(kinds) if self.template is None else 1
        return ChildCounts(specs, active, kinds.count("supervisor"), kinds.count("worker"))

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        states = [child.state for child in self.children]
        plan = self._plan
        self._intensity.check_invariants(exceeded=self.outcome is not None)
        assert states.count(ChildState.STARTING) <= 1, "two children are started at once"
        unsteady = {c.id for c in self.children if c.state in (ChildState.STARTING, ChildState.STOPPING)}
        waits_for: set[str] = plan.waits_for if plan is not None else set()
        assert waits_for <= unsteady, "it waits in vain"
        # What was being stopped when it was told to end has its turn.
        assert unsteady == waits_for or self.outcome is not None, "nobody waits for a child"
        assert plan is None or plan.waits_for, "a plan is not carried out"
        assert plan is not None or not self._inbox, "something waits and nothing is being done"
        assert plan is not None or ChildState.RESTARTING not in states, "a failed restart is not tried again"
        again = {item.child for item in self._inbox if isinstance(item, _TryAgain)}
        again |= {plan.restarts} if plan is not None else set()  # its turn comes when others are stopped
        restarting = {child.id for child in self.children if child.state is ChildState.RESTARTING}
        assert self.outcome is not None or restarting <= again, "a failed restart is not tried again"
        runs = [child.run for child in self.children if child.run]
        assert len(runs) == len(set(runs)), "two starts have one number"
        assert not self.ended or set(states) <= {ChildState.STOPPED}, "it has ended before its children"
        for child in self.children:
            assert child.unseen is None or child.state is ChildState.RUNNING
            assert not (child.policy.restart == "temporary" and child.state is ChildState.RESTARTING)


def _child_of(request: Request) -> str:
    match request:
        case StartDynamic():
            return ""
        case StartChild(_, policy):
            return policy.id
        case TerminateChild(_, child) | RestartChild(_, child) | DeleteChild(_, child):
            return child
