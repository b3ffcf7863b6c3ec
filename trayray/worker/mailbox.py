"""The room for unfinished calls that one process has at an actor with ``max_pending_calls``.

Whether there is room is known here: the limit is one of each caller. A call that there is none for is refused, waits in
its thread, or is awaited by a Trio program before it is made.
Not here: which calls are unfinished (``core.call_ledger``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sized
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from trayray.exceptions import PendingCallsLimitExceeded
from trayray.worker.cancelling import may_be_interrupted
from trayray.worker.parking import Loop, runs_loop

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker


class Mailbox:
    """What one process may have at one actor. Any thread may use it; guarded by `CoreWorker.state_lock`."""

    def __init__(self, core: CoreWorker, actor_id: bytes, calls: Sized) -> None:
        """``calls`` are the unfinished ones that have reached the loop."""
        self._core = core
        self._actor_id = actor_id
        self._calls = calls
        #: Calls of an actor with a limit that are on their way from the threads that make them.
        self.handed_over = 0
        #: Who is told when a call has finished.
        self.waiting: list[Callable[[], object]] = []

    def reserve(self, limit: int, class_name: str, *, waits: bool) -> None:
        """Count a call that is about to be submitted; ``waits``: blocks the calling thread until there is room.

        Raises:
            PendingCallsLimitExceeded: ``limit`` calls are unfinished, and the thread does not wait, or must not: it
                runs an event loop.
            RayError: this process's part of the cluster has ended meanwhile.
        """
        while not self._reserve(limit):
            if not waits:
                raise self._refusal(limit, class_name, "Get some results first.")
            if self._core.in_loop or runs_loop():
                raise self._refusal(
                    limit,
                    class_name,
                    "pending_calls_policy='wait' would block the event loop that runs in this thread: make the call "
                    "with `await trayray.call(actor.method, ...)`, which waits for room without that.",
                )
            self._wait(limit)

    def _reserve(self, limit: int) -> bool:
        with self._core.state_lock:
            free = self._is_free(limit)
            self.handed_over += free
            return free

    def _is_free(self, limit: int) -> bool:
        return self._core.closed is not None or len(self._calls) + self.handed_over < limit

    def _refusal(self, limit: int, class_name: str, advice: str) -> PendingCallsLimitExceeded:
        unfinished = len(self._calls) + self.handed_over
        return PendingCallsLimitExceeded(
            f"The actor {class_name} ({self._actor_id.hex()}) has {unfinished} calls of this process that have not "
            f"finished; max_pending_calls={limit}. {advice}"
        )

    def _wait(self, limit: int) -> None:
        changed = threading.Event()
        executor = self._core.executor
        pausing = executor.waiting if executor is not None and executor.lends_in_this_thread() else nullcontext
        with self._watching(limit, changed.set) as waits:
            if waits:
                with pausing():
                    _wait(changed)

    async def room(self, limit: int) -> None:
        """Wait in an event loop until there is room for a call, which is to be made at once then.

        `reserve` may refuse it all the same, when another thread was quicker.
        """
        while not self._is_free(limit):
            parking = Loop.here().parking()
            with self._watching(limit, parking.wake) as waits:
                if waits:
                    await parking.wait()

    @contextmanager
    def _watching(self, limit: int, wake: Callable[[], object]) -> Generator[bool]:
        with self._core.state_lock:
            waits = not self._is_free(limit)
            if waits:
                self.waiting.append(wake)
        try:
            yield waits
        finally:
            with self._core.state_lock:
                if wake in self.waiting:
                    self.waiting.remove(wake)

    def freed(self) -> None:
        """A call has finished; under the lock."""
        waiting, self.waiting = self.waiting, []
        for wake in waiting:
            wake()


@may_be_interrupted
def _wait(changed: threading.Event) -> None:
    changed.wait()
