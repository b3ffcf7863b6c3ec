"""What a call has started: a call that somebody answers for ends after it, as a nursery ends after its children.

When a function has returned, what it has started is waited for; when it has raised or was cancelled, it is cancelled
first. Actors that a function has created end with it. A method's actor keeps what the method has started and returned
with: it ends with the actor at the latest.

Not here: cancelling (``cancel_ladder``), the caller's side (``native``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trayray.worker.pending_task import PendingTask

if TYPE_CHECKING:
    from trayray.wire.values import Value
    from trayray.worker.core_worker import CoreWorker

_REASON: Final = "the call that created it has ended"
#: All actors that end with one call have so many times what one may take; who has not ended then is killed.
_SHARES: Final = 2


class ChildScope:
    """The calls and actors that one call has started and that have not ended. A `Watcher` of these calls."""

    def __init__(self, core: CoreWorker, deadline: float, *, keeps: bool) -> None:
        """``keeps``: what is started may outlive the call, whose code an actor has run."""
        self._core = core
        self._keeps = keeps
        #: The moment (of `CoreWorker.now`) at which the call is to have ended; infinite for none.
        self.deadline = deadline
        self._lock = threading.Lock()
        self._calls: set[PendingTask] = set()
        #: In the order of their creation.
        self._actors: list[bytes] = []
        self._when_empty: Callable[[], object] | None = None
        self._ends_actors = False

    @property
    def is_open(self) -> bool:
        """Whether anything has not ended."""
        return bool(self._calls or self._actors)

    # --- what is started; in the thread that starts it ---

    def add(self, call: PendingTask) -> None:
        """The call has made another one."""
        call.watcher = self
        call.deadline = self.deadline
        if self._keeps:
            call.keeper = self
        with self._lock:
            self._calls.add(call)

    def add_actor(self, actor: bytes) -> None:
        """The call has created an actor that is not detached."""
        self._actors.append(actor)

    def leave_actors(self) -> None:
        """They belong to somebody who goes on."""
        self._actors.clear()

    # --- `Watcher` ---

    def ended(self, call: PendingTask) -> None:
        self._core.ends.after(call, lambda: self._gone(call))

    def started(self, call: PendingTask, value: Value) -> bool:
        return False

    def _gone(self, call: PendingTask) -> None:
        with self._lock:
            self._calls.discard(call)
            told = None if self._calls else self._when_empty
        if told is not None:
            told()

    # --- the end ---

    def close(self, *, cancel: bool, done: Callable[[], object]) -> None:
        """Call ``done`` once everything has ended; ``cancel``: end it now. From any thread; ``done`` in the loop's."""
        if cancel:
            self._core.call_soon(self._cancel)
        with self._lock:
            self._when_empty = lambda: self._core.call_soon(self._end_actors, done)
            waits = bool(self._calls)
        if not waits:
            self._when_empty()

    def _cancel(self) -> None:
        """In the loop's thread."""
        core = self._core
        with core.state_lock:
            for call in list(self._calls):
                core.cancel_call(call, force=False, recursive=True)
            core.flush()

    def _end_actors(self, done: Callable[[], object]) -> None:
        """Once everything else has ended; what threads of the user's start after that belongs to nobody."""
        if not self._ends_actors:
            self._ends_actors = True
            self._end_next_actors(done, self._core.now() + _SHARES * self._core.cleanup_seconds)

    def _end_next_actors(self, done: Callable[[], object], until: float) -> None:
        """The youngest first: one that was created later may rely on those before it."""
        while self._actors:
            actor = self._actors.pop()
            seconds = min(self._core.cleanup_seconds, max(0.0, until - self._core.now()))
            # Whoever comes second goes on: the answer, which comes at once where the node is gone, or this loop.
            first = threading.Lock()

            def gone(first: threading.Lock = first) -> None:
                if not first.acquire(blocking=False):
                    self._end_next_actors(done, until)

            self._core.ends.end_actor(actor, seconds, _REASON, gone)
            if first.acquire(blocking=False):
                return
        done()
