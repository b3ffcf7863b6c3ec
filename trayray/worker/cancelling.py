"""Interrupting one call in a worker: where user code begins and ends, how an exception gets into it and nowhere else.

The main thread is reached by a signal of trayray's own, whose handler checks that exactly this call is in user code and
then does what Ctrl-C would: it calls the handler of SIGINT, which raises KeyboardInterrupt, or which an event loop of
the user's has replaced. Other threads are reached by an exception that the interpreter raises in them before their next
instruction; what they wait for in C does not end by it.
Not here: which call is to be interrupted and when (``core.cancellation``), event loops (``async_execution``).
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import trio

from trayray.core.cancellation import Step
from trayray.worker.references import ThreadWaiter
from trayray.worker.thread_calls import ThreadCall

if TYPE_CHECKING:
    from trayray.worker.calls import Call

#: Nobody else uses it; SIGINT stays the user's.
SIGNAL: Final = signal.SIGRTMAX - 3
#: A signal may come while the runtime works for the user code, or just before a system call: it is repeated (seconds).
_REPEAT_SECONDS: Final = 0.01
#: A thread that runs so many meets whatever was to be raised in it.
_INSTRUCTIONS: Final = 100

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: Frames that return and go on later: a return is no end of theirs.
_SUSPENDING: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
#: Built on the public API alone, as user code is.
_LIKE_USER_CODE: Final = tuple(_PACKAGE + name + os.sep for name in ("util", "dag"))


class CallCancelled(BaseException):
    """A cancelled call ends here, without an exception of its own."""

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        self.step = step


class Region(Protocol):
    """User code of one thread."""

    @property
    def interrupted(self) -> bytes:
        """The last call that KeyboardInterrupt was raised in."""
        ...

    def run(self, task: bytes, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call ``function``, which is user code of call ``task``."""
        ...


class CallRegions(Region, Protocol):
    """User code of one call after the other, in the thread that executes them."""

    def want(self, task: bytes) -> bool:
        """Interrupt a call that has not `ended`; `interrupt` follows, unless it is wanted already (loop)."""
        ...

    async def interrupt(self, task: bytes) -> None:
        """Go on until the call is in user code and has been interrupted there, or has ended (loop)."""
        ...

    def ended(self, task: bytes) -> None:
        """The call has left user code for good."""
        ...


class MainRegion:
    """User code in the main thread."""

    def __init__(self) -> None:
        self.interrupted = b""
        #: The call whose user code runs. Set and cleared by the main thread alone, in which the handler runs too.
        self._inside: bytes | None = None
        #: Calls to be interrupted. The loop's thread adds one before it looks at `_inside`, the main thread sets
        #: `_inside` before it looks here: one of the two sees the other.
        self._wanted: set[bytes] = set()
        self._thread = threading.get_ident()

    def install(self) -> None:
        """Handle the signal; in the main thread."""
        signal.signal(SIGNAL, self._handle)

    def run(self, task: bytes, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """See `Region.run`. An interrupt lands between the first line and the last, at most once."""
        try:
            self._inside = task
            if self._wanted and task in self._wanted:
                self._land(task)
                raise KeyboardInterrupt
            return function(*args, **kwargs)
        finally:
            self._inside = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        task = self._inside
        if task is None or task not in self._wanted:
            return
        runtime = _runtime_frame(frame)
        if runtime is None:
            self._interrupt_here(task, frame)
        elif not runtime.f_code.co_flags & _SUSPENDING and runtime.f_code.co_name != "__del__" and not sys.gettrace():
            self._interrupt_at_return(task, runtime)  # otherwise the next signal may find it elsewhere

    def _interrupt_here(self, task: bytes, frame: FrameType | None) -> None:
        self._land(task)
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)

    def _interrupt_at_return(self, task: bytes, frame: FrameType) -> None:
        """Interrupt the call when the runtime's function at ``frame`` returns to user code."""

        def traced(frame: FrameType, event: str, argument: Any) -> Any:
            if event != "return":
                return traced
            sys.settrace(None)
            frame.f_trace = None
            if self._inside == task and task in self._wanted:
                self._interrupt_here(task, frame.f_back)
            return None

        frame.f_trace_lines = False
        frame.f_trace = traced
        sys.settrace(_trace_nothing)  # without it no frame is traced

    def _land(self, task: bytes) -> None:
        self._wanted.discard(task)
        self._inside = None
        self.interrupted = task

    def want(self, task: bytes) -> bool:
        """Interrupt a call that has not `ended`; `interrupt` follows, unless it is wanted already (loop)."""
        if task in self._wanted:
            return False
        self._wanted.add(task)
        self._signal(task)
        return True

    async def interrupt(self, task: bytes) -> None:
        """Go on until the call is in user code and has been interrupted there, or has ended (loop)."""
        while task in self._wanted:
            self._signal(task)
            await trio.sleep(_REPEAT_SECONDS)

    def _signal(self, task: bytes) -> None:
        if self._inside == task:
            signal.pthread_kill(self._thread, SIGNAL)

    def ended(self, task: bytes) -> None:
        """The call has left user code for good."""
        self._wanted.discard(task)


