"""A task that serves a block: it is there before the block begins, and ends after it.

Not here: what is served (``cluster``, ``actors``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import trio


class Service(Protocol):
    """Something that runs until it is told to stop, and says when it is ready."""

    async def __call__(self, *, task_status: trio.TaskStatus[None]) -> Any: ...


@asynccontextmanager
async def serving(service: Service, stop: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Run ``service`` for the block, then have ``stop`` end it in good order, whatever the block has ended with.

    What is cancelled around the block is the block, and what it has opened; the service goes on until that has ended.
    What the block raises leaves as it is, not inside a group. A service that fails or ends by itself cancels the block,
    and its error is raised.

    Args:
        stop: called also when everything is being cancelled: it shields itself, and has a deadline.
    """
    failure: BaseException | None = None
    served = _Served(service)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(served.run, nursery.cancel_scope)
            try:
                yield
            except BaseException as error:  # noqa: BLE001 -- raised below, as it is
                failure, cancellation = parted(error)
                if cancellation is not None:
                    raise cancellation from None
            finally:
                await stop()
                served.let_go()
    except BaseException as error:
        other = parted(error)[0]
        if failure is None and served.error is None:
            raise
        if failure is not None and other is not None:
            failure.add_note(f"Besides, {type(other).__name__}: {other}")
    if failure is not None:
        if served.error is not None and type(served.error) is not type(failure):
            failure.add_note(f"Besides, {type(served.error).__name__}: {served.error}")
        raise failure
    if served.error is not None:
        raise served.error


def parted(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What an exception is besides Trio's cancellation, and the cancellation in it."""
    if isinstance(error, trio.Cancelled):
        return None, error
    if isinstance(error, BaseExceptionGroup):
        cancellation, rest = cast("BaseExceptionGroup[BaseException]", error).split(trio.Cancelled)
        return rest, cancellation
    return error, None


class _Served:
    """The service's task."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._scope = trio.CancelScope()
        self._status: trio.TaskStatus[None]
        #: What the service has failed with.
        self.error: Exception | None = None

    async def run(self, block: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        self._status = task_status
        with self._scope:
            try:
                await self._service(task_status=self)
            except Exception as error:  # noqa: BLE001 -- raised by the block, where it is in no group
                self.error = error
        block.cancel()

    def started(self, value: None = None) -> None:
        """The service is there: from now on what is cancelled around the block does not reach it (see `let_go`)."""
        # What the block has opened needs the service until it has ended. `stop`, which has a deadline, ends it.
        self._scope.shield = True
        self._status.started(value)

    def let_go(self) -> None:
        """The block has ended, and the service was stopped: if it has not ended, it is cancelled."""
        self._scope.shield = False
        self._scope.cancel()
