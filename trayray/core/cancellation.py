"""What becomes of a running call that is cancelled: one step after the other until it has ended.

The owner of the call climbs this ladder. A step is asked of the worker, again and again because the request may
overtake the call itself on another link; when the call has not ended after a grace, the next step is due. The last one
kills the worker, which nothing withstands:

    task             INTERRUPT ------------> KILL
    actor's call     CHECKPOINT -> INTERRUPT -> KILL
    task, forced     KILL, as soon as the worker has said that this is the task it runs

A worker that is told to interrupt a call of an event loop cancels it there (`Step.ASYNC`).
Not here: calls that no worker has (they just end), carrying the actions out (``worker.cancel_ladder``), what a worker
does when it is asked (``worker.cancelling``).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import attrs

#: Between two requests for the same step (seconds).
REPEAT_SECONDS: Final = 0.1
#: A worker that shall be killed may take so long to say what it runs (seconds).
ANSWER_SECONDS: Final = 0.1


class Step(StrEnum):
    """How a cancelled call ended, and what a worker is asked to do about it."""

    PENDING = "pending"
    CHECKPOINT = "checkpoint"
    INTERRUPT = "interrupt"
    ASYNC = "async"
    KILL = "kill"


@attrs.frozen
class Ask:
    """Ask the worker to take this step. With `Step.KILL`: to say whether it runs the call."""

    step: Step


@attrs.frozen
class Kill:
    """Have the node end the worker's process."""


@attrs.frozen
class Settle:
    """The call's result is its cancellation by ``step``; nothing more is expected of the worker."""

    step: Step


Action = Ask | Kill | Settle

_NEXT: Final = {Step.CHECKPOINT: Step.INTERRUPT, Step.INTERRUPT: Step.KILL}


class Cancellation:
    """The ladder of one call that a worker has. ``now`` and the grace are seconds of one clock."""

    def __init__(self, now: float, grace: float, *, actor_call: bool, force: bool = False) -> None:
        self.step = Step.KILL if force else Step.CHECKPOINT if actor_call else Step.INTERRUPT
        self.ended = False
        #: The call waits for what it has started: nothing is left that a further step could reach.
        self._closing = False
        self._grace = grace
        self._forced = force
        self._since = now
        self._asked: float | None = None
        self._killed: float | None = None

    def tick(self, now: float, *, runs: bool) -> list[Action]:
        """What is due. ``runs``: as far as its owner can tell the worker is at this call, not at one before it."""
        if self.ended or self._closing:
            return []
        if self.step is not Step.KILL and self._asked is not None and now >= self._since + self._grace:
            self.step = _NEXT[self.step]  # one step at a time, however late it is: each has its grace
            self._since = now
            self._asked = None
        if self.step is Step.KILL:
            return self._kill(now, runs=runs)
        return self._ask(now)

    def closing(self) -> None:
        """The call waits for what it has started, which has ladders of its own. Only `force` still has effect."""
        if not self._forced:
            self._closing = True

    def goes_on(self, now: float) -> None:
        """It has waited, and its own code goes on: the present step has a new grace."""
        if self._closing:
            self._closing = False
            self._since = now
            self._asked = None

    def force(self, now: float) -> None:
        """No more patience: kill. `tick` follows."""
        self._closing = False
        if self.step is not Step.KILL:
            self.step = Step.KILL
            self._forced = True
            self._since = now
            self._asked = None

    def answered(self, now: float, *, runs: bool) -> list[Action]:
        """The worker has given back what it has not started, and this call was not among it."""
        if self.ended or not self._forced or not runs or self._killed is not None:
            return []
        self._killed = now
        return [Kill()]

    def lost(self, *, ran: bool) -> list[Action]:
        """The worker's process has ended, with this call or before it."""
        return self._settle(Step.KILL if ran else Step.PENDING)

    def end(self) -> None:
        """The call has a result."""
        self.ended = True

    def _ask(self, now: float) -> list[Action]:
        if self._asked is not None and now < self._asked + REPEAT_SECONDS:
            return []
        self._asked = now
        return [Ask(self.step)]

    def _kill(self, now: float, *, runs: bool) -> list[Action]:
        if self._killed is not None:
            if now < self._killed + max(self._grace, REPEAT_SECONDS):
                return []
            self._killed = now
            return [Kill()]
        if self._forced and now < self._since + ANSWER_SECONDS:
            return self._ask(now)
        if not runs:  # another call keeps the whole process from answering: this one has not begun
            return self._settle(Step.PENDING)
        self._killed = now
        return [Kill()]

    def _settle(self, step: Step) -> list[Action]:
        if self.ended:
            return []
        self.ended = True
        return [Settle(step)]

    def next_deadline(self) -> float | None:
        """When `tick` is due; None once it has ended."""
        if self.ended or self._closing:
            return None
        if self._killed is not None:
            return self._killed + max(self._grace, REPEAT_SECONDS)
        if self._asked is None:
            return self._since
        over = self._since + (ANSWER_SECONDS if self.step is Step.KILL else self._grace)
        return min(over, self._asked + REPEAT_SECONDS)
