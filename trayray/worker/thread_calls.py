"""Async calls that user threads make and wait for: run as children of the core worker, refused once it has ended."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import trio

R = TypeVar("R")

#: A dead node's links end at one moment, but the news of it come one by one (seconds).
_END_ARRIVES_SECONDS = 0.2


async def let_the_end_arrive() -> None:
    """Called when one connection was lost: if the node has died, this task is cancelled here, for that reason."""
    await trio.sleep(_END_ARRIVES_SECONDS)


class ThreadCall(Generic[R]):
    """One call of an async function: a thread waits, the loop runs it or refuses to."""

    def __init__(self, function: Callable[..., Awaitable[R]], arguments: tuple[Any, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    async def run(self, why_cancelled: Callable[[], BaseException]) -> None:
        """Make the call; in the loop. The thread gets the error of ``why_cancelled`` when the loop ends first."""
        try:
            try:
                self._value = await self._function(*self._arguments)
            except ConnectionError:
                await let_the_end_arrive()
                raise
        except Exception as error:  # noqa: BLE001 -- the waiting thread raises it
            self._error = error
        except BaseException:
            self._error = why_cancelled()
            raise
        finally:
            self._done.set()

    def refuse(self, error: BaseException) -> None:
        """The call will not be made."""
        self._error = error
        self._done.set()

    def wait(self) -> R:
        """The call's value, or its error raised; in the thread that wants it."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value
