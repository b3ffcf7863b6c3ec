"""A task that waits until it is woken, from any thread, in whatever loop it runs: Trio's, asyncio's, or a call's.

The code of an ``async def`` call is stepped in a Trio task, and looks like asyncio's to asyncio: it waits in Trio at
once, without the detour through a future. Not here: what is waited for (``stream_endpoint``, ``mailbox``), references
(``awaiting``).
"""

from __future__ import annotations

import asyncio
import enum
import threading
import types
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, TypeVar

import trio

R = TypeVar("R")


class Loop(enum.Enum):
    """What runs the calling task."""

    TRIO = enum.auto()
    #: A call's own code, in the hands of ``async_execution``.
    CALL = enum.auto()
    ASYNCIO = enum.auto()

    @classmethod
    def here(cls) -> Loop:
        """Of the caller.

        Raises:
            RuntimeError: it runs in no loop.
        """
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no asyncio here
            trio.lowlevel.current_task()
            return cls.TRIO
        if task is None:
            return cls.TRIO
        return cls.CALL if getattr(task, "parks", False) else cls.ASYNCIO

    async def may_begin(self) -> None:
        """Raise if the task is cancelled. Other loops than Trio's look for that when something is waited for."""
        if self is Loop.TRIO:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def has_not_waited(self) -> None:
        """Give other tasks a turn: a Trio program may expect that of each operation, others only of those that wait."""
        if self is Loop.TRIO:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def in_thread(self, function: Callable[[], R]) -> R:
        """Call ``function``, which may block.

        A Trio task that is cancelled waits for it. Others do not, but ``function`` runs to its end all the same.
        """
        if self is Loop.TRIO:
            return await trio.to_thread.run_sync(function)
        return await asyncio.to_thread(function)

    def parking(self) -> Parking | AsyncioParking:
        """To wait here, once."""
        return AsyncioParking() if self is Loop.ASYNCIO else Parking(yields=self is Loop.CALL)


def runs_loop() -> bool:
    """Whether the calling thread runs an event loop, which must not be blocked."""
    if trio.lowlevel.in_trio_run():
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Parking:
    """One wait of a Trio task, or of a call's own code."""

    __slots__ = ("_cancelled", "_task", "_thread", "_token", "_woken", "_yields")

    def __init__(self, *, yields: bool) -> None:
        """``yields``: to whoever steps the call's code, which then waits by `wait_in_trio`."""
        self._yields = yields
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()
        self._task: trio.lowlevel.Task | None = None
        self._woken = False
        self._cancelled = False

    def wake(self) -> None:
        """Let the task go on; from any thread, any number of times."""
        if threading.get_ident() == self._thread:
            self._wake()
            return
        with suppress(trio.RunFinishedError):  # the waiting loop has ended meanwhile
            self._token.run_sync_soon(self._wake)

    def _wake(self) -> None:
        self._woken = True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def cancel(self, msg: Any = None) -> bool:
        """As of an asyncio future: the wait ends with ``CancelledError``."""
        if self._woken:
            return False
        self._cancelled = True
        self._wake()
        return True

    async def wait(self) -> None:
        """Until it is woken."""
        if self._yields:
            await _yielded(self)
        else:
            await self.wait_in_trio()

    async def wait_in_trio(self) -> None:
        """`wait`, in a Trio task.

        Raises:
            asyncio.CancelledError: `cancel` was called.
        """
        if not self._woken:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._cancelled:
            raise asyncio.CancelledError

    def _abort(self, raise_cancel: Any) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


@types.coroutine
def _yielded(parking: Parking) -> Generator[Any, Any, None]:
    yield parking


class AsyncioParking:
    """One wait of an asyncio task."""

    __slots__ = ("_future", "_loop", "_thread")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """See `Parking.wake`."""
        if threading.get_ident() == self._thread:
            self._wake()
            return
        with suppress(RuntimeError):  # the waiting loop has been closed meanwhile
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        """See `Parking.wait`."""
        await self._future
