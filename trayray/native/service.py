"""A task that serves a block: it is there before the block begins, and ends after it.

Not here: what is served (``cluster``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio


class Service(Protocol):
    """Something that runs until it is told to stop, and says when it is ready."""

    async def __call__(self, *, task_status: trio.TaskStatus[None]) -> Any: ...


@asynccontextmanager
async def serving(service: Service, stop: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Run ``service`` for the block, then have ``stop`` end it in good order, whatever the block has ended with.

    What the block raises leaves as it is, not inside a group. A service that fails or ends by itself cancels the block,
    and its error is raised.

    Args:
        stop: called also when everything is being cancelled: it shields itself, and has a deadline.
    """
    failure: BaseException | None = None
    broken: Exception | None = None
    async with trio.open_nursery() as nursery:

        async def serve(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            nonlocal broken
            try:
                await service(task_status=task_status)
            except Exception as error:  # noqa: BLE001 -- raised below, where it is in no group
                broken = error
            nursery.cancel_scope.cancel()

        await nursery.start(serve)
        try:
            yield
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 -- raised below, as it is
            failure = error
        finally:
            await stop()
    if failure is not None:
        if broken is not None and broken is not failure:
            failure.add_note(f"Besides, {type(broken).__name__}: {broken}")
        raise failure
    if broken is not None:
        raise broken
