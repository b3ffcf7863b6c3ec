"""Who has to meet for a collective call, who has come with what, and why a meeting cannot take place.

Plain state, without waiting and clocks. Not here: the actor that keeps it (``rendezvous``), arrays (``group``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

#: Names one meeting among all of a group.
Key = tuple[str | int, ...]


@attrs.frozen
class Offer:
    """What a rank brings to a meeting."""

    to_all: Any = None
    #: Per rank, besides.
    to_each: dict[int, Any] = attrs.field(factory=dict[int, Any])


@attrs.define(eq=False)
class Meeting:
    """One exchange between some ranks. It is settled once all have come or it has failed."""

    participants: frozenset[int]
    #: What those who came want to do, and what they brought.
    arrived: dict[int, tuple[str, Offer]] = attrs.field(factory=dict[int, tuple[str, Offer]])
    failure: str = ""
    timed_out: bool = False
    #: Who has been told how it ended.
    departed: set[int] = attrs.field(factory=set[int])

    @property
    def settled(self) -> bool:
        """Whether nobody has to wait any more."""
        return bool(self.failure) or len(self.arrived) == len(self.participants)

    @property
    def missing(self) -> list[int]:
        """Who has not come."""
        return sorted(self.participants - self.arrived.keys())

    def fail(self, failure: str) -> None:
        """It cannot take place any more; the first reason stays."""
        if not self.settled:
            self.failure = failure

    def answer(self, rank: int) -> dict[int, Any]:
        """What the others (and itself) brought for ``rank``, by giver."""
        return {giver: offer.to_each.get(rank, offer.to_all) for giver, (_, offer) in sorted(self.arrived.items())}


class Meetings:
    """All meetings of a group that are under way."""

    def __init__(self) -> None:
        self._open: dict[Key, Meeting] = {}
        #: Ranks that cannot come any more, and why.
        self.lost: dict[int, str] = {}

    def arrive(self, key: Key, participants: Iterable[int], rank: int, wish: str, offer: Offer) -> Meeting:
        """``rank`` has come to do what ``wish`` says; all others must have the same wish."""
        meeting = self._meeting(key, participants)
        if rank not in meeting.participants:
            meeting.fail(f"rank {rank} is none of the ranks {_listed(meeting.participants)}")
        elif rank in meeting.arrived:
            meeting.fail(f"two processes take part as rank {rank}")
        else:
            for other, (others_wish, _) in meeting.arrived.items():
                if others_wish != wish:
                    meeting.fail(f"the ranks do not agree: rank {other} wants {others_wish}, rank {rank} wants {wish}")
            if not meeting.failure:
                meeting.arrived[rank] = wish, offer
        for missing in meeting.missing:
            if missing in self.lost:
                meeting.fail(self.lost[missing])
        return meeting

    def refuse(self, key: Key, participants: Iterable[int], rank: int, why: str) -> None:
        """``rank`` has come and can do nothing: the others need not wait."""
        meeting = self._meeting(key, participants)
        meeting.fail(f"rank {rank} could not take part: {why}")
        self.depart(key, rank)

    def expire(self, meeting: Meeting, seconds: float) -> None:
        """Those who came have waited long enough."""
        if not meeting.settled:
            wish = next((wish for wish, _ in meeting.arrived.values()), "anything")
            came = _listed(meeting.arrived)
            missing = _listed(meeting.missing, " or ")
            meeting.fail(f"no rank {missing} within {round(seconds, 1):g} s for {wish}, which rank {came} waited for")
            meeting.timed_out = True

    def lose(self, rank: int, why: str) -> None:
        """``rank`` will never come again."""
        self.lost.setdefault(rank, why)
        for meeting in self._open.values():
            if rank in meeting.missing:
                meeting.fail(self.lost[rank])
        for key in list(self._open):
            self._forget_if_over(key)

    def depart(self, key: Key, rank: int) -> None:
        """``rank`` knows how the meeting ended."""
        meeting = self._open.get(key)
        if meeting is not None:
            meeting.departed.add(rank)
            self._forget_if_over(key)

    @property
    def under_way(self) -> int:
        """How many meetings are remembered."""
        return len(self._open)

    def _meeting(self, key: Key, participants: Iterable[int]) -> Meeting:
        meeting = self._open.get(key)
        if meeting is None:
            meeting = self._open[key] = Meeting(frozenset(participants))
        return meeting

    def _forget_if_over(self, key: Key) -> None:
        meeting = self._open[key]
        if meeting.settled and meeting.participants <= meeting.departed | self.lost.keys():
            del self._open[key]


def _listed(ranks: Iterable[int], last: str = " and ") -> str:
    """Like ``0, 1 and 2``."""
    texts = [str(rank) for rank in sorted(ranks)]
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + last + texts[-1] if texts else "none"


__all__ = ("Key", "Meeting", "Meetings", "Offer")
