"""A pool's processes and the thread that gives them work: each process has one chunk at a time, a free one takes the
next.

All of `Dispatcher`'s state belongs to its thread; others post events. Not here: what becomes of outcomes (``results``).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

import attrs

from trayray.api.blocking import get, kill, wait
from trayray.exceptions import ActorDiedError, ActorHandleNotFoundError, RaySystemError
from trayray.task_error import RayTaskError
from trayray.wire.serialization import copied
from trayray.worker.current import core_worker
from trayray.worker.references import ObjectRef

#: A value, or what the function raised instead.
Outcome: TypeAlias = "tuple[bool, Any]"

#: How long processes that have nothing left to do may take to end (seconds).
_END_SECONDS = 5.0


class PoolActor:
    """One process of a pool. Methods return None and the outcomes: the former tells that the latter are there."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        if initializer is not None:
            initializer(*initargs)

    def call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any]
    ) -> tuple[None, list[Outcome]]:
        """One call."""
        return None, [_outcome(function, args, kwds)]

    def run(self, function: Callable[..., Any], items: list[Any], unpack: bool) -> tuple[None, list[Outcome]]:
        """A call for each item, which is the argument or, to be unpacked, the arguments."""
        return None, [_outcome(function, item if unpack else (item,), {}) for item in items]


def _outcome(function: Callable[..., Any], args: Any, kwds: dict[str, Any]) -> Outcome:
    try:
        return True, function(*args, **kwds)
    except Exception as error:  # noqa: BLE001 -- the user's function; raised where the result is collected
        name = getattr(function, "__name__", type(function).__name__)
        return False, RayTaskError.from_exception(error, function_name=name, pid=os.getpid(), copied=copied)


def own_error(error: BaseException) -> BaseException:
    """What to raise for an error of a chunk or an item: the user's own exception, caused by its remote traceback."""
    if type(error) is RayTaskError and error.cause is not None:
        error.cause.__cause__ = error
        return error.cause
    return error


class Job(Protocol):
    """Who gets the outcomes of chunks; called by the pool's thread."""

    def deliver(self, number: int, outcomes: list[Outcome]) -> None:
        """Chunk ``number`` of the job is done."""
        ...

    def fail(self, number: int, error: BaseException) -> None:
        """Chunk ``number`` has no outcomes, for a reason that is not the user's function."""
        ...


@attrs.define(eq=False)
class Chunk:
    """Work for one process at a time: a method of `PoolActor` and its arguments."""

    job: Job
    number: int
    method: str
    arguments: tuple[Any, ...]


@attrs.define(eq=False)
class _Process:
    """A place of the pool. The actor in it is replaced when it dies or has done its share."""

    actor: Any
    #: What it is doing.
    chunk: Chunk | None = None
    chunks_done: int = 0


