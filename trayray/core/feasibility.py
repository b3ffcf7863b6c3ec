"""Requests that no node can ever meet, or that others hold up: the facts, and the sentences that tell them.

Not here: who gets a lease (``leases``), who is told (``node.waiting``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

import attrs

from trayray.model.resources import ResourceSet

K = TypeVar("K", bound=Hashable)

#: The second time that a wait is told of is so many times later than the first, and so on.
_RARER = 6.0
#: No more holders than this are named in a sentence.
_MOST_NAMED = 5


@attrs.frozen
class Nearest:
    """The node that comes closest to a request that it cannot meet."""

    node: str
    #: What it has in all of what is asked for, and what is missing.
    has: ResourceSet
    lacks: ResourceSet


@attrs.frozen
class Holder:
    """Who holds resources: a task's function or an actor's class, and its process (0: none)."""

    name: str
    pid: int
    held: ResourceSet


def nearest_node(request: ResourceSet, nodes: Mapping[str, ResourceSet]) -> Nearest | None:
    """The node whose total comes closest to ``request``: fewest kinds missing, then the smallest missing share.

    None when a node could meet it, or there is no node.
    """
    best: tuple[tuple[int, float, str], Nearest] | None = None
    for name, total in nodes.items():
        lacks = missing(request, total)
        if lacks.is_empty():
            return None
        share = sum(lacks.units(kind) / request.units(kind) for kind in lacks)
        found = (len(lacks), share, name), Nearest(name, of_kinds(total, request), lacks)
        if best is None or found[0] < best[0]:
            best = found
    return None if best is None else best[1]


def missing(request: ResourceSet, there: ResourceSet) -> ResourceSet:
    """What ``there`` lacks of ``request``."""
    return ResourceSet.from_units({kind: max(0, request.units(kind) - there.units(kind)) for kind in request})


def of_kinds(amounts: ResourceSet, kinds: Iterable[str]) -> ResourceSet:
    """The part of ``amounts`` that is of these kinds."""
    return ResourceSet.from_units({kind: amounts.units(kind) for kind in kinds})


def infeasible_text(what: str, request: ResourceSet, nearest: Nearest) -> str:
    """A request that no node can meet; ``what`` asks."""
    return (
        f"{what} asks for {described(request)}, which no node of the cluster has; the nearest, {nearest.node}, has "
        f"{described(nearest.has, request)}: {described(nearest.lacks)} too little."
    )


def shortage_text(request: ResourceSet, free: ResourceSet, holders: Iterable[Holder]) -> str:
    """Why a request waits that a node could meet: sentences about "it"."""
    needs = f"It needs {described(request)}"
    if free.covers(request):
        return f"{needs}, which is free: a worker process is starting, or others are served before it."
    return f"{needs}, free is {described(of_kinds(free, request), request)}. {held_by(holders, request)}"


def held_by(holders: Iterable[Holder], request: ResourceSet) -> str:
    """Who holds what is asked for, the largest first, as a sentence."""
    alike: dict[tuple[str, ResourceSet], list[int]] = {}
    for holder in holders:
        held = of_kinds(holder.held, request)
        if not held.is_empty():
            alike.setdefault((holder.name, held), []).append(holder.pid)
    if not alike:
        return "Nobody holds any of it."
    ranked = sorted(
        alike.items(), key=lambda item: (-len(item[1]) * max(map(item[0][1].units, item[0][1])), item[0][0])
    )
    named = [_several(name, held, pids) for (name, held), pids in ranked[:_MOST_NAMED]]
    left = sum(len(pids) for _, pids in ranked[_MOST_NAMED:])
    return f"Held by {', '.join(named)}{f' and {left} more' if left else ''}."


def _several(name: str, held: ResourceSet, pids: list[int]) -> str:
    if len(pids) == 1:
        return f"{name} (pid {pids[0]}): {described(held)}" if pids[0] else f"{name}: {described(held)}"
    first = ", ".join(map(str, pids[:_MOST_NAMED]))
    return f"{len(pids)} x {name} (pids {first}{', ...' if len(pids) > _MOST_NAMED else ''}): {described(held)} each"


def described(amounts: ResourceSet, kinds: Iterable[str] = ()) -> str:
    """Amounts as users write them: `{"CPU": 1, "GPU": 0.5}`; those of ``kinds`` also when they are zero."""
    shown = {**dict.fromkeys(kinds, 0.0), **amounts.to_dict()}
    return "{" + ", ".join(f'"{kind}": {_number(amount)}' for kind, amount in shown.items()) + "}"


def _number(amount: float) -> str:
    return str(int(amount)) if amount == int(amount) else f"{amount:.4f}".rstrip("0")


@attrs.define
class _Wait:
    since: float
    #: What has been granted to it so far: more means that it is a wait no longer.
    granted: int
    #: When its user is told.
    due: float


class Patience(Generic[K]):
    """Which waits have lasted so long that their user is told: at first after ``seconds``, then ever more rarely."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: dict[K, _Wait] = {}

    def look(self, now: float, waiting: Mapping[K, int]) -> dict[K, float]:
        """Those of the present waits that are to be told of now, with how long they have lasted (seconds).

        Args:
            now: seconds of any clock.
            waiting: all waits there are, and how much each has been granted since its beginning.
        """
        for key in self._waits.keys() - waiting.keys():
            del self._waits[key]
        told: dict[K, float] = {}
        for key, granted in waiting.items():
            wait = self._waits.get(key)
            if wait is None or wait.granted != granted:
                self._waits[key] = _Wait(now, granted, now + self._seconds)
            elif now >= wait.due:
                told[key] = now - wait.since
                wait.due = now + (_RARER - 1) * max(told[key], self._seconds)
        return told
