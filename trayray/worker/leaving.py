"""A worker's end in good order: what it has to clean up, and how it does that before it leaves.

    1. calls in progress   may end, are interrupted (`Leaving.ordered`), their `finally` blocks run
    2. the actor's hook    `__trayray_shutdown__`, else `__ray_shutdown__`, once, if its constructor has returned
    3. exit handlers       what user code has registered with `atexit`, latest first
    4. children            processes that user code has started are killed

All of it in the main thread, or in the loop of an asynchronous actor. The node kills a worker that takes too long.
Not here: when a worker is told to leave (``node.endings``), how a call is interrupted (``cancelling``).
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from trayray.wire.process_messages import CleanupDue, Exiting
from trayray.worker.cancelling import _LIKE_USER_CODE, _WAITING, MainRegion, ThreadRegion, is_interruption
from trayray.worker.current import actor_self

if TYPE_CHECKING:
    from trayray.core.leaving import WorkerSettings
    from trayray.wire.process_messages import Exit
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.execution import Executor
    from trayray.worker.exits import ExitRequested

F = TypeVar("F", bound=Callable[..., Any])

#: Names of an actor's hook; the first that its class has is called.
HOOKS = ("__trayray_shutdown__", "__ray_shutdown__")
#: Shares of a worker's time in which calls in progress may end by themselves, and have to end at the latest: the rest
#: is the hook's and the exit handlers'.
PATIENCE, CALLS_SHARE = 0.5, 0.75
#: Nobody else uses it. It may come while the runtime works for user code, and is repeated (seconds).
_SIGNAL = signal.SIGRTMAX - 4
_REPEAT_SECONDS = 0.01
#: A loop that has not taken an order after so long is blocked by a call (seconds).
_LOOP_SECONDS = 0.1
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Leaving:
    """The end of one worker process."""

    def __init__(self, core: CoreWorker, executor: Executor, settings: WorkerSettings) -> None:
        self._core = core
        self._executor = executor
        self._settings = settings
        #: Exit handlers that are not the user's.
        self._own_handlers = atexit._ncallbacks()
        #: The actor's constructor has returned: its hook may be called.
        self.constructed = False
        self._thread = threading.get_ident()
        self._interrupted = False
        #: What the node's order to leave has been made into.
        self._request: ExitRequested | None = None
        self._begun = False
        self._announced = False
        #: What this process may take (seconds).
        self._seconds = settings.seconds
        self._deadline = 0.0

    # --- the loop's thread: the main thread may be busy ---

    def is_due(self) -> bool:
        """Whether this process has anything to clean up."""
        return (
            self._begun
            or self._hook() is not None
            or self._has_exit_handlers()
            or self._executor.calls_in_loop() > 0
            or self._executor.cancelled.has_loop_task  # whose coroutines are on no stack while they wait
            or any(_has_blocks(frame) for frame in self._frames_of_calls())
        )

    def _has_exit_handlers(self) -> bool:
        return atexit._ncallbacks() > self._own_handlers

    def _frames_of_calls(self) -> Iterator[FrameType]:
        """Where the threads that execute calls are; those of other threads are not known to end."""
        threads = {self._thread, *(call.thread for call in list(self._executor.pooled.values()))}
        return (frame for thread in threads if (frame := frame_of(thread)) is not None)

    def ordered(self, order: Exit) -> None:
        """The node tells this process to leave."""
        from trayray.worker.exits import ExitRequested

        if not self._begun:
            self._seconds = order.seconds
            request = self._request = ExitRequested(order.reason, patient=order.patient)
            self._executor.order(lambda: _raise(request))
            self._core.nursery.start_soon(self._interrupt_calls, order.seconds * PATIENCE if order.patient else 0.0)

    async def _interrupt_calls(self, delay: float) -> None:
        """Reach the main thread while it executes a call, which may take as long as it likes."""
        if self._executor.is_async:
            delay = max(delay, _LOOP_SECONDS)
        await trio.sleep(delay)
        while not (self._begun or self._interrupted):
            self._reach_thread()
            await trio.sleep(_REPEAT_SECONDS)

    def _reach_thread(self) -> None:
        signal.pthread_kill(self._thread, _SIGNAL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt in user code, once; the signal is repeated when it comes at another moment."""
        if self._begun or self._interrupted or not _is_user_code(frame):
            return
        self._interrupted = True
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):  # user code's own, or that of its event loop
            handler(signal.SIGINT, frame)

    # --- threads that execute calls ---

    def take_over(self, error: BaseException) -> None:
        """Raise the request to leave where a call has ended with ``error`` because of it.

        Such a call has no result: the end of the process tells its caller why.
        """
        if self._request is not None and (self._interrupted or self._begun) and is_interruption(error):
            raise self._request from None

    # --- the main thread ---

    def install(self) -> None:
        """Handle the signal by which calls in the main thread are interrupted."""
        signal.signal(_SIGNAL, self._handle)

    def begin(self) -> None:
        """From now on the process is on its way out, and its time is limited. Idempotent."""
        if not self._begun:
            self._begun = True
            self._deadline = time.monotonic() + self._seconds
            self._core.to_node_if_there([CleanupDue(True)])

    def remaining(self, share: float) -> float:
        """What is left of this share of the process's time (seconds)."""
        return max(0.0, self._deadline - time.monotonic() - (1 - share) * self._seconds)

    def announce(self, end: ExitRequested) -> None:
        """Answer calls, then say that the process takes no more. Idempotent."""
        if self._announced:
            return
        self._announced = True
        self._executor.send_everything()
        self._core.report_timeline()
        if end.code:  # a crash, which the node reports with the last lines of output
            traceback.print_exception(end.__cause__)
        else:
            self._core.to_node_if_there([Exiting(end.reason)])

    def clean_up(self, end: ExitRequested) -> None:
        """Everything that is to be done before the process ends."""
        self.begin()
        self._end_threads(end)
        self.announce(end)
        self._call_hook()
        self._run_exit_handlers()
        sys.stdout.flush()
        sys.stderr.flush()
        self._core.to_node_if_there([CleanupDue(False)])

    def _end_threads(self, end: ExitRequested) -> None:
        """Let calls in the pools of a threaded actor end, or interrupt them where they run Python code."""
        pools = list(self._executor._pools.values())
        threads = [thread for pool in pools for thread in pool._threads]
        if end.patient:
            for pool in pools:
                pool.shutdown(wait=False)
            _join(threads, lambda: self.remaining(PATIENCE))
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        busy = {call.thread for call in list(self._executor.pooled.values()) if _has_blocks(frame_of(call.thread))}
        for thread in busy:
            interrupt_thread(thread)
        _join((thread for thread in threads if thread.ident in busy), lambda: self.remaining(CALLS_SHARE))

    def _hook(self) -> Callable[[], Any] | None:
        actor = actor_self()
        if actor is None or not self.constructed:
            return None
        # Of the class: `__getattr__` of an instance may have an answer to any name.
        kind = cast("type[Any]", type(actor.instance))
        name = next((name for name in HOOKS if hasattr(kind, name)), None)
        return None if name is None else getattr(actor.instance, name)

    def _take_hook(self) -> Callable[[], Any] | None:
        """The hook, to be called now: nobody gets it again."""
        hook = self._hook()
        self.constructed = False
        return hook

    def _call_hook(self) -> None:
        hook = self._take_hook()
        if hook is None:
            return
        try:
            result = hook()
            if inspect.isawaitable(result):
                from trayray.worker.async_execution import run_to_end

                run_to_end(result)
        except BaseException:  # noqa: BLE001 -- whatever it is, the rest of the end follows
            _report_hook(hook)

    async def call_hook_in_loop(self, run: Callable[[Awaitable[Any]], Awaitable[Any]]) -> None:
        """Call the hook of an asynchronous actor in its own loop; ``run`` awaits what it returns."""
        hook = self._take_hook()
        if hook is None:
            return
        try:
            result = hook()
            if inspect.isawaitable(result):
                await run(result)
        except trio.Cancelled:
            raise
        except BaseException:  # noqa: BLE001 -- as above
            _report_hook(hook)

    def _run_exit_handlers(self) -> None:
        """Run what is registered with `atexit`, and kill this process's children.

        The handler of `multiprocessing` comes last: it waits for children that are no daemons, however long.
        """
        waits = getattr(sys.modules.get("multiprocessing.util"), "_exit_function", None)
        if waits is not None:
            atexit.unregister(waits)
        atexit._run_exitfuncs()
        if self._settings.kills_children:
            _kill_children()
        if waits is not None:
            atexit.register(waits)
            atexit._run_exitfuncs()


