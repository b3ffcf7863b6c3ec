"""Asynchronous actors: a Trio loop in the worker's main thread in which many calls are in progress at once.

A method may await asyncio and Trio code alike: each call is a Trio task whose coroutine is stepped here; an asyncio
future it yields is waited for, anything else is Trio's. While a step runs, asyncio sees a current task (`CallTask`), so
that ``asyncio.timeout``, ``asyncio.wait_for`` and ``asyncio.TaskGroup`` work. One of the two places that touch asyncio.
Not here: reading arguments and packing results (``calls``).
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import time
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn, cast

import trio

from trayray.link.aio_loop import open_aio_loop
from trayray.wire.messages import Define, Done, Push
from trayray.worker.calls import Call
from trayray.worker.current import running
from trayray.worker.execution import Connection, Executor, ExitRequested, exit_request, unknown_group

if TYPE_CHECKING:
    from trayray.wire.messages import ActorSpec


class CallTask:
    """What ``asyncio.current_task()`` returns inside a call: asyncio's view of a Trio task."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], name: str, scope: trio.CancelScope) -> None:
        self._coroutine = coroutine
        self._name = name
        self._scope = scope
        self._requests = 0
        #: CancelledError is due at the next step.
        self.must_cancel = False
        #: The asyncio future that the coroutine waits for.
        self.waiting_for: asyncio.Future[Any] | None = None
        #: The Trio task, while the coroutine waits in Trio.
        self.in_trio: trio.lowlevel.Task | None = None
        self._context = contextvars.copy_context()
        self._finished = False

    def cancel(self, msg: Any = None) -> bool:
        """Raise ``CancelledError`` once, where the coroutine waits: what asyncio's own primitives ask for."""
        if self._finished:
            return False
        self._requests += 1
        if not self._interrupt(msg):
            self.must_cancel = True
        return True

    def _interrupt(self, msg: Any) -> bool:
        if self.waiting_for is not None:
            return self.waiting_for.cancel(msg)
        # Without an abort function it is shielded, or has been woken: then the next wait is the one to end.
        if self.in_trio is None or self.in_trio._abort_func is None:
            return False
        self.in_trio._attempt_abort(_raise_cancelled)
        return True

    def cancel_call(self) -> None:
        """The caller cancels: as `cancel`, but a wait in Trio is ended by Trio's own ``Cancelled``."""
        if self.in_trio is not None:
            self._scope.cancel()
        else:
            self.cancel()

    def cancelling(self) -> int:
        return self._requests

    def uncancel(self) -> int:
        self._requests = max(0, self._requests - 1)
        return self._requests

    def done(self) -> bool:
        return self._finished

    def finish(self) -> None:
        self._finished = True

    def cancelled(self) -> bool:
        return False

    def get_name(self) -> str:
        return self._name

    def set_name(self, value: object) -> None:
        self._name = str(value)

    def get_coro(self) -> Coroutine[Any, Any, Any]:
        return self._coroutine

    def get_context(self) -> contextvars.Context:
        return self._context

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<CallTask {self._name!r}>"


def _raise_cancelled() -> NoReturn:
    raise asyncio.CancelledError


@types.coroutine
def _drive(
    coroutine: Coroutine[Any, Any, Any], task: CallTask, loop: asyncio.AbstractEventLoop
) -> Generator[Any, Any, Any]:
    """Step ``coroutine`` within a Trio task until it returns."""
    # Meant for other implementations of tasks: asyncio's documentation, "Extending".
    enter = cast("Callable[[Any, Any], None]", asyncio.tasks._enter_task)
    leave = cast("Callable[[Any, Any], None]", asyncio.tasks._leave_task)
    step: Callable[[Any], Any] = coroutine.send
    value: Any = None
    waiter = trio.lowlevel.current_task()
    from_trio = False
    while True:
        if task.must_cancel and not from_trio:  # what a wait in Trio has brought must not be lost
            task.must_cancel = False
            step, value = coroutine.throw, asyncio.CancelledError()
        asyncio._set_running_loop(loop)
        enter(loop, task)
        try:
            yielded = step(value)
        except StopIteration as stop:
            return stop.value
        finally:
            leave(loop, task)
            asyncio._set_running_loop(None)
        step = coroutine.send
        from_trio = False
        try:
            if isinstance(yielded, asyncio.Future):
                future = cast("asyncio.Future[Any]", yielded)
                future._asyncio_future_blocking = False
                task.waiting_for = future
                if task.must_cancel:
                    task.must_cancel = False
                    future.cancel()
                value = yield from _wait_future(future).__await__()
            elif yielded is None:  # asyncio.sleep(0)
                value = yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105 -- awaited by hand
            else:
                task.in_trio = waiter
                from_trio = True
                value = yield yielded
        except BaseException as error:
            step, value = coroutine.throw, error
        finally:
            task.waiting_for = None
            task.in_trio = None


