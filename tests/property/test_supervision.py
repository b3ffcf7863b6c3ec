"""Any history of a supervisor and its children: `core.supervision` does what a plain blocking program would do."""

from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.property.supervisor_program import Model
from trayray.core.supervised_children import Exit, ExitKind
from trayray.core.supervision import Supervision
from trayray.core.supervision_messages import (
    Command,
    DeleteChild,
    End,
    Event,
    Exited,
    Forget,
    Reply,
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

NAMES = ("a", "b", "c", "d")
EXITS = st.sampled_from([Exit(kind, kind.value) for kind in (ExitKind.ABNORMAL, *ExitKind)])
#: A supervisor's life is long enough to be worth comparing.
MOSTLY = st.sampled_from([True, True, False])
SHUTDOWNS: st.SearchStrategy[Any] = st.sampled_from([5.0, 0.5, "brutal_kill", "infinity"])


@st.composite
def children_of(draw: st.DrawFn, policy: SupervisorPolicy, name: str) -> ChildPolicy:
    restart = draw(st.sampled_from(["permanent", "transient", "temporary"]))
    may_be = restart != "permanent" and policy.auto_shutdown != "never"
    return ChildPolicy(
        name,
        restart,  # type: ignore[arg-type]
        draw(SHUTDOWNS),
        significant=may_be and draw(st.sampled_from([True, True, True, False])),
        kind=draw(st.sampled_from(["worker", "supervisor"])),
    )


@st.composite
def policies(draw: st.DrawFn) -> SupervisorPolicy:
    strategy: Any = draw(st.sampled_from(["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]))
    shutdown: Any = st.sampled_from(["never", "any_significant", "all_significant", "all_significant"])
    auto = "never" if strategy == "simple_one_for_one" else draw(shutdown)
    intensity, period = draw(st.sampled_from([0, 1, 2, 3, 8, 50])), draw(st.sampled_from([1.0, 5.0]))
    return SupervisorPolicy(strategy, intensity, period, auto)


class SupervisorAndChildren(RuleBasedStateMachine):
    """The children's side: which starts and stops are due, what lives."""

    @initialize(data=st.data(), policy=policies())
    def begin(self, data: st.DataObject, policy: SupervisorPolicy) -> None:
        self.now = 1000.0
        self.policy = policy
        simple = policy.strategy == "simple_one_for_one"
        count = 1 if simple else data.draw(st.integers(0, len(NAMES)), "children")
        children = [data.draw(children_of(policy, name)) for name in NAMES[:count]]
        self.starting: dict[str, int] = {}
        self.alive: dict[str, int] = {}
        self.stopping: set[str] = set()
        self.gone: list[tuple[str, int]] = []
        self.requests = 0
        self.over = False
        self.machine = Supervision(policy, children)
        self.model = Model(policy, children)
        # The model's program is begun by the first message.
        self.compare(self.machine.start(self.now), self.model.tell("go", self.now))  # type: ignore[arg-type]

        if data.draw(st.sampled_from([True, True, False]), "begun"):  # else what happens during the start is at issue
            for _ in range(3 if simple else 0):
                self.asks_for_one_like_the_others()
            while self.starting:
                self.becomes_alive(min(self.starting))

    def tell(self, event: Event) -> None:
        self.compare(self.machine.handle(event, self.now), self.model.tell(event, self.now))

    def compare(self, commands: list[Command], expected: list[Command]) -> None:
        self.machine.check_invariants()
        assert [without_reason(command) for command in commands] == [without_reason(command) for command in expected]
        for command in commands:
            assert not self.over or isinstance(command, Reply), "it goes on after its end"
            match command:
                case Start(child, run):
                    assert child not in self.starting.keys() | self.alive.keys(), "a child is started twice"
                    self.starting[child] = run
                case Stop(child, run):
                    assert run in (self.alive.get(child), self.starting.get(child)), "what is not there is stopped"
                    assert child not in self.stopping, "a child is stopped twice"
                    self.stopping.add(child)
                case Forget(child):
                    assert child not in self.starting.keys() | self.alive.keys(), "a living child is forgotten"
                case End():
                    assert not {**self.starting, **self.alive}, "a supervisor ends before its children"
                    self.over = True
                case _:
                    pass
        living = self.machine.count()
        assert living.active == len(self.alive.keys() - self.stopping), "what is counted is what lives"

    # --- children ---

    @precondition(lambda self: self.starting)
    @rule(data=st.data(), well=MOSTLY, how=EXITS, exits=st.booleans())
    def starts(self, data: st.DataObject, well: bool, how: Exit, exits: bool) -> None:
        child = data.draw(st.sampled_from(sorted(self.starting)))
        run = self.starting.pop(child)
        if well:
            self.alive[child] = run
            self.tell(Started(child, run))
            return
        self.stopping.discard(child)
        self.gone.append((child, run))
        self.tell(Exited(child, run, how) if exits else StartFailed(child, run, how))

    @precondition(lambda self: self.alive and not self.over)
    @rule(data=st.data(), how=EXITS)
    def exits(self, data: st.DataObject, how: Exit) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.alive))), how)

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def starts_well(self, data: st.DataObject) -> None:
        self.becomes_alive(data.draw(st.sampled_from(sorted(self.starting))))

    @precondition(lambda self: self.alive and not self.over)
    @rule(data=st.data(), well=st.integers(0, 2), later=st.booleans())
    def a_restart_goes_wrong(self, data: st.DataObject, well: int, later: bool) -> None:
        """Rare when left to chance: so many starts of a restart succeed, the next one fails, and much is asked for."""
        self.end(data.draw(st.sampled_from(sorted(self.alive))), Exit(ExitKind.ABNORMAL, "crash"))
        for attempt in range(well + 1):
            for child in sorted(self.stopping & self.alive.keys()):
                self.end(child, Exit(ExitKind.SHUTDOWN, "stopped"))
            if not self.starting:
                return
            if attempt < well:
                self.becomes_alive(min(self.starting))
        child = min(self.starting)
        if later:
            self.asks(data, data.draw(st.sampled_from([TerminateChild, RestartChild, DeleteChild])))
            self.asks_for_another_child(data, child if child in NAMES else "a")
        run = self.starting.pop(child)
        self.stopping.discard(child)
        self.gone.append((child, run))
        self.tell(StartFailed(child, run, Exit(ExitKind.ABNORMAL, "no start")))

    @precondition(lambda self: len(self.alive) > 1 and self.requests > 3 and not self.over)
    @rule(data=st.data(), exits=st.booleans())
    def is_shut_down_while_a_restart_goes_wrong(self, data: st.DataObject, exits: bool) -> None:
        """Rare when left to chance: a later child is being stopped when the start of another one fails."""
        self.end(data.draw(st.sampled_from(sorted(self.alive))), Exit(ExitKind.ABNORMAL, "crash"))
        self.tell(ShutDown())
        for child, run in list(self.starting.items()):
            del self.starting[child]
            self.stopping.discard(child)
            self.gone.append((child, run))
            how = Exit(ExitKind.ABNORMAL, "no start")
            self.tell(Exited(child, run, how) if exits else StartFailed(child, run, how))

    def becomes_alive(self, child: str) -> None:
        self.alive[child] = self.starting.pop(child)
        self.tell(Started(child, self.alive[child]))

    @precondition(lambda self: self.stopping & self.alive.keys())
    @rule(data=st.data(), how=EXITS)
    def is_stopped(self, data: st.DataObject, how: Exit) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.stopping & self.alive.keys()))), how)

    def end(self, child: str, how: Exit) -> None:
        run = self.alive.pop(child)
        self.stopping.discard(child)
        self.gone.append((child, run))
        self.tell(Exited(child, run, how))

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), how=EXITS)
    def is_said_to_be_gone_once_more(self, data: st.DataObject, how: Exit) -> None:
        """Late news changes nothing, once the supervisor has dealt with the first."""
        child, run = data.draw(st.sampled_from(self.gone))
        dealt_with = self.machine.children.get(child)
        if dealt_with is None or dealt_with.run != run or dealt_with.unseen is None:
            assert self.machine.handle(Exited(child, run, how), self.now) == []

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # --- requests ---

    def ask(self, request: Any, *arguments: Any) -> None:
        self.requests += 1
        self.tell(request(self.requests, *arguments))

    @rule(data=st.data(), request=st.sampled_from([TerminateChild, RestartChild, DeleteChild]))
    def asks(self, data: st.DataObject, request: Any) -> None:
        known = [child.id for child in self.machine.children]
        self.ask(request, data.draw(st.sampled_from([*known, *known, *NAMES])))

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def asks_for_another_child(self, data: st.DataObject, name: str) -> None:
        self.ask(StartChild, data.draw(children_of(self.policy, name)))

    @rule()
    def asks_for_one_like_the_others(self) -> None:
        self.ask(StartDynamic)

    @precondition(lambda self: self.requests > 6)
    @rule()
    def shuts_down(self) -> None:
        self.tell(ShutDown())

    def teardown(self) -> None:
        """Whatever has happened, it ends once its children end."""
        if not hasattr(self, "machine"):
            return
        self.tell(ShutDown())
        for _ in range(100):
            if self.over:
                break
            for child in list(self.starting):
                self.becomes_alive(child)
            for child in sorted(self.stopping & self.alive.keys()):
                self.end(child, Exit(ExitKind.SHUTDOWN, "stopped"))
        assert self.over


def without_reason(command: Command) -> Command:
    return attrs.evolve(command, reason="") if isinstance(command, Start | Stop) else command


TestSupervision = pytest.mark.slow(SupervisorAndChildren.TestCase)
TestSupervision.settings = settings(max_examples=120, stateful_step_count=40)
