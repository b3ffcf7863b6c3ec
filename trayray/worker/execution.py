"""The worker's main thread: task links are read, calls executed in place, replies sent in batches.

User code runs in the main thread so that signals can interrupt it. While the main thread is busy, the loop's thread can
reach into the queue (`Executor.reclaim`, `Executor.cancel`), so a task behind a long one is never stuck.
Not here: asynchronous actors (``async_execution``), one call's arguments and results (``calls``).
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import trio

from trayray.core.cancellation import Step
from trayray.wire.greetings import Hello
from trayray.wire.lease_messages import Lend, Resume
from trayray.wire.task_messages import ASYNC_TASK, LAST, METHOD, Blocked, Define, Done, Push, Returned, StreamMessage
from trayray.worker.calls import Call, Target
from trayray.worker.cancelled_calls import CancelledCalls
from trayray.worker.cancelling import CallRegions, MainRegion, Region, Steps, may_be_interrupted
from trayray.worker.closing_calls import close_in_thread, open_children, with_status
from trayray.worker.connections import Connection, PooledCall
from trayray.worker.current import actor_self, running
from trayray.worker.exits import ExitRequested, exit_request
from trayray.worker.output import set_output_name
from trayray.worker.process_title import set_title
from trayray.worker.stream_calls import StreamCalls
from trayray.worker.yielding import Flows, Send, run_generator

if TYPE_CHECKING:
    from trayray.worker.async_execution import AsyncExecutor
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.leaving import Leaving

#: Replies are held back while short calls follow each other, at most so many and so long (seconds).
_MAX_HELD, _HOLD_SECONDS = 32, 0.0005
#: How long a process that ends in good order waits for callers to take its last replies.
_LAST_SEND_SECONDS = 2.0
#: How long a task that runs at most once waits until its owner has room for the results of those before it.
_OWNER_SECONDS = 60.0
#: How long a process that vanishes waits for whoever holds the lock.
_LAST_FLUSH_SECONDS = 0.1
#: How long a task that was cancelled, or whose code has ended, waits for the CPUs that it has lent.
_CPU_SECONDS = 0.05


class Executor:
    """What a worker's main thread does."""

    leaving: Leaving
    #: How what runs is shown: as the process's title, and before its lines of output.
    show_title = staticmethod(set_title)
    show_source = staticmethod(set_output_name)

    def __init__(self, core: CoreWorker, region: CallRegions | None = None) -> None:
        """``region``: user code in the calling thread, if that is not the process's main thread."""
        self.core = core
        core.executor = self
        #: Guards `queue`, reading from connections, and held replies.
        self.lock = threading.RLock()
        self.queue: deque[tuple[Connection, Push]] = deque()
        self.connections: dict[int, Connection] = {}
        self.cancelled = CancelledCalls(self, MainRegion() if region is None else region)
        #: What the main thread took out of the queue last, until it has ended. Guarded by the lock.
        self.taken: tuple[Connection, Push] | None = None
        self._main_thread = threading.get_ident()
        self._poller = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._wakeup, select.EPOLLIN)
        #: Work for the main thread from the loop: the actor's constructor, the end.
        self._orders: deque[Callable[[], None]] = deque()
        #: Set when the node has given lent CPUs back, and when the task that waits for them is cancelled.
        self._resumed = threading.Event()
        self._has_cpus = True
        #: A task went on without the CPUs that it had lent: it was cancelled, or had nothing to do but to reply.
        self.lacks_cpus = False
        #: Running generators whose consumers may be slower.
        self.flows = Flows()
        #: Running calls with a stream to their callers.
        self.streams = StreamCalls(core)
        #: Calls of functions that a worker may run only so often, by function; and that this worker has run one as
        #: often: it takes no more.
        self._counts: dict[str, int] = {}
        self._spent = False
        #: The call that the main thread executes; read by other threads.
        self.current: Call | None = None
        #: Calls that pools of threads have, until they have ended.
        self.pooled: dict[bytes, PooledCall] = {}
        self._current: Connection | None = None
        self._held_since = 0.0
        self._pools: dict[str, ThreadPoolExecutor] = {}
        #: What serves the connections instead of `run`, once the process is an asynchronous actor.
        self._async: tuple[AsyncExecutor, trio.lowlevel.TrioToken] | None = None

    # --- from the loop's thread ---

    def add_connection(self, hello: Hello, sock: socket.socket) -> None:
        """A caller has connected."""
        connection = Connection(hello, sock)
        with self.lock:
            self.connections[connection.link.fileno()] = connection
            if self.hand_over(lambda executor: executor.add_connection(connection)):
                return
        self.core.nursery.start_soon(connection.link.run)
        self._poller.register(connection.link.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def become_async(
        self, executor: AsyncExecutor, token: trio.lowlevel.TrioToken
    ) -> tuple[list[Connection], list[Callable[[], None]]]:
        """The main thread runs a loop from now on, which serves the connections (main thread).

        Returns:
            Those there are, and the orders that the loop has to carry out first.
        """
        with self.lock:
            self._async = executor, token
            orders = list(self._orders)
            self._orders.clear()
            return list(self.connections.values()), orders

    def hand_over(self, work: Callable[[AsyncExecutor], None]) -> bool:
        """Have an asynchronous actor's loop do ``work``, unless it has just ended; False if this is none."""
        if self._async is None:
            return False
        executor, token = self._async
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(work, executor)
        return True

    def order(self, work: Callable[[], None]) -> None:
        """Have the main thread do ``work`` before its next call."""
        with self.lock:
            if self.hand_over(lambda executor: executor.carry_out(work)):
                return
            self._orders.append(work)
        self._wake_main_thread()

    def reclaim(self, address: str) -> None:
        """Send the caller at ``address`` held replies, and give it back its tasks that have not started."""
        if self._async is not None:
            return  # an asynchronous actor holds nothing back
        with self.lock:
            for connection in list(self.connections.values()):
                if connection.address == address:
                    self._read(connection)
                    self._flush(connection)
                    self._give_back(connection)
        self._wake_main_thread()

    def _wake_main_thread(self) -> None:
        """Have the main thread look at the queue: what the loop's thread has read no longer wakes its poll."""
        os.eventfd_write(self._wakeup, 1)

    def _give_back(self, connection: Connection) -> None:
        mine = [
            (c, push) for c, push in self.queue if c is connection and connection.calls[push.call].define.kind != METHOD
        ]
        if mine:
            given = {push.task for _, push in mine}
            self.queue = deque(item for item in self.queue if item[1].task not in given)
        connection.send([Returned([push.task for _, push in mine])])

    def cancel(self, task: bytes, step: Step, *, recursive: bool, force: bool) -> None:
        """A caller cancels a call; one that is queued here never starts."""
        if self._async is None:
            self.cancelled.request(task, step, recursive=recursive, force=force)
            return
        if recursive:
            self.core.cancel_children(task, force=force)
        self.hand_over(lambda executor: executor.cancel(task, step, recursive))

    def read_all(self) -> None:
        """Take in what has arrived from callers; under the lock."""
        for connection in list(self.connections.values()):
            self._read(connection)

    def answer_cancel(self, connection: Connection) -> None:
        """Tell a caller what has ended here, and what has not started, so that it knows what runs."""
        with self.lock:
            self._flush(connection)
            if actor_self() is None:
                self._give_back(connection)

    def resumed(self) -> None:
        """The node gave the lent CPUs back."""
        self._has_cpus = True
        self._resumed.set()

    def wait_no_longer(self) -> None:
        """The running task was cancelled: it has no more patience for the CPUs that it has lent."""
        self._resumed.set()

    # --- the main thread ---

    def run(self) -> ExitRequested:
        """Execute calls until the end is ordered; why it was."""
        try:
            while True:
                if self._orders:
                    self._orders.popleft()()
                    continue
                with self.lock:
                    item = self.taken = self.queue.popleft() if self.queue else None
                if item is None:
                    self._idle()
                else:
                    self._execute(*item)
        except ExitRequested as request:
            self.flush_all()
            return request

    def _idle(self) -> None:
        self.flush_all()
        self._read_ready(self._poller.poll())

    def _read_ready(self, ready: list[tuple[int, int]]) -> None:
        for descriptor, _ in ready:
            if descriptor == self._wakeup:
                os.eventfd_read(self._wakeup)
                continue
            with self.lock:
                connection = self.connections.get(descriptor)
                if connection is not None:
                    self._read(connection)

    def _read(self, connection: Connection) -> None:
        messages = connection.link.receive_nowait()
        if messages is None:
            return
        if not messages:
            self._forget(connection)
            return
        for message in messages:
            if type(message) is Push:
                self.queue.append((connection, message))
            elif type(message) is Define:
                self.define(connection, message)
            elif isinstance(message, StreamMessage):
                self.streams.handle(message)
        if self._spent:
            self._give_back(connection)

    @staticmethod
    def define(connection: Connection, message: Define) -> None:
        """A caller declares a call number. Its function is loaded by the thread that first calls it."""
        connection.calls[message.call] = Target(message)

    def _forget(self, connection: Connection) -> None:
        descriptor = connection.link.fileno()
        if self.connections.pop(descriptor, None) is not None:
            self._poller.unregister(descriptor)
            connection.link.close()

    def _execute(self, connection: Connection, push: Push) -> None:
        target = connection.calls[push.call]
        if self._pools:
            pool = self._pools.get(target.define.group)
            if pool is not None:
                pooled = PooledCall(target.define.group, push.name or target.define.name, connection, push)
                self.pooled[push.task] = pooled
                pooled.future = pool.submit(self._execute_in_thread, connection, push, target)
                return
        once = target.define.at_most_once
        if once:
            self.flush_all()
            connection.link.send_rest(_OWNER_SECONDS)
        self._current = connection
        start = time.perf_counter()
        call = self.current = Call(self.core, push, target, connection.address)
        done = self.call(call, partial(self._send_yielded, connection), self.cancelled.region)
        self._current = self.current = None
        end = time.perf_counter()
        with self.lock:
            self.taken = None
            if self.cancelled.calls:
                self.cancelled.ended(push.task)
            if self.lacks_cpus:  # another task must not run without them
                self.take_no_more(done)
            if target.define.max_calls:
                self._count(target.define, done)
            if not connection.held:
                self._held_since = start
            connection.held.append(done)
            more = bool(self.queue) and self.queue[0][0] is connection  # another caller's call may be a long one
            due = len(connection.held) >= _MAX_HELD or end - self._held_since > _HOLD_SECONDS
            if due or not more or once or done.flags or call.stored:  # if this dies, nobody knows what was stored
                self._flush(connection)

    def _send_yielded(self, connection: Connection, messages: list[Any]) -> None:
        if connection.held:
            with self.lock:
                self._flush(connection)
        connection.send(messages)

    def _count(self, define: Define, done: Done) -> None:
        """One more call of a function with ``max_calls``; the last one gives everything back that is queued here."""
        count = self._counts[define.title] = self._counts.get(define.title, 0) + 1
        if count >= define.max_calls:
            self.take_no_more(done)

    def take_no_more(self, done: Done) -> None:
        """This reply is the worker's last: what is queued here goes back; under the lock."""
        done.flags |= LAST
        self._spent = True
        for connection in self.connections.values():
            self._give_back(connection)

    def _execute_in_thread(self, connection: Connection, push: Push, target: Target) -> None:
        pooled = self.pooled[push.task]
        pooled.thread = threading.get_ident()
        try:
            done = self.call(Call(self.core, push, target, connection.address), connection.send, pooled.region)
        except ExitRequested as request:
            self.order(partial(_raise, request))
        else:
            connection.send([done])
        finally:
            with self.lock:
                del self.pooled[push.task]
                pooled.region.ended()
                self.cancelled.ended(push.task)

    def call(self, call: Call, send: Send, region: Region) -> Done:
        """Run one synchronous call to its reply; ``region`` is user code in this thread."""
        if self.cancelled.calls and call.push.task in self.cancelled.calls:
            return call.cancelled(Step.PENDING)
        state = call.running
        token = running.set(state)
        self.show_title(state.name)
        if actor_self() is None:
            self.core.omp_threads.follow(state.resources)
            define = call.target.define
            if define.placement_group or self.core.captured:
                state.placement_group = define.placement_group
                self.core.capture(define.placement_group if define.captures else b"")
            self.show_source(state.name)
        started = time.time()
        try:
            done, ok = self._outcome(call, send, region)
            if state.children is not None:
                self._close(call, send, ok=ok)
        finally:
            running.reset(token)
        self.core.timeline.record(call.push.task, state.name, started, ok)
        return done

    def _outcome(self, call: Call, send: Send, region: Region) -> tuple[Done, bool]:
        """The reply of a call, and whether it has returned."""
        try:
            if call.target.define.group and call.target.define.group not in self._pools:
                raise unknown_group(call, self._pools)
            function = call.target.load()
            while True:
                try:
                    return self._attempt(call, function, send, region), True
                except Exception as error:
                    if call.push.task in self.cancelled.calls or not call.may_repeat(error):
                        raise
        except ExitRequested:
            raise
        except SystemExit as error:
            raise exit_request(error) from error
        except BaseException as error:
            self.leaving.take_over(error)
            return self.cancelled.reply(call, error, region), False

    def _close(self, call: Call, send: Send, *, ok: bool) -> None:
        children = open_children(call, ok=ok)
        if children is None:
            return
        try:
            with self.waiting(at_end=True) if self.lends_in_this_thread() else nullcontext():
                close_in_thread(call, children, send, ok=ok)
        except BaseException as error:
            self.leaving.take_over(error)
            raise

    def _attempt(self, call: Call, function: Callable[..., Any], send: Send, region: Region) -> Done:
        args, kwargs = call.arguments()
        if call.push.starts:
            kwargs = with_status(call, kwargs, send)
        if call.push.window:
            with self.streams.open(call, send, self._current) as stream:
                if call.target.define.kind == ASYNC_TASK:
                    result = function(stream, *args, **kwargs)
                else:
                    result = region.run(call.push.task, function, (stream, *args), kwargs)
                return self._finish(call, result, send, region)
        if call.target.define.kind == ASYNC_TASK:
            # It runs nothing yet. An interruption here would lose the coroutine, of which Python tells.
            result = function(*args, **kwargs)
        else:
            result = region.run(call.push.task, function, args, kwargs)
        del args, kwargs
        return self._finish(call, result, send, region)

    def _finish(self, call: Call, result: Any, send: Send, region: Region) -> Done:
        define = call.target.define
        if define.kind == ASYNC_TASK:
            from trayray.worker.async_execution import run_async_task

            return run_async_task(call, result, send, self.flows, self.cancelled)
        if self.cancelled.calls:
            self.cancelled.checkpoint(call)
        if define.num_returns == 1 and type(result) is not GeneratorType:
            return call.done(result)
        if define.num_returns and isinstance(result, Iterator):
            result = Steps(region, call, cast("Iterator[Any]", result), self.cancelled.checkpoint)
        if call.streams:
            pausing = self.waiting if self.lends_in_this_thread() else nullcontext
            return run_generator(call, result, send, self.flows, pausing)
        return call.done(result)

    def flush_all(self) -> None:
        """Send every held reply."""
        with self.lock:
            for connection in self.connections.values():
                self._flush(connection)

    def send_everything(self) -> None:
        """Send every held reply and see that it leaves, for a process that ends in good order."""
        self.flush_all()
        deadline = time.monotonic() + _LAST_SEND_SECONDS
        for connection in list(self.connections.values()):
            connection.link.send_rest(deadline - time.monotonic())

    def flush_before_exit(self) -> None:
        """As `flush_all`, for a process that is about to vanish, whatever its threads are doing."""
        if self.lock.acquire(timeout=_LAST_FLUSH_SECONDS):
            try:
                self.flush_all()
            finally:
                self.lock.release()

    def _flush(self, connection: Connection) -> None:
        if connection.held:
            held, connection.held = connection.held, []
            connection.send(held)

    # --- questions of the loop's thread ---

    def calls_in_loop(self) -> int:
        """How many calls of an asynchronous actor are in progress."""
        return 0 if self._async is None else self._async[0].in_progress

    @property
    def is_async(self) -> bool:
        """Whether the process is an asynchronous actor."""
        return self._async is not None

    def is_main_thread(self) -> bool:
        """Whether this is called in the thread that executes calls."""
        return threading.get_ident() == self._main_thread

    def pool_size(self, group: str) -> int:
        """How many calls of a concurrency group of a threaded actor are executed at once."""
        return self._pools[group]._max_workers

    def find_queued(self, task: bytes) -> tuple[Define, str] | None:
        """What a call is that has arrived here and has not begun, and its name; None when it is not here."""
        with self.lock:
            for connection in list(self.connections.values()):
                self._read(connection)
            found = next(((c.calls[push.call].define, push) for c, push in self.queue if push.task == task), None)
        self._wake_main_thread()
        return None if found is None else (found[0], found[1].name or found[0].name)

    # --- waiting in a task ---

    def lends_in_this_thread(self) -> bool:
        """Whether the calling thread runs a task (not an actor) that lends its CPUs while it waits."""
        return threading.get_ident() == self._main_thread and self._current is not None and actor_self() is None

    @contextmanager
    def waiting(self, *, at_end: bool = False) -> Generator[None]:
        """Within the block, the running task waits: its owner takes its other tasks back, its CPUs are lent.

        ``at_end``: its code has ended, and needs no CPUs any more.
        """
        connection = self._current
        assert connection is not None
        with self.lock:
            for each in list(self.connections.values()):
                self._read(each)
                self._flush(each)
                self._give_back(each)
        connection.send([Blocked(True)])
        state = running.get()
        lends = state is not None and state.resources.get("CPU", 0) > 0
        if lends:
            self._has_cpus = False
            self._resumed.clear()
            self.core.to_node([Lend()])
        try:
            yield
        finally:
            try:
                if lends:
                    self.core.to_node([Resume()])
                    self._await_cpus(patient=not at_end)
            finally:
                connection.send([Blocked(False)])

    @may_be_interrupted
    def _await_cpus(self, *, patient: bool) -> None:
        """Until the node has given the lent CPUs back; a cancelled task goes on without them, if need be."""
        taken = self.taken
        try:
            if patient and (taken is None or taken[1].task not in self.cancelled.calls):
                self._resumed.wait()
            if not self._has_cpus:
                self._resumed.clear()
                if not self._has_cpus:  # they may have come just before
                    self._resumed.wait(_CPU_SECONDS)
        finally:
            self.lacks_cpus = self.lacks_cpus or not self._has_cpus

    # --- actors ---

    def use_threads(self, max_concurrency: int, groups: dict[str, int]) -> None:
        """Run calls in pools of threads from now on: one pool a concurrency group."""
        for name, size in {"": max_concurrency, **groups}.items():
            self._pools[name] = self._new_pool(size, f"ray-{name or 'default'}")

    @staticmethod
    def _new_pool(size: int, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(size, thread_name_prefix=name)


def _raise(request: ExitRequested) -> NoReturn:
    raise request


def unknown_group(call: Call, groups: Iterable[str]) -> ValueError:
    """The error of a call for a concurrency group that the actor does not have."""
    declared = ", ".join(repr(name) for name in groups if name) or "none"
    return ValueError(
        f"{call.running.name}() was called in concurrency group {call.target.define.group!r}, which the actor does not "
        f"have; it declares {declared}"
    )
