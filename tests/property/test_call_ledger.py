"""`CallLedger` against an actor that executes what it is sent, dies and comes back at any moment.

The model knows every execution: a call without retries has at most one, one that did not fail at least one, first
executions come in the order of submission, and nothing is executed after the caller was told that it failed for good.
"""

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trayray.core.call_ledger import CallLedger, Life
from trayray.core.call_order import Arguments


@attrs.define(eq=False)
class Call:
    task_id: bytes
    retries: int
    ready: bool
    failed: bool = False
    finished: bool = False
    executions: int = 0
    number: int = 0
    budget: int = 0
    losses: int = 0


class CallerAgainstActor(RuleBasedStateMachine):
    """One caller, one plain (ordered) actor."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: CallLedger[Call] = CallLedger(ordered=True)
        self.calls: list[Call] = []
        self.life: Life = Life.PENDING
        self.incarnation = 0
        #: Sent to the present process and not executed; executed there and not answered.
        self.link: list[Call] = []
        self.executed: list[Call] = []
        self.first_executions: list[int] = []
        #: What the present process was sent.
        self.sent: list[int] = []
        self.ledger.changed(Life.PENDING, 0)

    def _fail(self, calls: list[Call]) -> None:
        for call in calls:
            assert not call.failed
            assert not call.finished
            call.failed = True

    @rule(several=st.lists(st.tuples(st.sampled_from([0, 1, 3, -1]), st.sampled_from([True, True, False])), max_size=4))
    def submit(self, several: list[tuple[int, bool]]) -> None:
        for retries, ready in several:
            self.submit_one(retries, ready)

    def submit_one(self, retries: int, ready: bool) -> None:
        call = Call(len(self.calls).to_bytes(2, "big"), retries, ready, number=len(self.calls), budget=retries)
        self.calls.append(call)
        taken = self.ledger.submit(call)
        assert taken == (self.life is not Life.DEAD and (self.life is not Life.RESTARTING or retries != 0))
        if not taken:
            self._fail([call])

    @rule(which=st.integers(0, 200))
    @precondition(lambda self: any(not call.ready for call in self.calls))
    def argument_arrives(self, which: int) -> None:
        missing = [call for call in self.calls if not call.ready]
        missing[which % len(missing)].ready = True

    @rule()
    @precondition(lambda self: len(self.ledger) > 0)
    def send(self) -> None:
        sendable, failed = self.ledger.take_sendable(lambda c: Arguments.READY if c.ready else Arguments.MISSING)
        assert not failed
        assert self.ledger.life is Life.ALIVE or not sendable
        if self.life is Life.ALIVE:
            self.link += sendable
            self.sent += [call.number for call in sendable]

    @rule()
    @precondition(lambda self: self.link)
    def execute(self) -> None:
        call = self.link.pop(0)
        assert not call.failed
        call.executions += 1
        if call.executions == 1:
            self.first_executions.append(call.number)
        self.executed.append(call)

    @rule()
    @precondition(lambda self: self.executed)
    def answer(self) -> None:
        call = self.executed.pop(0)
        assert self.ledger.finished(call.task_id) is call
        call.finished = True

    @rule()
    @precondition(lambda self: self.life in (Life.PENDING, Life.RESTARTING))
    def comes_alive(self) -> None:
        self.life = Life.ALIVE
        self._fail(self.ledger.changed(Life.ALIVE, self.incarnation))

    @rule(answered=st.booleans())
    @precondition(lambda self: self.life is Life.ALIVE)
    def process_dies(self, answered: bool) -> None:
        while answered and self.executed:  # the replies arrived, though the news of the end came by another link
            self.answer()
        lost = [*self.executed, *self.link]
        for call in lost:
            call.losses += 1
        self.link.clear()
        self.executed.clear()
        self.sent.clear()
        self.life = Life.RESTARTING
        self.incarnation += 1
        failed = self.ledger.changed(Life.RESTARTING, self.incarnation)
        assert failed == [call for call in lost if 0 <= call.budget < call.losses]
        self._fail(failed)

    @rule()
    @precondition(lambda self: self.life is not Life.DEAD and len(self.calls) > 12)  # little happens after it
    def dies(self) -> None:
        self.life = Life.DEAD
        self.link.clear()
        self.executed.clear()
        self._fail(self.ledger.changed(Life.DEAD, self.incarnation))

    @rule(which=st.integers(0, 200))
    @precondition(lambda self: list(self.ledger.waiting()))
    def withdraw(self, which: int) -> None:
        waiting = list(self.ledger.waiting())
        call = waiting[which % len(waiting)]
        assert self.ledger.withdraw(call)
        call.failed = True

    @invariant()
    def calls_without_retries_run_at_most_once(self) -> None:
        for call in self.calls:
            if call.budget >= 0:
                assert call.executions <= 1 + call.budget

    @invariant()
    def first_executions_keep_the_order_of_submission(self) -> None:
        assert self.first_executions == sorted(self.first_executions)

    @invariant()
    def each_process_is_sent_its_calls_in_the_order_of_submission(self) -> None:
        assert self.sent == sorted(self.sent)

    @invariant()
    def nothing_is_lost(self) -> None:
        self.ledger.check_invariants()
        unfinished = {c.task_id for c in self.calls if not c.failed and not c.finished}
        assert unfinished == {c.task_id for c in self.ledger.waiting()} | self.ledger.in_flight.keys()

    def teardown(self) -> None:
        """Left alone with a living actor and all arguments, every call that has not failed is executed and answered."""
        if self.life is Life.DEAD:
            return
        if self.life is not Life.ALIVE:
            self.comes_alive()
        for call in self.calls:
            call.ready = True
        self.send()
        while self.link:
            self.execute()
        while self.executed:
            self.answer()
        assert all(call.failed or (call.finished and call.executions) for call in self.calls)
        assert len(self.ledger) == 0


TestCallerAgainstActor = CallerAgainstActor.TestCase
TestCallerAgainstActor.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
