"""Threads that have waited in ``get`` or ``wait`` for a while: which they are, what they wait for, how they are woken.

Most values arrive sooner than a thread is noted here. A call that waits without a timeout is looked after: when it
turns out that it waits for itself, it ends with `DeadlockError`.
Not here: what the values wait for in their turn (``explaining``).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from trayray.worker.current import actor_self, running

if TYPE_CHECKING:
    from trayray.exceptions import DeadlockError
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.references import ObjectRef, ThreadWaiter

#: Whoever waits for less than this is not noted (seconds).
NOTED_AFTER_SECONDS: Final = 0.5
#: Pauses between two looks at a wait: the first, and the longest (seconds).
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0


class BlockedWait:
    """One thread in ``get`` or ``wait``."""

    __slots__ = ("asking", "call", "error", "name", "number", "refs", "since", "timed", "waiter", "whole_process")

    def __init__(
        self, number: int, waiter: ThreadWaiter, refs: Sequence[ObjectRef[Any]], since: float, *, timed: bool
    ) -> None:
        self.number = number
        self.waiter = waiter
        self.refs = refs
        #: When it began, by this machine's clock.
        self.since = since
        #: It ends by itself after a while.
        self.timed = timed
        #: The call whose thread this is, and its name. Empty in drivers and in threads that user code has started.
        self.call = b""
        self.name = ""
        #: It is the thread that all calls of the process need.
        self.whole_process = False
        #: An inquiry is under way (loop thread).
        self.asking = False
        #: Why it is given up.
        self.error: DeadlockError | None = None

    @property
    def missing(self) -> list[ObjectRef[Any]]:
        """What has no value yet."""
        return [ref for ref in self.refs if ref._value is None]


class Waits:
    """The waits of one process."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._numbers = itertools.count(1)
        #: By number. Entries are made and removed by the waiting threads.
        self.blocked: dict[int, BlockedWait] = {}

    def wait(self, waiter: ThreadWaiter, timeout: float | None, refs: Sequence[ObjectRef[Any]]) -> bool:
        """`ThreadWaiter.wait` in the calling thread, noted once it takes a while.

        Raises:
            DeadlockError: what is waited for waits for the calling thread.
        """
        first = NOTED_AFTER_SECONDS if timeout is None else min(timeout, NOTED_AFTER_SECONDS)
        if waiter.wait(first):
            return True
        if timeout is not None and timeout <= first:
            return False
        deadline = None if timeout is None else time.monotonic() + timeout - first
        since = time.monotonic() - first
        wait = BlockedWait(next(self._numbers), waiter, refs, since, timed=timeout is not None)
        self._identify(wait)
        self.blocked[wait.number] = wait
        try:
            return self._wait_noted(wait, deadline)
        finally:
            del self.blocked[wait.number]

    def _wait_noted(self, wait: BlockedWait, deadline: float | None) -> bool:
        if deadline is not None:
            return wait.waiter.wait(deadline - time.monotonic())
        if not wait.call and not wait.whole_process:
            return wait.waiter.wait(None)
        pause = _FIRST_PAUSE
        while True:
            self._core.call_soon(self.look_at, wait.number)
            if wait.waiter.wait(pause):
                break
            pause = min(2 * pause, _LONGEST_PAUSE)
        if wait.error is not None:
            raise wait.error
        return True

    def _identify(self, wait: BlockedWait) -> None:
        executor, task = self._core.executor, running.get()
        if executor is None:
            return
        if executor.is_main_thread():
            wait.whole_process = True
            wait.call = b"" if task is None else task.task_id
        elif task is not None:
            pooled = executor.pooled.get(task.task_id)
            if pooled is not None and pooled.thread == threading.get_ident():
                wait.call = task.task_id
        actor = actor_self()
        wait.name = task.name if task is not None else "" if actor is None else actor.class_name

    def look_at(self, number: int) -> None:
        """Find out whether a wait can ever end; in the loop's thread."""
        wait = self.blocked.get(number)
        if wait is not None and not wait.asking and not wait.timed:
            wait.asking = True
            self._core.nursery.start_soon(self._core.explaining.inquire, wait)

    def give_up(self, wait: BlockedWait, error: DeadlockError) -> None:
        """End a wait with ``error``, unless its values have come meanwhile."""
        table = self._core.references
        with table.lock:
            if wait.waiter.remaining > 0:
                wait.error = error
                wait.waiter.abandon()
        for ref in wait.refs:
            table.remove_waiter(ref, wait.waiter)