class ThreadRegion:
    """User code of one call in another thread than the main one."""

    def __init__(self) -> None:
        self.interrupted = b""
        #: Guards what follows: an exception is sent only while the thread is inside, which it leaves under the lock.
        self._lock = threading.Lock()
        self._thread = 0
        self._inside: bytes | None = None
        self._wanted = False
        self._sent = False
        self._ended = False

    def run(self, task: bytes, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """See `Region.run`."""
        try:
            try:
                self._enter(task)
                return function(*args, **kwargs)
            finally:
                self._leave()
        except KeyboardInterrupt:  # perhaps in the midst of leaving; it comes once
            self._leave()
            if self._sent:
                self.interrupted = task
            raise

    def _enter(self, task: bytes) -> None:
        with self._lock:
            self._thread = threading.get_ident()
            self._inside = task
            late = self._wanted and not self._sent
            self._sent = self._sent or late
        if late:
            raise KeyboardInterrupt

    def _leave(self) -> None:
        with self._lock:
            self._inside = None
        if self._sent:
            # What has not been raised yet is raised here. (Taking it back leaves the interpreter alarmed for good.)
            with suppress(KeyboardInterrupt):
                for _ in range(_INSTRUCTIONS):
                    pass

    def want(self) -> bool:
        """See `MainRegion.want`."""
        with self._lock:
            wanted, self._wanted = self._wanted, True
            return not wanted

    async def interrupt(self) -> None:
        """Interrupt the call as soon as it is in user code; returns when that has happened, or it has ended (loop)."""
        while not self._send():  # noqa: ASYNC110 -- where the thread is no event tells
            await trio.sleep(_REPEAT_SECONDS)

    def _send(self) -> bool:
        with self._lock:
            if self._sent or self._ended:
                return True
            frame = sys._current_frames().get(self._thread)
            if self._inside is not None and frame is not None and _may_be_interrupted(frame):
                self._sent = True
                _raise_in_thread(self._thread, KeyboardInterrupt)
            return self._sent

    def ended(self) -> None:
        """See `MainRegion.ended`."""
        with self._lock:
            self._ended = True


def _raise_in_thread(thread: int, kind: type[BaseException]) -> None:
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


class Steps(Generator[Any, Any, None]):
    """A generator or iterator that user code has returned: each of its steps is user code of the call."""

    def __init__(self, region: Region, call: Call, steps: Iterator[Any], check: Callable[[Call], None]) -> None:
        """``check`` is called with the call before each step, and may raise."""
        self._region = region
        self._call = call
        self._task = call.push.task
        self._steps = steps
        self._next = steps.__next__
        self._check = check

    def __next__(self) -> Any:
        self._check(self._call)
        return self._region.run(self._task, self._next, (), {})

    def send(self, value: Any, /) -> Any:
        return self.__next__()

    def throw(self, kind: Any, value: Any = None, traceback: Any = None, /) -> Any:
        raise value or kind

    def close(self) -> None:
        close = getattr(self._steps, "close", None)
        if close is not None:
            self._region.run(self._task, close, (), {})


def is_interruption(error: BaseException) -> bool:
    """Whether the exception is KeyboardInterrupt, or a group with one."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_interruption(each) for each in cast("BaseExceptionGroup[BaseException]", error).exceptions)
    return isinstance(error, KeyboardInterrupt)


#: Code that calls user code of a call: what is further out is not looked at.
_REGIONS: Final = frozenset({MainRegion.run.__code__, ThreadRegion.run.__code__})
#: Code of the runtime that does nothing but wait for user code, which may be interrupted there.
_WAITING: Final[set[CodeType]] = {
    ThreadWaiter.wait.__code__,
    ThreadCall[Any].wait.__code__,
}


def may_be_interrupted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: user code that waits in this function of the runtime may be interrupted there."""
    _WAITING.add(function.__code__)
    return function


def _runtime_frame(frame: FrameType | None) -> FrameType | None:
    """Where user code has called the runtime, which works for it now and must not be torn; None where it does not."""
    outermost: FrameType | None = None
    while frame is not None and frame.f_code not in _REGIONS:  # None: in a greenlet, whose frames do not lead back here
        code = frame.f_code
        if outermost is None and code in _WAITING:
            return None
        if code.co_filename.startswith(_PACKAGE) and not code.co_filename.startswith(_LIKE_USER_CODE):
            outermost = frame
        frame = frame.f_back
    return outermost


def _may_be_interrupted(frame: FrameType | None) -> bool:
    """Whether a thread that is at ``frame`` is in user code, or waits for it in the runtime."""
    return _runtime_frame(frame) is None


def _trace_nothing(frame: FrameType, event: str, argument: Any) -> None:
    """The global trace function that leaves new frames alone."""
