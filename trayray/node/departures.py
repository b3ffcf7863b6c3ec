"""Carries out what ``core.leaving`` decides: groups of this node's workers that are on their way out.

Not here: who ends with whom (``core.actor_life``, ``raylet``), what a worker cleans up (``worker.leaving``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from trayray.core.leaving import Action, Ask, Departure, Kill, Limits, Order
from trayray.wire.process_messages import AskCleanup, Exit


@attrs.frozen
class Host:
    """What departures need of their node."""

    send: Callable[[bytes, list[Any]], None]
    kill: Callable[[bytes, str], None]
    #: The worker's turn has come: nobody may use it any more.
    leaves: Callable[[bytes], None]
    #: Tell the driver of the worker's job.
    report: Callable[[bytes, str], None]
    #: Start a child task.
    later: Callable[..., None]


@attrs.define(eq=False)
class Group:
    """Workers that end together."""

    departure: Departure
    reason: str
    #: How long it may take (seconds).
    seconds: float
    #: Set at each change, and replaced.
    changed: trio.Event = attrs.field(factory=trio.Event)

    async def over(self) -> None:
        """Until everybody has left or been killed."""
        while not self.departure.is_over:
            await self.changed.wait()


class Departures:
    """All groups of one node."""

    def __init__(self, host: Host, seconds: float) -> None:
        """``seconds``: what one worker may take."""
        self._host = host
        self.seconds = seconds
        self._groups: dict[bytes, Group] = {}

    def __contains__(self, worker: object) -> bool:
        """Whether the worker is on its way out with others, and has not ended."""
        return worker in self._groups

    def begin(self, members: Iterable[tuple[bytes, int]], reason: str) -> Group:
        """End these workers in their turns, but for those that are on their way out already."""
        new = {worker: turn for worker, turn in members if worker not in self._groups}
        limits = Limits.of(self.seconds, len(new))
        group = Group(Departure(new.items(), limits), reason, limits.total)
        self._groups.update(dict.fromkeys(new, group))
        self._carry_out(group, group.departure.begin(trio.current_time()))
        if not group.departure.is_over:
            self._host.later(self._watch, group)
        return group

    def answered(self, worker: bytes, due: bool) -> bool:
        """A worker says whether it has anything to clean up; False when nobody has asked."""
        group = self._groups.get(worker)
        if group is None:
            return False
        self._carry_out(group, group.departure.answered(worker, due, trio.current_time()))
        return True

    def ended(self, worker: bytes) -> None:
        """A worker's process is gone."""
        group = self._groups.pop(worker, None)
        if group is not None:
            self._carry_out(group, group.departure.ended(worker, trio.current_time()))

    async def over(self) -> None:
        """Until no worker is cleaning up any more."""
        while groups := {group for group in self._groups.values() if not group.departure.is_over}:
            await groups.pop().over()

    async def _watch(self, group: Group) -> None:
        while (deadline := group.departure.next_deadline) is not None:
            with trio.move_on_at(deadline):
                await group.changed.wait()
            if trio.current_time() >= deadline:
                self._carry_out(group, group.departure.tick(trio.current_time()))

    def _carry_out(self, group: Group, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Ask(worker):
                    self._host.send(worker, [AskCleanup()])
                case Order(worker, seconds):
                    self._host.leaves(worker)
                    self._host.send(worker, [Exit(group.reason, seconds)])
                case Kill(worker, late):
                    self._host.leaves(worker)
                    if late:
                        self._host.report(worker, self._too_late(group))
                    self._host.kill(worker, group.reason)
        group.changed.set()
        group.changed = trio.Event()

    def _too_late(self, group: Group) -> str:
        return (
            f"killed while it was cleaning up or waiting for its turn: a process may take {self.seconds:g} s, all that "
            f"end together {group.seconds:g} s (TRAYRAY_SHUTDOWN_SECONDS={self.seconds:g})"
        )
