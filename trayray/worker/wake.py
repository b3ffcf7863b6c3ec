"""An event that a Trio task waits for and any thread may set."""

from __future__ import annotations

import threading

import trio


class Wake:
    """Made by the task that waits, in whose loop it is; nothing happens when that loop has ended meanwhile."""

    __slots__ = ("_event", "_thread", "_token", "is_set", "wait")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self.wait = self._event.wait
        self.is_set = self._event.is_set

    def set(self) -> None:
        """Wake who waits: at once in the loop's own thread, soon from any other."""
        if threading.get_ident() == self._thread:
            self._event.set()
            return
        try:
            self._token.run_sync_soon(self._event.set, idempotent=True)
        except trio.RunFinishedError:
            return
