"""How processes that end together end: in turns, each with its time to clean up, and all of them within a deadline.

    asked -> waiting -> leaving -> (ended)
                 \\         \\
                  `----------`---> killed -> (ended)

All are asked whether they have anything to clean up. A process that has is told to leave when its turn comes; when it
says that it has cleaned up, or has ended, the next turn begins. One that has nothing to clean up, or has no more, is
killed, and nobody waits for that. Turns go from the
highest number to the lowest: running tasks first, then actors from the youngest to the oldest, so that an actor that is
cleaning up still finds those that were there before it. Whoever does not answer in time is stuck and killed.

Events in, actions out; no I/O. Not here: which processes end together (``core.actor_life``, ``node.raylet``), what a
process cleans up (``worker.leaving``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs

#: Turns beside those of actors, which are numbered from 1 in the order of their creation.
IDLE_TURN, TASK_TURN = 0, 1 << 62
#: A process that can run Python at all answers within so long (seconds), with so much more for each one that is asked.
_ANSWER_SECONDS, _ANSWER_SECONDS_EACH = 0.5, 0.01
#: All that end together have so many times what one has.
_SHARES = 2


@attrs.frozen
class Limits:
    """Deadlines of one departure (seconds)."""

    #: Until a process says whether it has anything to clean up.
    answer: float
    #: For one process to clean up.
    each: float
    #: For all of them.
    total: float

    @classmethod
    def of(cls, seconds: float, count: int) -> Limits:
        """The limits of ``count`` processes that may take ``seconds`` each."""
        answer = _ANSWER_SECONDS + count * _ANSWER_SECONDS_EACH
        return cls(min(answer, seconds), seconds, _SHARES * seconds)


# --- actions ---


@attrs.frozen
class Ask:
    """Ask the process whether it has anything to clean up."""

    worker: bytes


@attrs.frozen
class Order:
    """The process's turn: clean up and leave, within so many seconds."""

    worker: bytes
    seconds: float


@attrs.frozen
class Kill:
    """End the process at once; ``late`` when it was cleaning up, or waiting to, and its time is over."""

    worker: bytes
    late: bool = False


Action = Ask | Order | Kill


# --- state ---


class Standing(enum.Enum):
    """How far a process is on its way out."""

    ASKED = enum.auto()
    WAITING = enum.auto()
    LEAVING = enum.auto()
    KILLED = enum.auto()


@attrs.define
class Member:
    """One process of a departure that has not ended."""

    worker: bytes
    turn: int
    standing: Standing = Standing.ASKED
    #: It has something to clean up.
    cleans: bool = False
    #: When it is killed, while it is leaving.
    deadline: float = 0.0


class Departure:
    """Processes that end together. Create it, carry out `begin`, then report what happens."""

    def __init__(self, members: Iterable[tuple[bytes, int]], limits: Limits) -> None:
        """``members``: each process with its turn."""
        self.members = {worker: Member(worker, turn) for worker, turn in members}
        self._limits = limits
        self._answers_until = 0.0
        self._until = 0.0

    def begin(self, now: float) -> list[Action]:
        """The clock starts."""
        self._answers_until = now + self._limits.answer
        self._until = now + self._limits.total
        if self._limits.each <= 0:
            return [self._kill(member) for member in self.members.values()]
        return [Ask(worker) for worker in self.members]

    def answered(self, worker: bytes, cleans: bool, now: float) -> list[Action]:
        """A process says whether it has anything to clean up: when it was asked, and when it has done so."""
        member = self.members.get(worker)
        if member is not None and member.standing is Standing.ASKED:
            member.standing, member.cleans = Standing.WAITING, cleans
            return self._take_turns(now)
        if member is not None and member.standing is Standing.LEAVING and not cleans:
            return [self._kill(member), *self._take_turns(now)]
        return []

    def ended(self, worker: bytes, now: float) -> list[Action]:
        """A process is gone, however that happened."""
        if self.members.pop(worker, None) is None:
            return []
        return self._take_turns(now)

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        actions: list[Action] = []
        for member in self.members.values():
            if member.standing is Standing.KILLED:
                continue
            if member.standing is Standing.ASKED and now >= min(self._answers_until, self._until):
                actions.append(self._kill(member))
            elif now >= self._until or (member.standing is Standing.LEAVING and now >= member.deadline):
                # Whoever has nothing to clean up only waited for the others.
                late = member.cleans
                actions.append(attrs.evolve(self._kill(member), late=late))
        return actions + self._take_turns(now)

    @property
    def next_deadline(self) -> float | None:
        """When `tick` has something to do; None when everybody has ended or been killed."""
        deadlines: list[float] = []
        for member in self.members.values():
            match member.standing:
                case Standing.ASKED:
                    deadlines.append(min(self._answers_until, self._until))
                case Standing.LEAVING:
                    deadlines.append(min(member.deadline, self._until))
                case Standing.WAITING:
                    deadlines.append(self._until)
                case Standing.KILLED:
                    pass
        return min(deadlines, default=None)

    @property
    def is_over(self) -> bool:
        """Whether everybody has ended or been killed."""
        return all(member.standing is Standing.KILLED for member in self.members.values())

    def _take_turns(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while staying := [m for m in self.members.values() if m.standing is not Standing.KILLED]:
            turn = max(member.turn for member in staying)
            for member in staying:
                if member.turn != turn or member.standing is not Standing.WAITING:
                    continue
                if member.cleans:
                    member.standing = Standing.LEAVING
                    member.deadline = min(now + self._limits.each, self._until)
                    actions.append(Order(member.worker, max(0.0, member.deadline - now)))
                else:
                    actions.append(self._kill(member))
            if any(m.turn == turn and m.standing is not Standing.KILLED for m in staying):
                break
        return actions

    @staticmethod
    def _kill(member: Member) -> Kill:
        member.standing = Standing.KILLED
        return Kill(member.worker)


@attrs.frozen
class WorkerSettings:
    """How a node's workers end."""

    #: What one may take to clean up.
    seconds: float
    #: Its children end with it, when it ends in good order or is killed by its node.
    kills_children: bool
    #: Everything that it has started ends with it, however it ends.
    kills_descendants: bool
