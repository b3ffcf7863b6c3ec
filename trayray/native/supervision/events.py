"""What supervisors tell those who want to know: events, kept for each reader up to a bound.

Not here: who makes them (``service``), the state of a tree (``report``).
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

EventKind: TypeAlias = Literal[
    "started", "start_failed", "exited", "stopped", "restarting", "deleted", "gave_up", "ended", "dropped"
]

#: Events that a reader has not taken: with more, the oldest are dropped.
MAX_EVENTS: Final = 1000

logger = logging.getLogger("trayray.supervision")


@attrs.frozen
class SupervisorEvent:
    """Something that has happened in a supervision tree.

    ``kind``: a child has "started", could not be started ("start_failed"), has ended by itself ("exited") or because it
    was told to ("stopped"), is being started again ("restarting"), was forgotten ("deleted"); a supervisor "gave_up" or
    has "ended" otherwise; events were "dropped", because they were not taken.
    """

    kind: EventKind
    #: The child, with the supervisors above it: "pool/worker-1". The root's is empty.
    path: str
    #: Why: a sentence without a stop.
    reason: str = ""
    #: When (seconds since the epoch).
    time: float = attrs.field(factory=time.time)
    #: How often the child has been started again; of "dropped", how many events.
    count: int = 0

    def __str__(self) -> str:
        return (
            f"{self.path or 'the supervisor'} {self.kind.replace('_', ' ')}{': ' if self.reason else ''}{self.reason}"
        )


class EventReader:
    """The events that one reader has not taken."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """``wake`` is called when there is something to take, in the supervisor's thread."""
        self._wake = wake
        self._events: deque[SupervisorEvent] = deque()
        self._dropped = 0
        self.closed = False
        self._lock = threading.Lock()

    def put(self, event: SupervisorEvent) -> None:
        with self._lock:
            self._events.append(event)
            if len(self._events) > MAX_EVENTS:
                self._events.popleft()
                self._dropped += 1
        self._wake()

    def close(self) -> None:
        """Nothing follows."""
        self.closed = True
        self._wake()

    def take(self) -> SupervisorEvent | None:
        """The oldest event; None for none."""
        with self._lock:
            if self._dropped:
                event = SupervisorEvent("dropped", "", f"{self._dropped} events were not taken", count=self._dropped)
                self._dropped = 0
                return event
            return self._events.popleft() if self._events else None


class Events:
    """The events of one tree."""

    def __init__(self) -> None:
        #: Held by those who read; one that nobody holds is gone.
        self._readers: weakref.WeakSet[EventReader] = weakref.WeakSet()
        self._closed = False

    def emit(self, event: SupervisorEvent) -> None:
        """Tell all readers; nobody is restarted without a line in the log."""
        if event.kind in ("restarting", "gave_up"):
            logger.warning("%s", event)
        for reader in list(self._readers):
            reader.put(event)

    def add(self, reader: EventReader) -> None:
        """``reader`` hears of everything from now on."""
        self._readers.add(reader)
        if self._closed:
            reader.close()

    def close(self) -> None:
        """The tree has ended."""
        self._closed = True
        for reader in list(self._readers):
            reader.close()
