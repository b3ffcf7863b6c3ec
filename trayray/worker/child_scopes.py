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


class ChildScope:
    """The calls and actors that one call has started and that have not ended. A `Watcher` of these calls."""

    def __init__(self, core: CoreWorker, deadline: float) -> None:
        self._core = core
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
            self._end_next_actor(done)

    def _end_next_actor(self, done: Callable[[], object]) -> None:
        """The youngest: one that was created later may rely on those before it."""
        if not self._actors:
            done()
            return
        actor = self._actors.pop()
        self._core.ends.end_actor(actor, self._core.cleanup_seconds, _REASON, lambda: self._end_next_actor(done))
