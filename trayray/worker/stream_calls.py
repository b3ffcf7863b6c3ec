"""Calls with a stream in a worker: each has its end of it for as long as its code runs.

Not here: the end itself (``stream_endpoint``), in which thread or loop the code runs (``execution``,
``async_execution``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from trayray.wire.task_messages import ASYNC_TASK, Done, StreamCredit, StreamItem, StreamMessage
from trayray.worker.call_values import drop_results
from trayray.worker.cancel_ladder import cancelled_error
from trayray.worker.stream_endpoint import Endpoint
from trayray.worker.streams import BlockingStream, Stream

if TYPE_CHECKING:
    from trayray.core.cancellation import Step
    from trayray.worker.calls import Call
    from trayray.worker.connections import Connection
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.yielding import Send


class StreamCalls:
    """The calls of this worker that have a stream and run."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._endpoints: dict[bytes, Endpoint] = {}

    # --- whoever reads the links ---

    def handle(self, message: StreamMessage) -> None:
        """A caller has sent something on a stream; of a call that has ended since, perhaps."""
        endpoint = self._endpoints.get(message.task)
        if endpoint is not None:
            endpoint.handle(message)
        elif type(message) is StreamItem:
            drop_results(self._core, [message.value])

    def cancelled(self, task: bytes, step: Step) -> None:
        """A call that blocks a thread is cancelled: its stream takes it no further (any thread)."""
        endpoint = self._endpoints.get(task)
        if endpoint is not None:
            endpoint.break_off(lambda _: cancelled_error(task, step))

    def of_caller(self, address: str) -> list[bytes]:
        """The calls that have a stream to the process at ``address``."""
        return [task for task, endpoint in list(self._endpoints.items()) if endpoint.other == address]

    def caller_gone(self, task: bytes) -> None:
        """The caller of a call is dead: nobody takes or sends anything any more."""
        endpoint = self._endpoints.get(task)
        if endpoint is not None:
            endpoint.break_off(lambda _: trio.BrokenResourceError("the caller at the other end of the stream is gone"))

    # --- whoever runs the calls ---

    @contextmanager
    def open(
        self, call: Call, send: Send, connection: Connection | None = None
    ) -> Generator[Stream[Any, Any] | BlockingStream[Any, Any]]:
        """The stream of a call that runs outside of an asynchronous actor, within the block.

        ``send`` reaches the caller from any thread; ``connection`` is that of a call in the main thread.
        """
        with self._endpoint(call, send) as endpoint:
            if call.target.define.kind != ASYNC_TASK:
                yield BlockingStream(endpoint)
                return
            assert connection is not None, "tasks run in the main thread"
            with self._reading(connection):
                yield Stream(endpoint)

    @contextmanager
    def _reading(self, connection: Connection) -> Generator[None]:
        """Within the block the loop's thread reads what the caller sends: the main thread is in a task's own loop."""
        scope = trio.CancelScope()
        self._core.call_soon(self._core.nursery.start_soon, self._read, connection, scope)
        try:
            yield
        finally:
            self._core.call_soon(scope.cancel)

    async def _read(self, connection: Connection, scope: trio.CancelScope) -> None:
        executor = self._core.executor
        assert executor is not None, "a worker executes"
        with scope:
            while True:
                with executor.lock:  # the main thread may close it
                    if connection.link.closed:
                        return
                    descriptor = connection.link.fileno()
                try:
                    await trio.lowlevel.wait_readable(descriptor)
                except (trio.ClosedResourceError, OSError, ValueError):  # closed before Trio has it, or meanwhile
                    return
                with executor.lock:
                    executor._read(connection)
                executor._wake_main_thread()  # for whatever else has come

    @contextmanager
    def _endpoint(self, call: Call, send: Send) -> Generator[Endpoint]:
        task = call.push.task
        endpoint = Endpoint(self._core, task, call.push.window, opened=True)
        endpoint.other, endpoint.transmit = call.owner, send
        self._endpoints[task] = endpoint
        send([StreamCredit(task, 0)])
        try:
            yield endpoint
        finally:
            del self._endpoints[task]
            endpoint.break_off(lambda _: trio.ClosedResourceError("the method that had this stream has ended"))

    async def run_in_loop(
        self,
        call: Call,
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        send: Send,
        drive: Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]],
    ) -> Done:
        """Run a method of an asynchronous actor with a stream; ``drive`` awaits user code. The call's reply.

        Raises:
            TypeError: it is a plain function, whose stream would block the loop.
        """
        if not inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{call.running.name}() is a plain method of an asynchronous actor and runs in its event loop, which a "
                "stream would block: make it `async def`, with a trayray.Stream"
            )
        with self._endpoint(call, send) as endpoint:
            stream: Stream[Any, Any] = Stream(endpoint)
            return call.done(await drive(function(stream, *args, **kwargs)))
