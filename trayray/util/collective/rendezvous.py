"""The actor where the ranks of a group meet. One per group; it lives until all ranks have left.

Not here: what a meeting is (``meetings``), the ranks' side (``group``).
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import attrs
import trio

from trayray.util.collective.meetings import Key, Meeting, Meetings, Offer
from trayray.worker.current import core_worker

#: How often a meeting that waits looks whether the missing ranks still live (seconds).
_LOOK_SECONDS = 0.2


@attrs.frozen
class Answer:
    """How a meeting ended, for one rank."""

    #: Why it failed; empty if it did not.
    failure: str = ""
    timed_out: bool = False
    #: What the ranks brought, by giver.
    brought: dict[int, object] = attrs.field(factory=dict[int, object])


class Rendezvous:
    """Meetings of one group, for callers that wait."""

    def __init__(self) -> None:
        self._meetings = Meetings()
        #: Addresses of the members' processes; empty until all of them have come.
        self._members: dict[int, str] = {}
        self._attempt = 0
        #: Why the attempt before this one failed.
        self._earlier = ""
        self._somebody_left = trio.Event()
        #: Set once the meeting is settled.
        self._events: WeakKeyDictionary[Meeting, trio.Event] = WeakKeyDictionary()

    async def join(self, rank: int, world_size: int, address: str, seconds: float) -> Answer:
        """Become a member of the group; waits for all others, and for those of an earlier group to leave it."""
        deadline = trio.current_time() + seconds
        while rank in self._meetings.lost and self._remaining() and trio.current_time() < deadline:
            with trio.move_on_after(_LOOK_SECONDS):  # a rank that dies instead of leaving tells nobody
                await self._somebody_left.wait()
        if self._members and not self._remaining():
            self._begin_again("")
        if self._members:
            return Answer(
                f"its {len(self._members)} ranks are complete already; destroy the group on all of them before it is "
                "created again"
            )
        key = ("join", self._attempt)
        wish = f"a group of {world_size}"
        meeting = self._meetings.arrive(key, range(world_size), rank, wish, Offer(address))
        earlier = f" (before that: {self._earlier})" if self._earlier else ""
        await self._settle(meeting, deadline - trio.current_time())
        self._meetings.depart(key, rank)
        if key == ("join", self._attempt):  # the first of the ranks to go on
            if meeting.failure:
                self._begin_again(meeting.failure)
            elif not self._members:
                self._members = {member: str(offer.to_all) for member, (_, offer) in meeting.arrived.items()}
        if meeting.failure:
            return Answer(meeting.failure + earlier, meeting.timed_out)
        return Answer()

    async def meet(
        self, key: Key, participants: list[int], rank: int, wish: str, offer: Offer, seconds: float
    ) -> Answer:
        """Give ``offer`` and take what the others offer; waits for them."""
        meetings = self._meetings
        meeting = meetings.arrive(key, participants, rank, wish, offer)
        await self._settle(meeting, seconds)
        meetings.depart(key, rank)
        if meeting.failure:
            return Answer(meeting.failure, meeting.timed_out)
        return Answer(brought=meeting.answer(rank))

    async def refuse(self, key: Key, participants: list[int], rank: int, why: str) -> None:
        """Tell the others that ``rank`` cannot do its part."""
        self._meetings.refuse(key, participants, rank, why)
        self._announce()

    async def leave(self, rank: int) -> bool:
        """``rank`` has destroyed its part of the group; whether all have, so that nobody needs this actor any more."""
        self._meetings.lose(rank, f"rank {rank} has destroyed its part of the group")
        self._announce()
        self._somebody_left.set()
        self._somebody_left = trio.Event()
        return not self._remaining()

    async def _settle(self, meeting: Meeting, seconds: float) -> None:
        deadline = trio.current_time() + seconds
        event = self._events.setdefault(meeting, trio.Event())
        self._announce()
        while not meeting.settled:
            with trio.move_on_after(min(_LOOK_SECONDS, max(0.0, deadline - trio.current_time()))):
                await event.wait()
            self._look_for_the_dead(meeting)
            if trio.current_time() >= deadline:
                self._meetings.expire(meeting, seconds)
            self._announce()

    def _announce(self) -> None:
        """Let those go on whose meeting has been settled."""
        for meeting, event in list(self._events.items()):
            if meeting.settled:
                event.set()

    def _look_for_the_dead(self, meeting: Meeting) -> None:
        core = core_worker()
        assert core is not None
        members = self._members or {rank: str(offer.to_all) for rank, (_, offer) in meeting.arrived.items()}
        for rank, address in members.items():
            if rank not in self._meetings.lost and core.references.is_gone(address):
                why = f"the process of rank {rank} has died"
                if self._members:
                    self._meetings.lose(rank, why)
                else:
                    meeting.fail(why)

    def _remaining(self) -> set[int]:
        core = core_worker()
        assert core is not None
        gone = {rank for rank, address in self._members.items() if core.references.is_gone(address)}
        return self._members.keys() - self._meetings.lost.keys() - gone

    def _begin_again(self, failure: str) -> None:
        self._attempt += 1
        self._earlier = failure
        self._members = {}
        self._meetings = Meetings()


__all__ = ("Answer", "Rendezvous")
