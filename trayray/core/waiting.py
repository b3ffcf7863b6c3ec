"""What waits for what, across processes: which waits can never end, and which of them gives up.

Processes tell facts about what they know best: an owner about its objects and tasks, a worker about its calls and about
threads that wait in get or wait. A fact says what its subject waits for, and how many of these must end first. Whatever
is not known to wait for something may end; what is left can never end.
Facts of different processes are of different moments: a verdict holds if everything that it rests on is found
unchanged a second time, because what is the same before and after a moment was so at that moment.
Not here: asking the processes (``worker.explaining``), words (``wait_story``).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import attrs

from trayray.model.scheduling import Scheduling


class Kind(enum.StrEnum):
    """What a subject is; who knows about it is `Subject.at`."""

    #: An object; its owner knows.
    OBJECT = "object"
    #: A task or actor call that has not finished, or an actor's constructor; the process that made the call knows.
    TASK = "task"
    #: The same where it is executed; the worker knows.
    CALL = "call"
    #: A thread that waits in get or wait; its process knows.
    WAIT = "wait"
    #: An actor; the GCS knows.
    ACTOR = "actor"


class State(enum.StrEnum):
    """What is known of a subject."""

    #: Nothing: nobody answers for it, or those who should do not know it.
    UNKNOWN = "unknown"

    # Objects.
    READY = "ready"
    FAILED = "failed"
    #: The process that owned it is dead.
    LOST = "lost"
    #: A task that has not finished makes it.
    MADE = "made"
    #: Another process owns it.
    BORROWED = "borrowed"

    # Tasks and calls at their owner.
    ARGUMENTS = "arguments missing"
    #: Waits for resources, or for a worker.
    QUEUED = "queued"
    RETRYING = "to be tried again"
    #: An actor's call that is sent after an earlier one, whose arguments are missing.
    HELD_BACK = "held back"
    #: The actor is not there (yet, or at present).
    ACTOR_ABSENT = "actor not running"
    SENT = "sent"

    # Calls in their worker.
    RUNNING = "running"
    #: Its thread waits in get or wait.
    BLOCKED = "blocked"
    #: No thread is free for it.
    BEHIND = "behind others"
    STARTING = "starting"
    ENDED = "ended"
    #: An actor's worker that executes nothing.
    IDLE = "idle"

    # Actors.
    ALIVE = "alive"
    DEAD = "dead"
    #: Its worker runs the constructor.
    CONSTRUCTING = "constructing"


class Subject(NamedTuple):
    """Something that waits or is waited for. ``at`` is the address of the process that knows; empty for actors."""

    kind: Kind
    id: bytes
    at: str


class Fact(NamedTuple):
    """What one process says of one subject."""

    subject: Subject
    state: State
    #: Of the function, method or actor class.
    name: str = ""
    #: What it waits for; so many of these must end before it can.
    on: tuple[Subject, ...] = ()
    needs: int = 0
    #: It gives up by itself after a while.
    timed: bool = False
    #: When it began to wait, by its process's clock: for order only. And for how long it has by now (seconds).
    since: float = 0.0
    seconds: float = 0.0
    pid: int = 0
    #: Address of the node.
    node: str = ""
    #: The actor that it is, or in which or on which it runs: id and class.
    actor: bytes = b""
    actor_class: str = ""
    #: What a queued task needs, and where; None: anywhere.
    resources: tuple[tuple[str, float], ...] = ()
    where: Scheduling | None = None
    #: More for the reader: an error, a cause, what the wait is.
    detail: str = ""


Facts = Mapping[Subject, Fact]


@attrs.frozen
class Deadlock:
    """A wait that can never end, because it waits for itself."""

    #: The wait that was asked about, and the one of all that wait for each other that has to give up.
    wait: Subject
    victim: Subject
    #: From the wait on, one waits for the next, and the last for the wait.
    cycle: tuple[Fact, ...]
    #: Everything that the verdict rests on.
    knot: frozenset[tuple[Subject, State, tuple[Subject, ...], int]] = attrs.field(repr=False)


def never_ending(facts: Facts) -> set[Subject]:
    """The subjects that can never end, if these facts are true at one moment."""
    waiting_for: dict[Subject, list[Subject]] = {}
    short: dict[Subject, int] = {}
    may_end: deque[Subject] = deque()
    for subject, fact in facts.items():
        if fact.timed or fact.needs <= 0:
            may_end.append(subject)
            continue
        short[subject] = fact.needs
        for other in fact.on:
            waiting_for.setdefault(other, []).append(subject)
    may_end.extend(other for other in waiting_for if other not in facts)
    while may_end:
        for subject in waiting_for.get(may_end.popleft(), ()):
            left = short.get(subject)
            if left is None:
                continue
            if left > 1:
                short[subject] = left - 1
            else:
                del short[subject]
                may_end.append(subject)
    return set(short)


def find_deadlock(wait: Subject, facts: Facts) -> Deadlock | None:
    """The deadlock that ``wait`` is part of, if these facts are true at one moment.

    A wait that merely depends on others that can never end is no part of it: it goes on when those have given up.
    The victim is the same whichever of them asks: the wait that began last.
    """
    stuck = never_ending(facts)
    if wait not in stuck:
        return None
    cycle = _way_back(wait, facts, stuck)
    if not cycle:
        return None
    needed = _reached([wait], facts, stuck)
    in_circle = [s for s in needed if s.kind is Kind.WAIT and wait in _reached([s], facts, stuck)]
    victim = max(in_circle, key=lambda subject: (facts[subject].since, subject))
    knot = frozenset((fact.subject, fact.state, fact.on, fact.needs) for fact in (facts[subject] for subject in needed))
    return Deadlock(wait, victim, tuple(facts[subject] for subject in cycle), knot)


def confirmed(first: Deadlock | None, second: Deadlock | None) -> bool:
    """Whether what the first verdict rests on held throughout: the facts of the second were asked for later."""
    return first is not None and second is not None and first.knot == second.knot


def chain(start: Subject, facts: Facts) -> list[Fact]:
    """From ``start`` down to what everything waits for, one waiting for the next.

    Where something waits for several, the way leads to what can never end, else to what waits itself.
    A circle ends with the fact that begins it.
    """
    stuck = never_ending(facts)
    found: dict[Subject, Fact] = {}
    at: Subject | None = start
    while at is not None and at in facts:
        fact = facts[at]
        if at in found:
            return [*found.values(), fact]
        found[at] = fact
        at = _most_telling(fact, facts, stuck)
    return list(found.values())


def _most_telling(fact: Fact, facts: Facts, stuck: set[Subject]) -> Subject | None:
    def rank(subject: Subject) -> int:
        known = facts.get(subject)
        if subject in stuck:
            return 0
        if known is None:
            return 3
        return 1 if known.on else 2

    return min(fact.on, key=rank, default=None)


def _way_back(start: Subject, facts: Facts, within: set[Subject]) -> list[Subject]:
    """A shortest way from ``start`` to itself; empty when there is none."""
    came_from: dict[Subject, Subject] = {}
    queue = deque([start])
    while queue:
        at = queue.popleft()
        for other in facts[at].on:
            if other == start:
                way = [at]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if other in within and other not in came_from:
                came_from[other] = at
                queue.append(other)
    return []


def _reached(starts: Iterable[Subject], facts: Facts, within: set[Subject]) -> set[Subject]:
    """Everything within ``within`` that ``starts`` wait for, however indirectly, and themselves."""
    reached = set(starts)
    queue = list(reached)
    while queue:
        for other in facts[queue.pop()].on:
            if other in within and other not in reached:
                reached.add(other)
                queue.append(other)
    return reached
