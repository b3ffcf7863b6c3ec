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
import math
import time
import types
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

import trio

from trayray.core.cancellation import Step
from trayray.link.aio_loop import open_aio_loop
from trayray.wire.task_messages import Define, Done, Push, StreamMessage
from trayray.worker.awaiting import bring
from trayray.worker.calls import Call
from trayray.worker.cancelled_calls import CancelledCalls, Request
from trayray.worker.cancelling import CallCancelled
from trayray.worker.closing_calls import close_in_loop, open_children, with_status
from trayray.worker.connections import Connection
from trayray.worker.current import running
from trayray.worker.execution import Executor, unknown_group
from trayray.worker.exits import ExitRequested, exit_request
from trayray.worker.leaving import CALLS_SHARE, PATIENCE, calls_user_code
from trayray.worker.parking import Parking
from trayray.worker.yielding import Flows, Send, run_async_generator, stepped

if TYPE_CHECKING:
    from trayray.wire.specs import ActorSpec


class CallTask:
    """What ``asyncio.current_task()`` returns inside a call: asyncio's view of a Trio task."""

    #: Its code may yield a `Parking`.
    parks = True

    def __init__(self, coroutine: Coroutine[Any, Any, Any], name: str, scope: trio.CancelScope) -> None:
        self._coroutine = coroutine
        self._name = name
        self._scope = scope
        self._requests = 0
        #: CancelledError is due at the next step.
        self.must_cancel = False
        #: The asyncio future, or the like, that the coroutine waits for.
        self.waiting_for: asyncio.Future[Any] | Parking | None = None
        #: The Trio task, while the coroutine waits in Trio.
        self.in_trio: trio.lowlevel.Task | None = None
        self._finished = False
        #: Whoever made the call that this is, and whether the caller answers for it.
        self.caller = ""
        self.answered_for = False

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
        return contextvars.copy_context()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<CallTask {self._name!r}>"


def _raise_cancelled() -> NoReturn:
    raise asyncio.CancelledError


@calls_user_code
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
            if type(yielded) is Parking:
                task.waiting_for = yielded
                if task.must_cancel:
                    task.must_cancel = False
                    yielded.cancel()
                yield from yielded.wait_in_trio().__await__()
                value = None
            elif isinstance(yielded, asyncio.Future):
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


def without_cancellation(error: BaseException) -> BaseException | None:
    """What an exception of a call is but for the cancellation that it has met; None if it is nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(asyncio.CancelledError)[1]
    return None if isinstance(error, asyncio.CancelledError) else error


async def run_coroutine(
    coroutine: Coroutine[Any, Any, Any],
    name: str,
    register: Callable[[CallTask], None],
    seconds: float = math.inf,
) -> Any:
    """Await user code that may use asyncio and Trio, in a Trio task with a trio-asyncio loop open.

    ``register`` is given the `CallTask` by which the call can be cancelled; after ``seconds`` it is cancelled anyway.
    """
    with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
        task = CallTask(coroutine, name, scope)
        register(task)
        try:
            return await _drive(coroutine, task, asyncio.get_running_loop())
        finally:
            task.finish()
    raise asyncio.CancelledError("the call was cancelled")


@calls_user_code
def run_async_task(call: Call, result: Any, send: Send, flows: Flows, cancelled: CancelledCalls) -> Done:
    """Run an ``async def`` task to its end in a loop of its own, in the calling thread.

    Raises:
        CallCancelled: it was cancelled, or has cancelled itself.
    """

    async def main() -> Done | None:
        async with open_aio_loop():
            with cancelled.in_loop(call.push.task) as enter:
                try:
                    coroutine = finished(call, result, send, flows)
                    return await run_coroutine(coroutine, call.running.name, enter, call.seconds_left)
                except (asyncio.CancelledError, BaseExceptionGroup) as error:
                    rest = without_cancellation(cast("BaseException", error))
                    if rest is not None:
                        raise rest from None
                    return None  # no further: the loop's own nursery would wrap it

    try:
        done = trio.run(main)
    finally:
        _close_unawaited(result)
    if done is None:
        raise CallCancelled(Step.ASYNC)
    return done


def run_to_end(awaitable: Awaitable[Any]) -> None:
    """Await something of user code's in a loop of its own, in the calling thread."""

    async def main() -> None:
        async with open_aio_loop():
            await run_awaitable(awaitable)

    trio.run(main)