class Dispatcher:
    """Starts the thread and the processes.

    Args:
        size: number of processes.
        create: makes an actor of `PoolActor`.
        chunks_per_process: a process is replaced after so many; None for never.
    """

    def __init__(self, size: int, create: Callable[[], Any], chunks_per_process: int | None) -> None:
        self._create = create
        self._share = chunks_per_process
        #: The membership in the cluster that the processes belong to.
        self._core = core_worker()
        self._events: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._pending: deque[Chunk] = deque()
        self._processes = [_Process(create()) for _ in range(size)]
        #: All and only processes without a chunk, longest idle first.
        self._idle = deque(self._processes)
        self._closing = False
        self._ended = False
        #: Guards that no chunk is posted once nobody reads events any more, and says whether that is so.
        self._last_words = threading.Lock()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="trayray-pool", daemon=True)
        self._thread.start()
        atexit.register(self._end_at_exit)

    # --- from any thread ---

    @property
    def is_connected(self) -> bool:
        """Whether this process is in the cluster that the pool's processes belong to."""
        return self._core is not None and core_worker() is self._core and self._core.closed is None

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller is a callback."""
        return threading.current_thread() is self._thread

    def submit(self, chunks: list[Chunk]) -> None:
        """Have ``chunks`` done, after what was submitted before; they fail at once when the pool has ended."""
        with self._last_words:
            if not self._over:
                self._events.put(partial(self._pending.extend, chunks))
                return
        for chunk in chunks:
            chunk.job.fail(chunk.number, self._why_ended())

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call ``function`` in the pool's thread."""
        self._events.put(function)

    def close(self) -> None:
        """End once everything submitted so far is done."""
        self._events.put(self._close)

    def terminate(self) -> None:
        """End now: processes are killed, and what is not done fails."""
        self._events.put(self._terminate)

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def _end_at_exit(self) -> None:
        # Daemon threads are stopped in the middle of whatever they do; this one is waited for.
        self.terminate()
        self._thread.join(_END_SECONDS)

    # --- the pool's thread ---

    def _run(self) -> None:
        try:
            while not self._ended:
                self._events.get()()
                self._assign()
                if self._closing and not self._pending and len(self._idle) == len(self._processes):
                    self._end_in_good_order()
        finally:
            self._fail_everything()
            atexit.unregister(self._end_at_exit)

    def _close(self) -> None:
        self._closing = True

    def _assign(self) -> None:
        while self._pending and self._idle and not self._ended:
            if not self.is_connected:
                self._fail_pending()
                return
            chunk = self._pending.popleft()
            process = self._idle.popleft()
            try:
                if process.actor is None:
                    process.actor = self._create()
                method = getattr(process.actor, chunk.method).options(num_returns=2)
                done, outcomes = method.remote(*chunk.arguments)
            except Exception as error:  # noqa: BLE001 -- such as arguments that cannot be pickled; raised by the result
                self._idle.appendleft(process)
                chunk.job.fail(chunk.number, error)
                continue
            process.chunk = chunk
            done.future().add_done_callback(partial(self._post_answer, process, outcomes))

    def _post_answer(self, process: _Process, result: ObjectRef[list[Outcome]], _: object) -> None:
        """Called in the runtime's own thread."""
        self._events.put(partial(self._answered, process, result))

    def _answered(self, process: _Process, result: ObjectRef[list[Outcome]]) -> None:
        chunk, process.chunk = process.chunk, None
        if chunk is None:  # failed already: the pool has been terminated
            return
        process.chunks_done += 1
        outcomes: list[Outcome] = []
        failure: BaseException | None = None
        try:
            outcomes = get(result)
        except Exception as error:  # noqa: BLE001 -- the process's death, or the user's unpickling; raised by the result
            failure = error
            if isinstance(error, ActorDiedError):
                process.actor = None
                process.chunks_done = 0
        if self._share is not None and process.chunks_done >= self._share and self.is_connected:
            process.actor.__ray_terminate__.remote()
            process.actor = None if self._closing else self._create()
            process.chunks_done = 0
        self._idle.append(process)
        self._assign()  # callbacks may take their time
        if failure is None:
            chunk.job.deliver(chunk.number, outcomes)
        else:
            chunk.job.fail(chunk.number, failure)

    # --- the end ---

    def _end_in_good_order(self) -> None:
        self._ended = True
        actors = [process.actor for process in self._processes if process.actor is not None]
        if not actors or not self.is_connected:
            return
        ends = [actor.__ray_terminate__.remote() for actor in actors]
        ended, _ = wait(ends, num_returns=len(ends), timeout=_END_SECONDS)
        self._kill([actor for actor, end in zip(actors, ends, strict=True) if end not in ended])

    def _terminate(self) -> None:
        self._ended = True
        self._kill([process.actor for process in self._processes if process.actor is not None])

    def _kill(self, actors: list[Any]) -> None:
        for actor in actors:
            if not self.is_connected:  # they ended with their cluster
                return
            try:
                kill(actor)
            except (ActorHandleNotFoundError, RaySystemError):
                continue  # the cluster has just ended, and they with it

    def _fail_everything(self) -> None:
        """Nothing will be done any more."""
        self._ended = True
        for process in self._processes:
            chunk, process.chunk = process.chunk, None
            if chunk is not None:
                chunk.job.fail(chunk.number, self._why_ended())
        with self._last_words:
            self._over = True
        while not self._events.empty():  # chunks may have been submitted meanwhile
            self._events.get()()
        self._fail_pending()

    def _fail_pending(self) -> None:
        while self._pending:
            chunk = self._pending.popleft()
            chunk.job.fail(chunk.number, self._why_ended())

    def _why_ended(self) -> Exception:
        if self.is_connected:
            return RuntimeError("the pool was terminated before this was done")
        return gone()


def gone() -> RaySystemError:
    """The error of a pool whose cluster this process has left."""
    return RaySystemError(
        "the cluster that the processes of this pool belonged to is gone, or shutdown() was called; make a new Pool"
    )
