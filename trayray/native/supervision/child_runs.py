"""One start of a child of a supervisor, from the start to the end; and what a child needs to be.

Not here: the kinds of children (``actors``, ``calls``, ``service``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import trio

from trayray.core.supervised_children import Exit, ExitKind
from trayray.model.supervision import Shutdown

#: "infinity", for those who must be given a number (seconds; three years).
FOREVER: Final = 1e8

STOPPED: Final = Exit(ExitKind.SHUTDOWN, "it was stopped by its supervisor")


def described(error: BaseException) -> str:
    """An exception in a sentence: its type and the first line of its text."""
    try:
        text = str(error).partition("\n")[0]
    except Exception:  # noqa: BLE001 -- the user's class cannot say it
        text = "its text cannot be had"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class ChildRun:
    """One start of a child, as the child sees it: it reports that it has started, and is told to stop."""

    def __init__(self, started: Callable[[], None]) -> None:
        self._started = started
        self.has_started = False
        #: Why it is to stop; empty while it is not.
        self.reason = ""
        #: What it may take for that (seconds).
        self.seconds = FOREVER
        self.stopping = trio.Event()
        #: There is no more time.
        self.killed = trio.Event()

    def started(self) -> None:
        """The child runs. Idempotent."""
        if not self.has_started:
            self.has_started = True
            self._started()

    def stop(self, shutdown: Shutdown, reason: str) -> None:
        """Tell the child to end."""
        self.reason = reason
        self.stopping.set()
        if shutdown == "brutal_kill":
            self.kill()
        elif shutdown != "infinity":
            self.seconds = min(self.seconds, float(shutdown))
            if self.seconds <= 0:
                self.kill()

    def kill(self) -> None:
        """End the child at once; it was told to stop before."""
        self.seconds = 0.0
        self.killed.set()


class Supervised(Protocol):
    """A child of a supervisor over all its starts."""

    @property
    def handle(self) -> Any:
        """What the user has of it; stays the same over restarts where that is possible."""
        ...

    async def live(self, run: ChildRun) -> Exit:
        """Start, and be until the end: by itself, or because it is told to stop. Not cancelled otherwise."""
        ...

    async def close(self) -> None:
        """It will not be started again; it is not running."""
        ...
