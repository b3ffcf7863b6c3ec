"""The streams that methods and callers hold: `Stream` for event loops, `BlockingStream` for threads.

Two classes with the same words, because the same word cannot both block and be awaited: which one a method gets is said
by how it is defined, ``async def`` or ``def``, and checkers tell the difference.
Not here: how items get across (``stream_endpoint``), the caller's block (``native.streams``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Generic, NoReturn, TypeVar

import trio

from trayray.worker.stream_endpoint import Endpoint

#: What this end receives, and what it sends.
R_co = TypeVar("R_co", covariant=True)
S_contra = TypeVar("S_contra", contravariant=True)


class Stream(Generic[R_co, S_contra]):
    """One end of a bidirectional stream between a caller and an ``async def`` method: ``Stream[receives, sends]``.

    It is used in asyncio and in Trio code alike, by one task or several. Items arrive in the order in which they were
    sent. At most as many as ``max_buffered`` says wait at either end; `send` waits while the other end does not take.
    """

    __slots__ = ("__weakref__", "_endpoint")

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def send(self, value: S_contra) -> None:
        """Send ``value``, as soon as the other end has room for it.

        Raises:
            trio.ClosedResourceError: `send_eof` was called.
            trio.BrokenResourceError: nobody will ever take it: the other end has ended.
            TypeError: it cannot be pickled.
            Exception: at the caller, what the method has raised.
        """
        await self._endpoint.send(value)

    async def receive(self) -> R_co:
        """The next item.

        Raises:
            trio.EndOfChannel: there will be none: the other end has called `send_eof`, or the method has returned.
            trio.BrokenResourceError: the other end is gone without having said so.
            Exception: at the caller, what the method has raised; when all that it has sent before was taken.
        """
        return await self._endpoint.receive()

    async def send_eof(self) -> None:
        """Say that no more items come from here; the other end's `receive` and its loops end. Receiving goes on."""
        self._endpoint.send_eof()

    def __aiter__(self) -> AsyncIterator[R_co]:
        return self

    async def __anext__(self) -> R_co:
        try:
            return await self._endpoint.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} cannot be serialized: it belongs to one call. Send values on it, or open another "
            "one where they are needed."
        )


class BlockingStream(Generic[R_co, S_contra]):
    """One end of a bidirectional stream, as plain ``def`` methods get it: as `Stream`, but each operation blocks the
    thread. A method that is cancelled meets ``TaskCancelledError`` at its next operation.
    """

    __slots__ = ("__weakref__", "_endpoint")

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def send(self, value: S_contra) -> None:
        """See `Stream.send`."""
        self._endpoint.send_blocking(value)

    def receive(self) -> R_co:
        """See `Stream.receive`."""
        return self._endpoint.receive_blocking()

    def send_eof(self) -> None:
        """See `Stream.send_eof`."""
        self._endpoint.send_eof()

    def __iter__(self) -> Iterator[R_co]:
        return self

    def __next__(self) -> R_co:
        try:
            return self._endpoint.receive_blocking()
        except trio.EndOfChannel:
            raise StopIteration from None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} cannot be serialized: it belongs to one call. Send values on it, or open another "
            "one where they are needed."
        )