async def _wait_future(future: asyncio.Future[Any]) -> None:
    """Until ``future`` is done; a Trio cancellation cancels it. Its result is fetched by whoever awaits it."""
    waiter = trio.lowlevel.current_task()
    cancelled: Callable[[], Any] | None = None

    def wake(_: Any) -> None:
        trio.lowlevel.reschedule(waiter)

    def abort(raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        nonlocal cancelled
        cancelled = raise_cancel
        future.cancel()
        return trio.lowlevel.Abort.FAILED  # `wake` follows when the cancellation has arrived

    if future.done():
        await trio.lowlevel.checkpoint()
        return
    future.add_done_callback(wake)
    await trio.lowlevel.wait_task_rescheduled(abort)
    # The future of ``gather`` that was cancelled has CancelledError as its exception instead.
    if cancelled is not None and (future.cancelled() or isinstance(future.exception(), asyncio.CancelledError)):
        cancelled()


async def run_coroutine(coroutine: Coroutine[Any, Any, Any], name: str, register: Callable[[CallTask], None]) -> Any:
    """Await user code that may use asyncio and Trio, in a Trio task with a trio-asyncio loop open.

    ``register`` is given the `CallTask` by which the call can be cancelled.
    """
    with trio.CancelScope() as scope:
        task = CallTask(coroutine, name, scope)
        register(task)
        try:
            return await _drive(coroutine, task, asyncio.get_running_loop())
        finally:
            task.finish()
    raise asyncio.CancelledError("the call was cancelled")


def run_async_task(coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
    """Run an ``async def`` task to its end in a loop of its own, in the calling thread."""

    async def main() -> Any:
        async with open_aio_loop():
            return await run_coroutine(coroutine, name, _unregistered)

    return trio.run(main)


def _unregistered(task: CallTask) -> None:
    """A task has its worker to itself: whoever cancels it ends that."""


class ConcurrencyGroup:
    """At most ``limit`` calls of a group are in progress; the others wait in order of arrival."""

    def __init__(self, limit: int) -> None:
        self.free = limit
        self.waiting: deque[tuple[Connection, Call]] = deque()
        #: Calls whose turn it is, taken by the Trio tasks that were started for them.
        self.due: deque[tuple[Connection, Call]] = deque()


class AsyncExecutor:
    """Runs an asynchronous actor's calls in place of `Executor.run`."""

    def __init__(self, executor: Executor, spec: ActorSpec) -> None:
        self._executor = executor
        self._core = executor.core
        self._groups = {"": ConcurrencyGroup(spec.max_concurrency)} | {
            name: ConcurrencyGroup(limit) for name, limit in spec.groups.items()
        }
        #: Calls that await something, by task id.
        self._calls: dict[bytes, CallTask] = {}
        self._end: ExitRequested | None = None
        self._nursery: trio.Nursery
        self._replies: dict[Connection, list[Done]] = {}
        self._reply_waits = trio.Event()

    def run(self, construct: Callable[[], Awaitable[None]]) -> ExitRequested:
        """Run the constructor, then calls, until the end is ordered; why it was."""
        trio.run(self._main, construct)
        assert self._end is not None
        self._executor.flush_all()
        return self._end

    async def _main(self, construct: Callable[[], Awaitable[None]]) -> None:
        async with open_aio_loop(), trio.open_nursery() as self._nursery:
            token = trio.lowlevel.current_trio_token()
            self._context = contextvars.copy_context()
            for connection in self._executor.become_async(self, token):
                self._nursery.start_soon(self._read, connection)
            try:
                await construct()
            except ExitRequested as end:
                self.finish(end)
            self._nursery.start_soon(self._send_replies)

    def add_connection(self, connection: Connection) -> None:
        """A caller has connected (main thread)."""
        # Called from Trio's entry queue, whose context knows no asyncio loop.
        self._context.run(self._nursery.start_soon, self._serve, connection)

    def carry_out(self, order: Callable[[], None]) -> None:
        """Do what the loop's thread ordered (main thread)."""
        try:
            order()
        except ExitRequested as end:
            self.finish(end)

    def finish(self, end: ExitRequested) -> None:
        """Leave: calls in progress are cancelled, what has ended is answered (main thread)."""
        self._end = end
        self._send_now()
        self._nursery.cancel_scope.cancel()

    def cancel(self, task: bytes) -> None:
        """Cancel a call (main thread)."""
        call = self._calls.get(task)
        if call is not None:
            call.cancel_call()
        else:
            self._executor.cancelled.add(task)

    async def _serve(self, connection: Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.link.run)
            await self._read(connection)
            nursery.cancel_scope.cancel()

    async def _read(self, connection: Connection) -> None:
        while messages := await connection.link.receive():
            for message in messages:
                if type(message) is Push:
                    self._accept(connection, message)
                elif type(message) is Define:
                    self._executor.define(connection, message)
        connection.link.close()

    def _accept(self, connection: Connection, push: Push) -> None:
        call = Call(self._core, push, connection.calls[push.call], connection.address)
        group = self._groups.get(call.target.define.group)
        if group is None:
            self._reply(connection, call.failed(unknown_group(call, self._groups)))
            return
        group.waiting.append((connection, call))
        self._start(group)

    def _start(self, group: ConcurrencyGroup) -> None:
        while group.free and group.waiting:
            group.free -= 1
            group.due.append(group.waiting.popleft())
            # The context is the actor's own: this may be the end of another call, whose variables are its own.
            self._context.run(self._nursery.start_soon, self._call, group)

    async def _call(self, group: ConcurrencyGroup) -> None:
        # Trio starts tasks in any order; calls start in the order of arrival.
        connection, call = group.due.popleft()
        if call.push.task in self._executor.cancelled:
            self._executor.cancelled.discard(call.push.task)
            done = call.cancelled()
        else:
            done = await self._run(call)
        self._reply(connection, done)
        group.free += 1
        self._start(group)

    def _reply(self, connection: Connection, done: Done) -> None:
        self._replies.setdefault(connection, []).append(done)
        self._reply_waits.set()

    async def _run(self, call: Call) -> Done:
        task_id = call.push.task
        running.set(call.running)  # this Trio task's own context
        started = time.time()
        ok = False
        try:
            function = call.target.load()
            args, kwargs = call.arguments()
            result = function(*args, **kwargs)
            del args, kwargs
            if inspect.isawaitable(result):
                result = await run_coroutine(
                    as_coroutine(result), call.running.name, lambda task: self._calls.__setitem__(task_id, task)
                )
            done = call.done(result)
            ok = True
        except SystemExit as error:
            self.finish(exit_request(error))
            await trio.sleep_forever()  # until the nursery's cancellation, just requested, arrives
        except asyncio.CancelledError:
            done = call.cancelled()
        except BaseException as error:
            if self._end is not None:  # Trio's cancellation: the actor is leaving
                raise
            done = call.failed(error)
        finally:
            self._calls.pop(task_id, None)
        self._core.timeline.record(task_id, call.running.name, started, ok)
        return done

    async def _send_replies(self) -> None:
        while True:
            await self._reply_waits.wait()
            self._send_now()

    def _send_now(self) -> None:
        self._reply_waits = trio.Event()
        replies, self._replies = self._replies, {}
        for connection, dones in replies.items():
            connection.send(dones)


async def as_coroutine(awaitable: Awaitable[Any]) -> Any:
    """Any awaitable as a coroutine."""
    return await awaitable
