"""User code of one call after the other in a worker's thread that is not the main thread of its process.

Such a thread cannot be reached by signals: an exception is raised in it, and what it waits for in the runtime (``get``,
``wait``) is ended so that it notices.
Not here: one call's code (`cancelling.ThreadRegion`), a main thread's (`cancelling.MainRegion`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from trayray.worker.cancelling import ThreadRegion
from trayray.worker.references import ThreadWaiter
from trayray.worker.thread_calls import ThreadCall

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

_WAITS_FOR_VALUES = ThreadWaiter.wait.__code__
_WAITS_FOR_LOOP = ThreadCall[Any].wait.__code__


class ThreadRegions:
    """See `CallRegions`."""

    def __init__(self, core: CoreWorker) -> None:
        self.interrupted = b""
        self._core = core
        self._thread = 0
        #: Guards what follows.
        self._lock = threading.Lock()
        #: The region of the call that was entered last, and those of calls that are to be interrupted.
        self._regions: dict[bytes, ThreadRegion] = {}
        self._current = b""

    def run(self, task: bytes, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """See `Region.run`."""
        self._thread = threading.get_ident()
        region = self._of(task, entered=True)
        try:
            return region.run(task, function, args, kwargs)
        finally:
            if region.interrupted == task:
                self.interrupted = task

    def _of(self, task: bytes, *, entered: bool = False) -> ThreadRegion:
        with self._lock:
            region = self._regions.get(task)
            if region is None:
                region = self._regions[task] = ThreadRegion()
            if entered and self._current != task:
                self._regions.pop(self._current, None)
                self._current = task
            return region

    def want(self, task: bytes) -> bool:
        """See `CallRegions.want`."""
        return self._of(task).want()

    async def interrupt(self, task: bytes) -> None:
        """See `CallRegions.interrupt`."""
        with self._lock:
            region = self._regions.get(task)
        if region is not None:
            await region.interrupt()
            end_wait(self._core, self._thread)

    def ended(self, task: bytes) -> None:
        """See `CallRegions.ended`."""
        with self._lock:
            region = self._regions.pop(task, None)
        if region is not None:
            region.ended()


def end_wait(core: CoreWorker, thread: int) -> None:
    """If ``thread``, in which an exception was raised, waits in the runtime, let it go on, so that it meets that."""
    frame: FrameType | None = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code is _WAITS_FOR_VALUES:
            waiter: ThreadWaiter = frame.f_locals["self"]
            with core.references.lock:
                if waiter.remaining > 0:
                    waiter.abandon()
            return
        if frame.f_code is _WAITS_FOR_LOOP:
            call: ThreadCall[Any] = frame.f_locals["self"]
            call.refuse(KeyboardInterrupt())
            return
        frame = frame.f_back
