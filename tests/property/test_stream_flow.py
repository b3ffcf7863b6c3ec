"""Two ends of a stream and the wires between them, against queues that are never too long."""

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.stream_flow import Receiving, Sending, StreamFlow

SIDES = st.sampled_from([0, 1])


class TwoEnds(RuleBasedStateMachine):
    """Side 0 is the caller, side 1 the worker. A wire carries items, credit and ends in order."""

    @initialize(window=st.integers(1, 5))
    def begin(self, window: int) -> None:
        self.window = window
        self.ends = [StreamFlow(window, opened=False), StreamFlow(window, opened=True)]
        #: What is on its way to each side.
        self.wires: list[deque[tuple[str, int]]] = [deque([("credit", 0)]), deque()]
        self.inbox: list[deque[int]] = [deque(), deque()]
        #: The model: what each side has sent, and how much of the other's each has taken.
        self.sent = [0, 0]
        self.taken = [0, 0]
        self.ended = [False, False]

    @rule(side=SIDES)
    def send(self, side: int) -> None:
        verdict = self.ends[side].sending()
        if self.ended[side]:
            assert verdict is Sending.ENDED
        if verdict is not Sending.GO:
            return
        self.ends[side].send()
        self.wires[1 - side].append(("item", self.sent[side]))
        self.wires[1 - side].append(("credit", self.ends[side].report()))
        self.sent[side] += 1
        assert self.sent[side] - self.taken[1 - side] <= self.window, "more waits than the window holds"

    @rule(side=SIDES)
    def try_to_send_in_vain(self, side: int) -> None:
        if self.ends[side].sending() is Sending.GO:
            self.ends[side].send()
            self.ends[side].take_back()

    @rule(side=SIDES)
    def deliver(self, side: int) -> None:
        if not self.wires[side]:
            return
        kind, number = self.wires[side].popleft()
        end = self.ends[side]
        if kind == "item":
            end.arrive()
            self.inbox[side].append(number)
        elif kind == "credit":
            end.credit(number)
        else:
            end.other_ended(number)

    @rule(side=SIDES)
    def take(self, side: int) -> None:
        end = self.ends[side]
        verdict = end.receiving()
        assert (verdict is Receiving.TAKE) == bool(self.inbox[side])
        if verdict is Receiving.TAKE:
            assert self.inbox[side].popleft() == self.taken[side], "items are in order, and none is missing"
            self.taken[side] += 1
            if end.take():
                self.wires[1 - side].append(("credit", end.report()))
        elif verdict is Receiving.ENDED:
            assert self.ended[1 - side]
            assert self.taken[side] == self.sent[1 - side], "the end comes after all items"

    @precondition(lambda self: not all(self.ended))
    @rule(side=SIDES)
    def end(self, side: int) -> None:
        total = self.ends[side].end()
        assert total == self.sent[side]
        if not self.ended[side]:
            self.wires[1 - side].append(("end", total))
            self.ended[side] = True

    @rule()
    def everything_moves(self) -> None:
        """When all that is on its way has arrived and was taken, whoever has not ended may send."""
        while any(self.wires) or any(self.inbox):
            for side in (0, 1):
                self.deliver(side)
                self.take(side)
        for side in (0, 1):
            expected = Sending.ENDED if self.ended[side] else Sending.GO
            assert self.ends[side].sending() is expected
            expected_there = Receiving.ENDED if self.ended[1 - side] else Receiving.WAIT
            assert self.ends[side].receiving() is expected_there

    @invariant()
    def possible(self) -> None:
        for end in getattr(self, "ends", ()):
            end.check_invariants()


TestTwoEnds = TwoEnds.TestCase
