"""trio-asyncio's loop as this package uses it: under the gRPC edge, and under users' asyncio code.

Not here: what runs in the loop (``grpc_edge``, ``worker.async_execution``).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

import trio_asyncio

T = TypeVar("T")


class AioLoop(Protocol):
    """What this package uses of trio-asyncio's loop."""

    async def run_aio_coroutine(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run asyncio code from a Trio task; cancelling the task cancels the code."""
        ...

    def trio_as_future(self, proc: Callable[..., Awaitable[T]], *args: Any) -> "asyncio.Future[T]":
        """Run Trio code as a task of the loop; cancelling the future cancels the task."""
        ...

    def create_task(self, coro: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start asyncio code."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call asyncio code in ``delay`` seconds."""
        ...


@asynccontextmanager
async def open_aio_loop() -> AsyncGenerator[AioLoop]:
    """An asyncio loop for the body, whose errors leave as they are, not inside the groups of the loop's nurseries."""
    failure: Exception | None = None
    open_loop = cast("Callable[[], AbstractAsyncContextManager[AioLoop]]", cast(Any, trio_asyncio).open_loop)
    async with open_loop() as loop:
        try:
            yield loop
        except Exception as error:  # noqa: BLE001 - raised again below
            failure = error
    if failure is not None:
        raise failure
