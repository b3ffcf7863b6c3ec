"""A worker in a process that is not its own: its user code runs in a thread, beside the driver's and other workers'.

What a worker process does to its process is left out: signals, title, output, directory, environment, exit handlers.
Such a worker cannot be killed. What is not wanted any more is interrupted, and abandoned if it goes on: it is dead for
everybody else, and the thread is remembered until it ends.
Not here: when such a worker starts and ends (``node.worker_threads``), worker processes (``main``).
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from trayray.core.cancellation import Step
from trayray.worker.core_worker import CoreConfig, CoreWorker
from trayray.worker.daemon_pool import DaemonPool
from trayray.worker.execution import Executor
from trayray.worker.exits import ExitRequested
from trayray.worker.leaving import Leaving, _is_user_code, frame_of, interrupt_thread
from trayray.worker.main import Worker
from trayray.worker.omp_threads import SharedEnvironment
from trayray.worker.thread_regions import ThreadRegions, end_wait

if TYPE_CHECKING:
    import socket

    from trayray.core.leaving import WorkerSettings
    from trayray.gcs.client import GcsClient
    from trayray.link.network import NodeNetwork
    from trayray.wire.greetings import Hello


class ThreadExecutor(Executor):
    """An executor whose main thread is any thread."""

    def __init__(self, core: CoreWorker) -> None:
        super().__init__(core, ThreadRegions(core))

    @staticmethod
    def show_title(name: str) -> None:
        """The thread's name, which debuggers show, is what the title of a process is."""
        threading.current_thread().name = f"ray::{name}"

    @staticmethod
    def show_source(name: str) -> None:
        """What is printed goes where the driver's output goes, without names."""

    @staticmethod
    def _new_pool(size: int, name: str) -> ThreadPoolExecutor:
        return DaemonPool(size, name)

    def adopt_thread(self) -> None:
        """The calling thread is the worker's main thread."""
        self._main_thread = threading.get_ident()

    def order(self, work: Callable[[], None]) -> None:
        with suppress(trio.RunFinishedError):  # of an asynchronous actor: it is about to leave
            super().order(work)

    def cancel(self, task: bytes, step: Step, *, recursive: bool, force: bool) -> None:
        with suppress(trio.RunFinishedError):
            super().cancel(task, step, recursive=recursive, force=force)

    def add_connection(self, hello: Hello, sock: socket.socket) -> None:
        with suppress(trio.RunFinishedError):
            super().add_connection(hello, sock)

    def abandon(self, end: ExitRequested) -> None:
        """Have the thread end, as soon as it is not in user code; nothing in the runtime holds it up."""

        def give_up() -> None:
            if self._async is None:
                raise end
            self._async[0].abort(end)

        self.order(give_up)
        self._resumed.set()
        self.flows.let_all_go()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def hang_up(self) -> None:
        """The links of all callers end."""
        with self.lock:
            connections = list(self.connections.values())
        for connection in connections:
            connection.link.close()

    def close(self) -> None:
        """Nobody waits for calls any more, and nobody wakes who does: let go of descriptors."""
        self._poller.close()
        os.close(self._wakeup)


class ThreadLeaving(Leaving):
    """The end of a worker whose process lives on: exit handlers and children are not its own."""

    def _has_exit_handlers(self) -> bool:
        return False

    def _run_exit_handlers(self) -> None:
        """They are the driver's."""

    def adopt_thread(self) -> None:
        """The calling thread is the worker's main thread."""
        self._thread = threading.get_ident()

    @property
    def interrupted_for(self) -> ExitRequested | None:
        """The order to leave, if user code was interrupted because of it."""
        return self._request if self._interrupted else None

    def _reach_thread(self) -> None:
        if self._executor.cancelled.cancel_loop_task():
            self._interrupted = True
        else:
            self._interrupted = interrupt_user_code(self._core, self._thread)


class ThreadWorker(Worker):
    """One worker."""

    executor: ThreadExecutor
    leaving: ThreadLeaving

    def __init__(self, config: CoreConfig, network: NodeNetwork, settings: WorkerSettings, gcs: GcsClient) -> None:
        base = int.from_bytes(os.urandom(8), "little")
        core = CoreWorker(config, network=network, random_base=base, gcs=gcs)
        core.omp_threads = SharedEnvironment()
        executor = ThreadExecutor(core)
        super().__init__(core, executor, ThreadLeaving(core, executor, settings))
        self._ended = False
        #: Why it has ended, once it has by itself.
        self.reason = ""
        #: Where `run` is called, once that has begun.
        self.threads: list[threading.Thread] = []
        #: The thread and the loop: whoever is the last to let go closes the descriptors.
        self._users = 2
        self._lock = threading.Lock()

    def run(self) -> None:
        """Serve until the end; in the thread whose worker this is."""
        self.executor.adopt_thread()
        self.leaving.adopt_thread()
        try:
            end = self._execute()
            if not self._ended:
                self.leaving.clean_up(end)
                self.reason = end.reason
        except BaseException as error:  # noqa: BLE001 -- the last frame of the thread
            if not self._ended:  # else it is an interruption that has come late
                traceback.print_exc()
                self.reason = f"its thread has failed: {type(error).__name__}: {error}"

    def _execute(self) -> ExitRequested:
        try:
            return self.executor.run()
        except KeyboardInterrupt:  # it was meant for user code that had just returned
            request = self.leaving.interrupted_for
            if request is None:
                raise
            return request

    # --- its end ---

    def cut_off(self, reason: str) -> None:
        """Nobody hears of this worker any more, and it begins nothing more. From any thread; idempotent."""
        if not self._ended:
            self._ended = True
            self.executor.hang_up()
            self.executor.abandon(ExitRequested(reason))

    def end(self, reason: str) -> None:
        """The core worker has ended, and so has the worker for everybody else: its threads shall end (loop; once)."""
        self.cut_off(reason)
        self.executor.hang_up()  # those who have just connected
        arena = getattr(self.core, "arena", None)
        if arena is not None:  # it has joined the node
            arena.close()
        self.let_go()
        if not self.threads:
            self.let_go()

    def let_go(self) -> None:
        """The loop, or the thread, does not touch the executor any more."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self.executor.close()

    def interrupt(self, thread: threading.Thread) -> bool:
        """End the user code in one of its threads; False if there is none just now (loop)."""
        if thread in self.threads and self.executor.cancelled.cancel_loop_task():
            return True
        return interrupt_user_code(self.core, thread.ident or 0)

    def all_threads(self) -> list[threading.Thread]:
        """The threads that execute its calls and have not ended."""
        pools: list[ThreadPoolExecutor] = list(self.executor._pools.values())
        threads = [*self.threads, *(thread for pool in pools for thread in pool._threads)]
        return [thread for thread in threads if thread.is_alive()]


def interrupt_user_code(core: CoreWorker, thread: int) -> bool:
    """Raise KeyboardInterrupt in a thread; False if it is not in user code just now, or has ended (loop)."""
    frame = frame_of(thread)
    if frame is None or not _is_user_code(frame):
        return False
    interrupt_thread(thread)
    end_wait(core, thread)
    return True
