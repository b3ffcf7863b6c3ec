"""The calls of one process to one actor, from submission to their end: what is sent, what is sent again, what fails.

    submitted -> waiting -> in flight -> finished
        |           ^           |
        |           `-----------+--> failed (a call without retries was in flight when the actor's process ended)
        `--> failed                  (the actor is dead; or restarts, and the call has no retries)

A call without retries runs at most once, one with retries at least once unless they are used up; calls in flight are
sent again in the order in which they were sent. Not here: order among calls whose arguments are missing
(``call_order``), links and replies (``worker.actor_calls``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from trayray.core.call_order import Arguments, CallOrder
from trayray.core.retries import after_failure


class Life(enum.Enum):
    """Where the actor is, as its callers see it."""

    #: Its constructor has not finished for the first time: calls wait.
    PENDING = "PENDING_CREATION"
    ALIVE = "ALIVE"
    #: Its process has ended and another is coming: calls with retries wait.
    RESTARTING = "RESTARTING"
    DEAD = "DEAD"


class Call(Protocol):
    """What this module needs to know of a call. ``retries`` says how often it may be sent again; -1 for ever."""

    task_id: bytes
    retries: int


C = TypeVar("C", bound=Call)


class CallLedger(Generic[C]):
    """All unfinished calls to one actor."""

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.life: Life | None = None
        self._incarnation = 0
        self._waiting: CallOrder[C] = CallOrder(ordered=ordered)
        #: Sent and unanswered, in the order sent.
        self.in_flight: dict[bytes, C] = {}

    def submit(self, call: C) -> bool:
        """Take a call over; False when it fails at once, for the reason that `life` tells."""
        if self.life is Life.DEAD or (self.life is Life.RESTARTING and call.retries == 0):
            return False
        self._waiting.submit(call)
        return True

    @property
    def idle(self) -> bool:
        """Whether a new call to the living actor has none before it."""
        return self.life is Life.ALIVE and not self.in_flight and not self._waiting

    def send_directly(self, call: C) -> None:
        """A new call was sent past the queue, which was empty (`idle`)."""
        self.in_flight[call.task_id] = call

    def take_sendable(self, arguments: Callable[[C], Arguments]) -> tuple[list[C], list[C]]:
        """The calls to send now, in flight from here on, and those that never will be: their arguments failed."""
        if self.life is not Life.ALIVE or not self._waiting:
            return [], []
        sendable, failed = self._waiting.take_sendable(arguments)
        self.in_flight.update((call.task_id, call) for call in sendable)
        return sendable, failed

    def finished(self, task_id: bytes) -> C | None:
        """A reply has come; the call that it answers, None for one that has failed meanwhile."""
        return self.in_flight.pop(task_id, None)

    def withdraw(self, call: C) -> bool:
        """Take a call out that was not sent; False when it is not waiting."""
        return self._waiting.withdraw(call)

    def process_ended(self, incarnation: int) -> bool:
        """Whether this news means that the process which had the calls in flight is gone."""
        return self.life is not None and incarnation != self._incarnation

    def changed(self, life: Life, incarnation: int) -> list[C]:
        """The actor's state is ``life`` now, in its process number ``incarnation``; the calls that fail with it.

        Whoever reads replies has read all that the former process has sent.
        """
        ended = self.process_ended(incarnation)
        self.life, self._incarnation = life, incarnation
        failed: list[C] = []
        if life is Life.DEAD:
            failed = [*self.in_flight.values(), *self._waiting.take_all()]
            self.in_flight.clear()
        elif ended:
            again: list[C] = []
            for call in self.in_flight.values():
                left = after_failure(call.retries)
                if left is None:
                    failed.append(call)
                else:
                    call.retries = left
                    again.append(call)
            self.in_flight.clear()
            self._waiting.resubmit(again)
        return failed

    def __len__(self) -> int:
        return len(self._waiting) + len(self.in_flight)

    def waiting(self) -> Iterator[C]:
        """The calls that were not sent, in order."""
        return iter(self._waiting)

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        waiting = [call.task_id for call in self._waiting]
        assert len(waiting) == len(set(waiting)), "a call waits twice"
        assert not self.in_flight.keys() & set(waiting), "a call waits that was sent"
        assert self.life is not Life.DEAD or not len(self), "a dead actor has calls"