def _raise(end: BaseException) -> None:
    raise end


def _join(threads: Iterable[threading.Thread], remaining: Callable[[], float]) -> None:
    for thread in threads:
        thread.join(remaining())


def frame_of(thread: int) -> FrameType | None:
    """Where a thread is; None when it has ended.

    Nobody keeps the frames of all threads, among which is his own: what their variables hold would live on in a cycle.
    """
    return sys._current_frames().get(thread)


def interrupt_thread(thread: int) -> None:
    """Raise KeyboardInterrupt in a thread, before its next instruction."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))


def _has_blocks(frame: FrameType | None) -> bool:
    """Whether user code on this stack has a `try` or `with` statement: it may want to clean up."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            if code.co_name in _BOUNDARIES:
                return False
        elif code.co_exceptiontable:
            return True
        frame = frame.f_back
    return False


#: Functions of the runtime that call user code.
_ENTRANCES: set[CodeType] = {MainRegion.run.__code__, ThreadRegion.run.__code__}


def calls_user_code(function: F) -> F:
    """Decorator: what this function of the runtime calls, or awaits, is user code, and may be interrupted there."""
    _ENTRANCES.add(function.__code__)
    return function


def _is_user_code(frame: FrameType | None) -> bool:
    """Whether a thread that is at ``frame`` is in user code, or waits for it in the runtime, which must not be torn."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE) and not code.co_filename.startswith(_LIKE_USER_CODE):
            return code in _ENTRANCES or code in _WAITING
        frame = frame.f_back
    return False


#: Functions of the runtime below which there is no user code on a stack.
_BOUNDARIES = frozenset({"run", "call", "_construct", "_execute_in_thread", "_drive"})


def _report_hook(hook: Callable[[], Any]) -> None:
    """What goes wrong at the end is shown where the actor's output is."""
    name = getattr(hook, "__qualname__", repr(hook))
    sys.stderr.write(f"{name}() raised an exception while the actor (pid {os.getpid()}) was ending:\n")
    traceback.print_exc()


def _kill_children() -> None:
    from trayray.node.process_control import await_child, children, is_resource_tracker, kill

    condemned = [pid for pid in children() if not is_resource_tracker(pid)]
    for pid in condemned:
        kill(pid)
    for pid in condemned:
        await_child(pid, _CHILD_SECONDS)


#: A killed child ends within so long, unless the kernel holds it (seconds).
_CHILD_SECONDS = 0.5
