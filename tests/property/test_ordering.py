"""Calls of an actor reach it in the order of submission, whatever happens to their arguments and to the actor.

The model is the list of all calls ever submitted, each with what has become of it, and the line of those not sent.
"""

from dataclasses import dataclass, field
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.call_order import Arguments, CallOrder


@dataclass(eq=False)
class Call:
    """One call and its history."""

    number: int
    arguments: Arguments
    sent: bool = False
    gone: bool = False  # answered, failed or withdrawn


@dataclass
class Process:
    """One life of the actor: the calls in the order in which they reached it."""

    received: list[Call] = field(default_factory=list[Call])


class OrderAgainstHistory(RuleBasedStateMachine):
    """`flush` is the only rule that sends; the others are what may happen in between."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count()
        self.start(ordered=True)

    @initialize(ordered=st.booleans())
    def start(self, ordered: bool) -> None:
        self.queue: CallOrder[Call] = CallOrder(ordered=ordered)
        self.calls: list[Call] = []
        self.line: list[Call] = []
        self.process = Process()

    def unanswered(self) -> list[Call]:
        return [call for call in self.calls if call.sent and not call.gone]

    def lacking(self) -> list[Call]:
        return [call for call in self.line if call.arguments is Arguments.MISSING]

    @rule(arguments=st.sampled_from(Arguments))
    def submit(self, arguments: Arguments) -> None:
        call = Call(next(self.numbers), arguments)
        self.queue.submit(call)
        self.calls.append(call)
        self.line.append(call)

    @precondition(lambda self: self.lacking())
    @rule(data=st.data(), arguments=st.sampled_from([Arguments.READY, Arguments.FAILED]))
    def an_argument_comes(self, data: st.DataObject, arguments: Arguments) -> None:
        data.draw(st.sampled_from(self.lacking())).arguments = arguments

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.line))
        assert self.queue.withdraw(call)
        assert not self.queue.withdraw(call)
        self.line.remove(call)
        call.gone = True

    @precondition(lambda self: self.unanswered())
    @rule(data=st.data())
    def the_actor_answers(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.unanswered()))
        assert not self.queue.withdraw(call), "a sent call is still here"
        call.gone = True

    @rule(data=st.data())
    def the_actor_restarts(self, data: st.DataObject) -> None:
        """Some calls may be sent again, the others have failed."""
        again: list[Call] = []
        for call in [call for call in self.process.received if not call.gone]:
            if data.draw(st.booleans()):
                call.sent = False
                again.append(call)
            else:
                call.gone = True
        self.queue.resubmit(again)
        self.line = again + self.line
        self.process = Process()

    @rule()
    def flush(self) -> None:
        expected_sent: list[Call] = []
        expected_failed: list[Call] = []
        for call in self.line:
            if call.arguments is Arguments.MISSING:
                if self.queue.ordered:
                    break
                continue
            (expected_sent if call.arguments is Arguments.READY else expected_failed).append(call)

        sent, failed = self.queue.take_sendable(lambda call: call.arguments)

        assert sent == expected_sent
        assert failed == expected_failed
        for call in sent:
            call.sent = True
        for call in failed:
            call.gone = True
        self.line = [call for call in self.line if not call.sent and not call.gone]
        self.process.received += sent
        assert self.queue.take_sendable(lambda call: call.arguments) == ([], [])

    @invariant()
    def a_process_of_an_ordered_actor_receives_in_submission_order(self) -> None:
        numbers = [call.number for call in self.process.received]
        assert len(numbers) == len(set(numbers)), "a call was sent twice to one process"
        if self.queue.ordered:
            assert numbers == sorted(numbers)

    @invariant()
    def a_call_is_here_exactly_until_it_is_sent(self) -> None:
        assert len(self.queue) == len(self.line)
        contents = self.queue.take_all()
        self.queue.resubmit(contents)
        assert contents == self.line
        assert {call.number for call in contents} == {
            call.number for call in self.calls if not call.sent and not call.gone
        }

    def teardown(self) -> None:
        """Once all arguments are there nothing stays behind."""
        for call in self.lacking():
            call.arguments = Arguments.READY
        self.flush()
        assert len(self.queue) == 0
        assert all(call.sent or call.gone for call in self.calls)


TestOrderAgainstHistory = OrderAgainstHistory.TestCase
