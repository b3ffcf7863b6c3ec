"""What a pool's methods return at once: ``AsyncResult``, and the iterators of ``imap``.

Outcomes come in by the pool's thread, which also runs the callbacks. Not here: who does the work (``dispatch``).
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import TimeoutError as PoolTimeoutError
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from trayray.util.multiprocessing.dispatch import Chunk, Outcome, own_error

if TYPE_CHECKING:
    from trayray.util.multiprocessing.pool import Pool

T = TypeVar("T")

_IN_CALLBACK = "a callback of a pool cannot wait for other work of that pool, which would come after the callback"


class AsyncResult(Generic[T]):
    """The result of ``apply_async``, ``map_async`` or ``starmap_async``, which is there once all of it is.

    Callbacks are called once, in the pool's thread, before ``ready()`` is true. What a callback raises goes to
    ``threading.excepthook``, which prints it.
    """

    def __init__(
        self,
        pool: Pool,
        chunks: int,
        callback: Callable[[T], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        for name, function in (("callback", callback), ("error_callback", error_callback)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be a callable, not {type(function).__name__}")
        #: Keeps the pool alive: one that nobody holds is terminated.
        self._pool = pool
        self._callback = callback
        self._error_callback = error_callback
        self._missing = chunks
        self._parts: list[list[Any]] = [[] for _ in range(chunks)]
        #: That of the first chunk that has one, whichever came first.
        self._error: BaseException | None = None
        self._error_in = chunks
        self._done = threading.Event()

    # --- for the user ---

    def ready(self) -> bool:
        """Whether the result, or an error, is there."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether there was no error.

        Raises:
            ValueError: not ready.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is ready, at most ``timeout`` seconds.

        Raises:
            RuntimeError: called by a callback, which would keep what it waits for from coming.
        """
        if not self._pool.is_callback_running:
            self._done.wait(timeout)
        elif self._missing:
            raise RuntimeError(_IN_CALLBACK)

    def get(self, timeout: float | None = None) -> T:
        """The result; waits for it, at most ``timeout`` seconds.

        Raises:
            multiprocessing.TimeoutError: not ready in time.
            Exception: what the function raised, with the remote traceback as its cause.
            ActorDiedError: the process died.
            RuntimeError: the pool was terminated, or called by a callback.
        """
        self.wait(timeout)
        if not self._done.is_set() and not self._pool.is_callback_running:  # its own callback may have it before
            raise PoolTimeoutError(f"{self!r} has no result after {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value()

    def _value(self) -> Any:
        return self._parts[0][0]

    def __repr__(self) -> str:
        state = "waiting" if self._missing else "failed" if self._error is not None else "done"
        return f"<{type(self).__name__}: {state}, {self._missing} of {len(self._parts)} chunks missing>"

    # --- for the pool's thread ---

    def deliver(self, number: int, outcomes: list[Outcome]) -> None:
        error = next((value for succeeded, value in outcomes if not succeeded), None)
        if error is not None:
            self._note_error(number, error)
        self._parts[number] = [value for _, value in outcomes]
        self._one_less()

    def fail(self, number: int, error: BaseException) -> None:
        self._note_error(number, error)
        self._one_less()

    def _note_error(self, number: int, error: BaseException) -> None:
        if number < self._error_in:
            self._error, self._error_in = own_error(error), number

    def _one_less(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.settle()

    def settle(self) -> None:
        """All is there: tell it."""
        if self._error is not None:
            _call_back(self._error_callback, self._error)
        else:
            _call_back(self._callback, self._value())
        self._callback = self._error_callback = None
        self._done.set()


class MapResult(AsyncResult[list[T]]):
    """The result of ``map_async`` and ``starmap_async``."""

    def _value(self) -> list[T]:
        return [value for part in self._parts for value in part]


def _call_back(callback: Callable[[Any], object] | None, value: object) -> None:
    if callback is None:
        return
    try:
        callback(value)
    except Exception:  # noqa: BLE001 -- the user's; reported as that of any thread, and the pool goes on
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


class IMapIterator(Generic[T]):
    """The results of ``imap`` and ``imap_unordered``, one by one.

    The input is read as results are taken, so that it may be endless: at most two chunks ahead for each process. What
    the function raises comes up in its place, and the iteration can go on after it; what the input raises comes last.
    """

    def __init__(self, pool: Pool, function: Any, chunks: Iterator[list[Any]], ahead: int) -> None:
        self._pool = pool
        self._function = function
        self._chunks = chunks
        self._ahead = ahead
        #: Held while the input is read, in whichever thread takes results.
        self._reading = threading.Lock()
        self._exhausted = False
        self._input_error: BaseException | None = None
        #: Guards what follows.
        self._changed = threading.Condition()
        self._sent = 0
        self._taken = 0
        #: Outcomes of the chunk that is being taken.
        self._current: deque[Outcome] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """The next result; waits for it, at most ``timeout`` seconds.

        Raises:
            multiprocessing.TimeoutError: not there in time; it can be asked for again.
            StopIteration: there are no more.
            Exception: what the function raised.
            RuntimeError: called by a callback, which would keep what it waits for from coming.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.read_input()
            with self._changed:
                if not self._current and not self._wait(deadline):
                    break
                if self._current:
                    succeeded, value = self._current.popleft()
                    if succeeded:
                        return value
                    raise own_error(value)
        error, self._input_error = self._input_error, None
        if error is not None:
            raise error
        raise StopIteration

    def _wait(self, deadline: float | None) -> bool:
        """Wait for a chunk and make it the current one; False when all have been taken."""
        if self._taken == self._sent and self._exhausted:
            return False
        if self._taken < self._sent and not self._take():
            if self._pool.is_callback_running:
                raise RuntimeError(_IN_CALLBACK)
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not self._changed.wait(left):
                raise PoolTimeoutError("the next result is not there in time")
        return True

    def _take(self) -> bool:
        """Make a chunk that is there the current one; False when there is none."""
        raise NotImplementedError

    def read_input(self, *, to_its_end: bool = False) -> None:
        """Submit as many chunks as may be ahead, or all."""
        with self._reading:
            while not self._exhausted and (to_its_end or self._sent - self._taken < self._ahead):
                try:
                    items = next(self._chunks, None)
                except Exception as error:  # noqa: BLE001 -- the user's iterable; raised where its results end
                    self._input_error = error
                    items = None
                if items is None:
                    with self._changed:
                        self._exhausted = True
                        self._changed.notify_all()
                    return
                with self._changed:
                    number = self._sent
                    self._sent += 1
                self._pool.send([Chunk(self, number, "run", (self._function, items, False))])

    # --- for the pool's thread ---

    def deliver(self, number: int, outcomes: list[Outcome]) -> None:
        with self._changed:
            self._came(number, outcomes)
            self._changed.notify_all()

    def fail(self, number: int, error: BaseException) -> None:
        self.deliver(number, [(False, error)])

    def _came(self, number: int, outcomes: list[Outcome]) -> None:
        raise NotImplementedError


class OrderedIMapIterator(IMapIterator[T]):
    """The results of ``imap``: in the order of the input."""

    def __init__(self, pool: Pool, function: Any, chunks: Iterator[list[Any]], ahead: int) -> None:
        super().__init__(pool, function, chunks, ahead)
        self._there: dict[int, list[Outcome]] = {}

    def _came(self, number: int, outcomes: list[Outcome]) -> None:
        self._there[number] = outcomes

    def _take(self) -> bool:
        outcomes = self._there.pop(self._taken, None)
        if outcomes is None:
            return False
        self._taken += 1
        self._current.extend(outcomes)
        return True


class UnorderedIMapIterator(IMapIterator[T]):
    """The results of ``imap_unordered``: as they come."""

    def __init__(self, pool: Pool, function: Any, chunks: Iterator[list[Any]], ahead: int) -> None:
        super().__init__(pool, function, chunks, ahead)
        self._there: deque[list[Outcome]] = deque()

    def _came(self, number: int, outcomes: list[Outcome]) -> None:
        del number
        self._there.append(outcomes)

    def _take(self) -> bool:
        if not self._there:
            return False
        self._taken += 1
        self._current.extend(self._there.popleft())
        return True
