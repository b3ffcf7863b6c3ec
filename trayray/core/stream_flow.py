"""How far one end of a bidirectional stream may go: credit for what it sends, and where what it receives ends.

    sending:    OPEN -> ENDED (it said that no more comes)      either: -> OVER (the call, or its caller, has ended)
    receiving:  OPEN -> ENDED (the other end said so, and everything before has been taken)

At most ``window`` items that one end has sent wait to be taken at the other one. The caller's end has no credit until
the method has begun, so that a call that never begins has nothing waiting for it.
Not here: the items, whoever waits (``worker.stream_endpoint``), messages.
"""

from __future__ import annotations

import enum


class Sending(enum.Enum):
    """What an end may do that wants to send."""

    GO = enum.auto()
    #: The other end has not taken enough yet.
    WAIT = enum.auto()
    #: This end has said that it sends no more.
    ENDED = enum.auto()
    #: Nobody will ever take it.
    OVER = enum.auto()


class Receiving(enum.Enum):
    """What an end may do that wants to receive."""

    TAKE = enum.auto()
    #: Nothing is there yet.
    WAIT = enum.auto()
    #: All that the other end has sent before its end was taken.
    ENDED = enum.auto()
    #: All that has come was taken, and the other end has not said that this was all.
    OVER = enum.auto()


class StreamFlow:
    """One end of a stream."""

    def __init__(self, window: int, *, opened: bool) -> None:
        """``opened``: the other end is there and has room from the beginning, as the caller's has."""
        assert window >= 1, "a stream without room for an item would never move"
        self._window = window
        #: How often it has sent, and may have sent.
        self._sent = 0
        self._allowed = window if opened else 0
        self._ended = False
        #: What has come, was taken, and was said to have been taken.
        self._arrived = 0
        self._taken = 0
        self._reported = 0
        #: How much the other end sends in all, once it has said so.
        self._total: int | None = None
        self._over = False

    # --- sending ---

    def sending(self) -> Sending:
        """What this end may do now."""
        if self._ended:
            return Sending.ENDED
        if self._over:
            return Sending.OVER
        return Sending.GO if self._sent < self._allowed else Sending.WAIT

    def send(self) -> None:
        """An item goes, for which `sending` has said that it may."""
        assert self.sending() is Sending.GO, "an item was sent without credit"
        self._sent += 1

    def take_back(self) -> None:
        """The last item did not go after all."""
        self._sent -= 1

    def end(self) -> int:
        """This end sends no more; what it has sent in all. Idempotent."""
        self._ended = True
        return self._sent

    @property
    def is_open(self) -> bool:
        """Whether the other end is there."""
        return self._allowed > 0

    @property
    def has_ended(self) -> bool:
        """Whether this end has said that it sends no more."""
        return self._ended

    def credit(self, taken: int) -> None:
        """The other end has taken so many in all; 0 is news too: it is there. What comes late, or again, does no
        harm."""
        self._allowed = max(self._allowed, taken + self._window)

    # --- receiving ---

    def receiving(self) -> Receiving:
        """What this end may do now."""
        if self._taken < self._arrived:
            return Receiving.TAKE
        if self._total is not None and self._arrived >= self._total:
            return Receiving.ENDED
        return Receiving.OVER if self._over else Receiving.WAIT

    def arrive(self) -> None:
        """An item has come."""
        self._arrived += 1
        assert self._arrived - self._reported <= self._window, "the other end has sent without credit"

    def take(self) -> bool:
        """An item is taken; whether the other end has to hear of it now.

        It hears of half a window at a time. It is never left waiting for news of the rest: that would need a whole
        window which was taken and not reported.
        """
        assert self._taken < self._arrived, "an item was taken that has not come"
        self._taken += 1
        return self._taken - self._reported >= max(1, self._window // 2)

    def report(self) -> int:
        """How much has been taken in all; the other end is being told."""
        self._reported = self._taken
        return self._taken

    def other_ended(self, total: int) -> None:
        """The other end has sent so many in all, and sends no more."""
        self._total = total

    # --- the end ---

    @property
    def is_over(self) -> bool:
        """Whether nothing goes to and fro any more."""
        return self._over

    def finish(self) -> None:
        """Nothing goes to and fro any more; what has come may still be taken. Idempotent."""
        self._over = True

    @property
    def waiting(self) -> int:
        """How many items have come and were not taken."""
        return self._arrived - self._taken

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        assert 0 <= self._sent <= self._allowed, "more was sent than allowed"
        assert 0 <= self._reported <= self._taken <= self._arrived, "what was taken has not come"
        assert self.waiting <= self._window, "more waits than the window holds"
        assert self._taken - self._reported < max(1, self._window // 2) or self._over, "news is overdue"
