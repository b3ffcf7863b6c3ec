"""``open_stream``: a call of a method that talks with its caller, for as long as a block.

Not here: what the method gets (``worker.streams``), the call (``stream_calls``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import trio

from trayray.api.shapes.calls import Returning
from trayray.exceptions import TaskCancelledError
from trayray.native.calls import connected
from trayray.native.stream_calls import StreamedCall
from trayray.worker.references import ObjectRef
from trayray.worker.streams import BlockingStream, Stream

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
#: What the caller receives, and what it sends.
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)

_RUNS = "has not ended yet: its result is there when the block has been left"


class OpenStream(Stream[R_co, S_contra], Generic[R_co, S_contra, T_co]):
    """The caller's end of a stream: what an `open_stream` block works with."""

    __slots__ = ("_call", "_no_result", "_result")

    def __init__(self, call: StreamedCall) -> None:
        super().__init__(call.endpoint)
        self._call = call
        self._result: Any = None
        #: Why there is no result, as the end of a sentence.
        self._no_result = _RUNS

    @property
    def result(self) -> T_co:
        """What the method returned.

        Raises:
            RuntimeError: it has not ended, was cancelled, or has failed.
        """
        if self._no_result:
            raise RuntimeError(f"{self._call.name}() {self._no_result}")
        return self._result

    async def send(self, value: S_contra) -> None:
        """See `Stream.send`."""
        try:
            await super().send(value)
        except TaskCancelledError:
            await self._meet_deadline()
            raise

    async def receive(self) -> R_co:
        """See `Stream.receive`."""
        try:
            return await super().receive()
        except TaskCancelledError:
            await self._meet_deadline()
            raise

    async def __anext__(self) -> R_co:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def _meet_deadline(self) -> None:
        """The method may have been a little quicker to meet the deadline around the block."""
        await self._call.gone()
        await self._call.failure()

    async def _leave(self) -> None:
        """The block has ended well."""
        call = self._call
        if not (self._endpoint.has_sent_eof or self._endpoint.is_over):
            await call.end()
            self._no_result = "was cancelled: the block was left early, without send_eof()"
            self._raise_failure(but=TaskCancelledError)
            return
        self._endpoint.drop()
        await call.gone()
        self._no_result = "has failed"
        if await call.failure() is None:
            self._result = await call.result()
            self._no_result = ""
        self._raise_failure()

    def _raise_failure(self, *, but: type[BaseException] | tuple[()] = ()) -> None:
        failure = self._call.endpoint.failure()
        if failure is not None and not isinstance(failure, but):
            self._no_result = "has failed"
            raise failure

    async def _abandon(self, error: BaseException) -> None:
        """The block has raised ``error``, or is being cancelled."""
        await self._call.end()
        told = self._call.endpoint.has_told
        self._no_result = "has failed" if told else "was cancelled: the block has raised an exception"
        failure = self._call.endpoint.failure()
        if failure is None or isinstance(failure, TaskCancelledError):
            return
        self._no_result = "has failed"
        if isinstance(error, trio.Cancelled):  # as a child of a nursery that fails while it is being cancelled
            raise failure
        error.add_note(f"Besides, {self._call.name}() raised {type(failure).__name__}: {failure}")


@overload
def open_stream(
    method: Returning[Callable[Concatenate[Stream[R, S], P], Any], ObjectRef[T]], /, *args: P.args, **kwargs: P.kwargs
) -> AbstractAsyncContextManager[OpenStream[S, R, T]]: ...
@overload
def open_stream(
    method: Returning[Callable[Concatenate[BlockingStream[R, S], P], Any], ObjectRef[T]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> AbstractAsyncContextManager[OpenStream[S, R, T]]: ...
@overload
def open_stream(
    method: Callable[Concatenate[Stream[R, S], P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> AbstractAsyncContextManager[OpenStream[S, R, T]]: ...
@overload
def open_stream(
    method: Callable[Concatenate[BlockingStream[R, S], P], T], /, *args: P.args, **kwargs: P.kwargs
) -> AbstractAsyncContextManager[OpenStream[S, R, T]]: ...
def open_stream(method: Any, /, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[OpenStream[Any, Any, Any]]:
    """Call a method that has a stream as its first argument, and talk with it for as long as the block.

    A block that has called ``send_eof()`` ends when the method has returned: what it still sends is dropped, and what
    it returns is ``stream.result``. A block that is left without that, by an exception or by cancellation ends the
    method: it is cancelled in its process. Either way nothing of the call is left after the block.

    Args:
        method: an actor's method, with or without ``.options``; or a remote function.
        args, kwargs: its further arguments.

    Returns:
        A context manager that gives the caller's `OpenStream`.

    Raises:
        Exception: what the method raised, of its own type, with the remote traceback as a note: where the block next
            uses the stream, or at its end; once.
        RayError: the call failed otherwise: ``ActorDiedError`` when the actor has died.
        TypeError: not remote, it takes no stream, or arguments that do not fit.
    """
    return _open(method, args, kwargs)


@asynccontextmanager
async def _open(
    method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncGenerator[OpenStream[Any, Any, Any]]:
    connected()
    call = StreamedCall()
    await call.make_in_turn(method, args, kwargs)
    stream: OpenStream[Any, Any, Any] = OpenStream(call)
    try:
        yield stream
    except BaseException as error:
        await stream._abandon(error)
        raise
    await stream._leave()
