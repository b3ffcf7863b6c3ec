"""Any history of a cancelled call agrees with a model of the world: the call, its worker, and links that are slow.

The worker may be stuck in code that holds the interpreter, the call may swallow what it is told, requests may overtake
the call, and the process may die at any moment. Whatever happens the call ends once, in bounded time, and no process is
killed for a call that has not started.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.cancellation import ANSWER_SECONDS, REPEAT_SECONDS, Action, Ask, Cancellation, Kill, Settle, Step

ORDER = [Step.CHECKPOINT, Step.INTERRUPT, Step.KILL]
# Where the call is: on its way, waiting behind another, in execution, over.
PLACES = ["on its way", "queued", "running"]

graces = st.sampled_from([0.0, REPEAT_SECONDS / 2, REPEAT_SECONDS, 1.0, 30.0])
lateness = st.sampled_from([0.0, 0.0, 0.001, ANSWER_SECONDS, 1.0, 100.0])
unended = precondition(lambda self: self.result is None)


class LadderAgainstWorld(RuleBasedStateMachine):
    """The model's own state is the call as it really is; the ladder learns of it by replies alone."""

    @initialize(
        actor_call=st.booleans(),
        forced=st.booleans(),
        grace=graces,
        place=st.sampled_from(PLACES),
        obeys=st.sampled_from([None, *ORDER[:2]]),
        stuck=st.booleans(),
    )
    def cancelled(
        self, *, actor_call: bool, forced: bool, grace: float, place: str, obeys: Step | None, stuck: bool
    ) -> None:
        self.now = 0.0
        self.grace = grace
        self.place = place
        #: Another call is before it in the same worker.
        self.behind = place == "queued"
        self.obeys = obeys
        self.stuck = stuck
        self.result: str | None = None
        self.asked: list[tuple[float, Step]] = []
        self.kills = 0
        self.forced_at: float | None = 0.0 if forced and not actor_call else None
        self.actor_call = actor_call
        self.patience = 0.0
        self.ladder = Cancellation(0.0, grace, actor_call=actor_call, force=self.forced_at is not None)
        self.tick()

    # --- what the ladder does to the world ---

    def tick(self) -> None:
        self.carry_out(self.ladder.tick(self.now, runs=not self.behind))

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            assert self.result is None, f"{action} after the end"
            match action:
                case Ask(step):
                    self.asked.append((self.now, step))
                    self.ask(step)
                case Kill():
                    assert not self.behind, "a process is killed for a call that has not started"
                    self.kills += 1
                case Settle(step):
                    self.settle(step)

    def ask(self, step: Step) -> None:
        if self.stuck or self.place == "on its way":
            return
        if self.place == "queued":
            self.reply("pending")
        elif step is Step.KILL:
            self.carry_out(self.ladder.answered(self.now, runs=not self.behind))
        elif step == self.obeys:
            self.reply(step)

    def reply(self, result: str) -> None:
        assert self.result is None
        self.result = result
        self.ladder.end()

    def settle(self, step: Step) -> None:
        assert step in (Step.PENDING, Step.KILL)
        assert step is Step.KILL or self.behind
        self.result = step

    # --- what happens in the world ---

    @unended
    @precondition(lambda self: self.place == "on its way")
    @rule()
    def arrives(self) -> None:
        self.place = "running"

    @unended
    @precondition(lambda self: self.place == "queued" and not self.stuck)
    @rule()
    def those_before_it_end(self) -> None:
        self.place = "running"
        self.behind = False

    @unended
    @precondition(lambda self: self.place == "running")
    @rule(value=st.sampled_from(["value", "error"]))
    def it_ends_by_itself(self, value: str) -> None:
        self.reply(value)

    @unended
    @rule()
    def the_process_dies(self) -> None:
        self.carry_out(self.ladder.lost(ran=not self.behind))
        assert self.result is not None

    @unended
    @precondition(lambda self: not self.actor_call and self.forced_at is None)
    @rule()
    def forced(self) -> None:
        self.forced_at = self.now
        self.ladder.force(self.now)
        self.tick()

    @unended
    @precondition(lambda self: not self.stuck)
    @rule()
    def the_worker_gives_back_what_waits(self) -> None:
        self.carry_out(self.ladder.answered(self.now, runs=not self.behind))

    @unended
    @rule(late=lateness)
    def time_passes(self, late: float) -> None:
        due = self.ladder.next_deadline()
        assert due is not None, "nothing will ever end the call"
        self.patience += late
        self.now = max(self.now, due) + late
        self.tick()

    @precondition(lambda self: self.result is not None)
    @rule(late=lateness)
    def it_stays_ended(self, late: float) -> None:
        self.now += late
        assert self.ladder.next_deadline() is None
        assert self.ladder.tick(self.now, runs=True) == []
        assert self.ladder.lost(ran=True) == []

    # --- what holds always ---

    @invariant()
    def steps_are_climbed_in_order_and_each_has_its_grace(self) -> None:
        first: dict[Step, float] = {}
        for when, step in getattr(self, "asked", []):
            first.setdefault(step, when)
        steps = list(first)
        assert steps == sorted(steps, key=ORDER.index)
        if Step.CHECKPOINT in first and Step.INTERRUPT in first:
            assert first[Step.INTERRUPT] >= first[Step.CHECKPOINT] + self.grace

    @invariant()
    def a_kill_comes_in_time(self) -> None:
        if not hasattr(self, "ladder") or self.result is not None or self.kills or self.behind:
            return
        steps = 2 if self.actor_call else 1
        limit = steps * self.grace + self.patience + steps * REPEAT_SECONDS + ANSWER_SECONDS
        assert self.now <= limit, f"{self.now} s, and the process still lives"

    @invariant()
    def nobody_is_killed_too_early(self) -> None:
        if getattr(self, "kills", 0) and self.forced_at is None:
            assert self.now >= (2 if self.actor_call else 1) * self.grace

    def teardown(self) -> None:
        if not hasattr(self, "ladder"):
            return
        for _ in range(1000):
            if self.result is not None:
                break
            if self.kills:
                self.the_process_dies()
            else:
                self.time_passes(0.0)
        assert self.result is not None, "the ladder has no end"


TestLadder = LadderAgainstWorld.TestCase
