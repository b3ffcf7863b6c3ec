"""Any history of a departure against a world of processes that answer, end, hang and take their time."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.leaving import TASK_TURN, Action, Ask, Departure, Kill, Limits, Order

LIMITS = Limits(answer=0.5, each=5.0, total=10.0)
#: What the slowest timer of a node may be late by (seconds).
STEP = 0.25


class Leavers(RuleBasedStateMachine):
    """The processes' side: what each has been told and when."""

    @initialize(turns=st.lists(st.integers(0, 6).map(lambda turn: TASK_TURN if turn == 6 else turn), max_size=7))
    def begin(self, turns: list[int]) -> None:
        self.now = 0.0
        self.turns = {b"w%d" % index: turn for index, turn in enumerate(turns)}
        self.departure = Departure(self.turns.items(), LIMITS)
        self.alive = set(self.turns)
        self.asked: set[bytes] = set()
        self.answers: dict[bytes, bool] = {}
        self.ordered: dict[bytes, float] = {}
        self.cleaned: set[bytes] = set()
        self.killed: set[bytes] = set()
        self.carry_out(self.departure.begin(self.now))
        assert self.asked == self.alive

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            worker = action.worker
            assert worker in self.alive, "a process that has ended is told something"
            assert worker not in self.killed, "a killed process is told something"
            match action:
                case Ask():
                    assert worker not in self.asked, "it is asked twice"
                    self.asked.add(worker)
                case Order(seconds=seconds):
                    assert self.answers[worker], "it has nothing to clean up"
                    assert worker not in self.ordered, "it gets a second turn"
                    assert seconds <= LIMITS.each
                    assert self.now + seconds <= LIMITS.total
                    assert self.turns[worker] == max(self.turns[w] for w in self.alive - self.killed), "not its turn"
                    self.ordered[worker] = self.now + seconds
                case Kill(late=late):
                    if not late:
                        waited = self.now >= LIMITS.answer and worker not in self.answers
                        done = worker in self.cleaned
                        assert waited or done or not self.answers[worker], (
                            "it had something to clean up and time to do so"
                        )
                    else:
                        assert self.answers[worker]
                        assert self.now >= min(self.ordered.get(worker, LIMITS.total), LIMITS.total)
                    self.killed.add(worker)

    @precondition(lambda self: self.alive - self.killed)
    @rule(data=st.data(), cleans=st.booleans())
    def answer(self, data: st.DataObject, cleans: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.alive - self.killed)))
        first = worker not in self.answers
        self.answers.setdefault(worker, cleans)
        if worker in self.ordered and not cleans:
            self.cleaned.add(worker)
        actions = self.departure.answered(worker, cleans, self.now)
        assert first or worker in self.cleaned or actions == []
        assert worker not in self.cleaned or Kill(worker) in actions
        self.carry_out(actions)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.alive)))
        self.alive.remove(worker)
        self.killed.discard(worker)
        self.carry_out(self.departure.ended(worker, self.now))

    @rule(steps=st.integers(1, 8))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.now += STEP
            deadline = self.departure.next_deadline
            if deadline is not None and self.now >= deadline:
                self.carry_out(self.departure.tick(self.now))

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Whoever stays is waited for by a clock, or for somebody whose turn it is."""
        staying = self.alive - self.killed
        assert self.departure.is_over == (not staying)
        assert (self.departure.next_deadline is None) == (not staying)
        if staying:
            turn = max(self.turns[worker] for worker in staying)
            first = [worker for worker in staying if self.turns[worker] == turn]
            assert any(worker not in self.answers or worker in self.ordered for worker in first), "nobody has a turn"

    def teardown(self) -> None:
        """Without any further word from the processes, all are killed by the deadline."""
        if not hasattr(self, "departure"):
            return
        while (deadline := self.departure.next_deadline) is not None:
            assert deadline <= max(self.now, LIMITS.total)
            self.now = max(self.now, deadline)
            self.carry_out(self.departure.tick(self.now))
        assert self.alive == self.killed


TestLeavers = Leavers.TestCase


@pytest.mark.parametrize("turns", [[], [1]])
def test_departures_of_few(turns: list[int]) -> None:
    departure = Departure([(b"w%d" % index, turn) for index, turn in enumerate(turns)], LIMITS)
    departure.begin(0.0)

    assert departure.is_over == (not turns)