async def run_awaitable(awaitable: Awaitable[Any]) -> Any:
    """Await something of user code's that is no call."""

    async def await_it() -> Any:
        return await awaitable

    return await run_coroutine(await_it(), "shutdown", lambda _: None)


def _close_unawaited(result: object) -> None:
    """A call that was cancelled before its first step never awaits the user's coroutine; Python would tell of that."""
    if type(result) is _COROUTINE:
        cast("Coroutine[Any, Any, Any]", result).close()


@calls_user_code
async def finished(call: Call, result: Any, send: Send, flows: Flows) -> Done:
    """The reply of a call that has returned an awaitable or an async generator."""
    if call.streams:
        items = stepped(cast("Iterator[Any]", result)) if isinstance(result, Iterator) else result
        return await run_async_generator(call, items, send, flows)
    if inspect.isasyncgen(result):
        return await call.done_async(cast("AsyncGenerator[Any]", result))
    return call.done(await result)


#: What an ``async def`` function returns, without parameters, for checkers.
_COROUTINE: type[Any] = types.CoroutineType


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
        #: Calls that have begun and not ended.
        self.in_progress = 0
        self._call_ended = trio.Event()
        self._end: ExitRequested | None = None
        #: Calls that wait for their turn get it; and everything is being cancelled.
        self._starts = True
        self._over = False
        self._nursery: trio.Nursery
        self._replies: dict[Connection, list[Any]] = {}
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
            connections, orders = self._executor.become_async(self, token)
            for connection in connections:
                self._nursery.start_soon(self._read, connection)
            try:
                await construct()
            except ExitRequested as end:
                self.finish(end)
            for order in orders:  # they came while the loop was being opened
                self.carry_out(order)
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
        """Leave: calls in progress end, what has ended is answered, the actor cleans up (main thread). Idempotent."""
        if self._end is None:
            self._end = end
            self._starts = end.patient
            self._executor.leaving.begin()
            self._context.run(self._nursery.start_soon, self._leave, end)

    def abort(self, end: ExitRequested) -> None:
        """End at once: everything is cancelled, nothing is answered, nothing else runs (main thread)."""
        self._end = self._end or end
        self._starts = False
        self._over = True
        self._nursery.cancel_scope.cancel()

    async def _leave(self, end: ExitRequested) -> None:
        leaving = self._executor.leaving
        if end.patient:
            with trio.move_on_after(leaving.remaining(PATIENCE)):
                await self._calls_ended()
        self._starts = False
        for call in list(self._calls.values()):
            call.cancel_call()
        with trio.move_on_after(leaving.remaining(CALLS_SHARE)):
            await self._calls_ended()
        self._send_now()
        leaving.announce(end)
        await leaving.call_hook_in_loop(run_awaitable)
        self._over = True
        self._nursery.cancel_scope.cancel()

    async def _calls_ended(self) -> None:
        while self.in_progress:
            await self._call_ended.wait()
            self._call_ended = trio.Event()

    def cancel(self, task: bytes, step: Step, recursive: bool) -> None:
        """Cancel a call, or take a further step: what has swallowed one CancelledError gets another (main thread)."""
        requests = self._executor.cancelled.calls
        if task in requests and requests[task].step == step:
            return
        call = self._calls.get(task)
        if call is not None:
            requests[task] = Request(call.caller, step, recursive, force=False)
            call.cancel_call()
        else:
            self._withdraw(task)

    def caller_gone(self, address: str) -> None:
        """A caller is dead: the calls that it answered for are not wanted any more (main thread)."""
        groups = self._groups.values()
        waiting = [call for group in groups for queue in (group.waiting, group.due) for _, call in queue]
        left = [call.push.task for call in waiting if call.owner == address and call.push.seconds is not None]
        left += [task for task, call in self._calls.items() if call.caller == address and call.answered_for]
        self._core.call_soon(self._executor.cancelled.end_all, left)

    def _withdraw(self, task: bytes) -> None:
        for group in self._groups.values():
            for connection, call in group.waiting:
                if call.push.task == task:
                    group.waiting.remove((connection, call))
                    self._reply(connection, [call.cancelled(Step.PENDING)])
                    return
            for _, call in group.due:
                if call.push.task == task:
                    request = Request(call.owner, Step.PENDING, recursive=False, force=False)
                    self._executor.cancelled.calls[task] = request
                    return

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
                elif isinstance(message, StreamMessage):
                    self._executor.streams.handle(message)
        connection.link.close()

    def _accept(self, connection: Connection, push: Push) -> None:
        if push.seconds is not None and self._core.references.is_gone(connection.address):
            return  # its caller, which answered for it, is dead
        call = Call(self._core, push, connection.calls[push.call], connection.address)
        group = self._groups.get(call.target.define.group)
        if group is None:
            self._reply(connection, [call.failed(unknown_group(call, self._groups))])
            return
        group.waiting.append((connection, call))
        self._start(group)

    def _start(self, group: ConcurrencyGroup) -> None:
        while group.free and group.waiting and self._starts:
            group.free -= 1
            group.due.append(group.waiting.popleft())
            # The context is the actor's own: this may be the end of another call, whose variables are its own.
            self._context.run(self._nursery.start_soon, self._call, group)

    async def _call(self, group: ConcurrencyGroup) -> None:
        # Trio starts tasks in any order; calls start in the order of arrival.
        connection, call = group.due.popleft()
        if not self._starts:
            return
        if call.push.task in self._executor.cancelled.calls:
            self._executor.cancelled.ended(call.push.task)
            done = call.cancelled(Step.PENDING)
        else:
            self.in_progress += 1
            try:
                # What a stream carries is sent at once and from any thread; the reply comes after it.
                send = connection.send if call.push.window else partial(self._reply, connection)
                done = await self._run(call, send)
            finally:
                self.in_progress -= 1
                if self._end is not None:
                    self._call_ended.set()
        if done is not None:
            self._reply(connection, [done])
        group.free += 1
        self._start(group)

    def _reply(self, connection: Connection, messages: list[Any]) -> None:
        self._replies.setdefault(connection, []).extend(messages)
        self._reply_waits.set()

    @calls_user_code
    async def _attempt(self, call: Call, function: Callable[..., Any], send: Send) -> Done:
        pins = call.spilled_arguments()
        for pin in pins:
            await bring(self._core, pin)
        args, kwargs = call.arguments()
        if call.push.starts:
            kwargs = with_status(call, kwargs, send)
        if call.push.window:
            register = partial(self._register, call)
            drive = partial(run_coroutine, name=call.running.name, register=register, seconds=call.seconds_left)
            return await self._executor.streams.run_in_loop(call, function, args, kwargs, send, drive)
        result = function(*args, **kwargs)
        del pins, args, kwargs
        register = partial(self._register, call)
        if type(result) is _COROUTINE and not call.streams:  # mostly; `finished` would be one more to step
            return call.done(await run_coroutine(result, call.running.name, register, call.seconds_left))
        if call.streams or inspect.isawaitable(result) or inspect.isasyncgen(result):
            coroutine = finished(call, result, send, self._executor.flows)
            try:
                return await run_coroutine(coroutine, call.running.name, register, call.seconds_left)
            finally:
                _close_unawaited(result)
        return call.done(result)

    def _register(self, call: Call, task: CallTask) -> None:
        self._calls[call.push.task] = task
        task.caller = call.owner
        task.answered_for = call.push.seconds is not None

    async def _run(self, call: Call, send: Send) -> Done | None:
        """The reply; None when the actor leaves without one: its callers are told why."""
        task_id = call.push.task
        running.set(call.running)  # this Trio task's own context
        started = time.time()
        ok = False
        try:
            function = call.target.load()
            while True:
                try:
                    done = await self._attempt(call, function, send)
                    break
                except Exception as error:
                    given_up = self._end is not None or task_id in self._executor.cancelled.calls
                    if given_up or not call.may_repeat(error):
                        raise
            ok = True
        except SystemExit as error:
            self.finish(exit_request(error))
            return None
        except BaseException as error:
            rest = without_cancellation(error)
            if rest is None and self._end is not None:
                return None
            if self._over:  # Trio's cancellation
                raise
            done = call.cancelled(Step.ASYNC) if rest is None else call.failed(rest)
        finally:
            self._calls.pop(task_id, None)
            if task_id in self._executor.cancelled.calls:
                self._executor.cancelled.ended(task_id)
        children = open_children(call, ok=ok)
        if children is not None:
            await close_in_loop(call, children, send, ok=ok)
        self._core.timeline.record(task_id, call.running.name, started, ok)
        return done

    async def _send_replies(self) -> None:
        while True:
            await self._reply_waits.wait()
            self._send_now()

    def _send_now(self) -> None:
        self._reply_waits = trio.Event()
        replies, self._replies = self._replies, {}
        for connection, messages in replies.items():
            connection.send(messages)
