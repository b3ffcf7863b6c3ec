"""References in the order in which their values arrive, however many there are, at a constant cost for each.

Not here: values (``objects``), who shows or returns them (``util``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trayray.worker.references import ObjectRef, ThreadWaiter

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker


class Arrivals:
    """Waits for many references. One thread adds and takes them; `close` it when it stops before all were taken."""

    def __init__(self, core: CoreWorker, refs: Sequence[ObjectRef[Any]]) -> None:
        self._core = core
        #: Those without a value, and some that were taken already.
        self._refs = list(refs)
        self._taken = 0
        self._arrived: deque[ObjectRef[Any]] = deque()
        #: The thread that takes, while it waits.
        self._sleeper: ThreadWaiter | None = None
        with core.references.lock:
            missing = [ref for ref in refs if core.references.add_waiter(ref, self)]
            self._arrived.extend(ref for ref in refs if ref._value is not None)
        core.objects.want(missing)

    def add(self, ref: ObjectRef[Any]) -> None:
        """Wait for this one too."""
        with self._core.references.lock:
            self._refs.append(ref)
            if self._core.references.add_waiter(ref, self):
                missing = [ref]
            else:
                missing = []
                self._arrived.append(ref)
        self._core.objects.want(missing)

    def notify(self, ref: ObjectRef[Any]) -> None:
        """``ref`` has its value; see `Waiter`."""
        self._arrived.append(ref)
        if self._sleeper is not None:
            self._sleeper.notify(ref)

    def take(self, timeout: float | None) -> ObjectRef[Any] | None:
        """The next reference that has a value (or an error); None when none has within ``timeout`` seconds.

        Raises:
            DeadlockError: the values wait for the calling thread.
        """
        with self._core.references.lock:
            if self._arrived:
                return self._take()
            sleeper = self._sleeper = ThreadWaiter(1, eager=False)
        try:
            self._core.objects.block(sleeper, timeout, self._refs)
        finally:
            with self._core.references.lock:
                self._sleeper = None
        return self._take() if self._arrived else None

    def _take(self) -> ObjectRef[Any]:
        self._taken += 1
        if self._taken > len(self._refs) // 2:  # now and then, so that what was taken can be freed
            self._taken = 0
            with self._core.references.lock:
                self._refs = [ref for ref in self._refs if ref._value is None]
        return self._arrived.popleft()

    def close(self) -> None:
        """Wait for nothing any more."""
        with self._core.references.lock:
            for ref in self._refs:
                if ref._value is None:
                    self._core.references.remove_waiter(ref, self)
