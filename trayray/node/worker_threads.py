"""The node's workers as threads of its own process: the counterpart of ``worker_processes`` for the in-process mode.

Each worker is a child task: its core worker runs in the node's loop, its user code in a thread. A worker that is killed
is dead for everybody at once, though its thread may go on for a while: it is interrupted, and remembered until it ends.
Not here: what such a worker does (``worker.thread_worker``), which workers are needed (``core.leases``).
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import NoReturn

import attrs
import trio

from trayray.core.leaving import WorkerSettings
from trayray.gcs.client import GcsClient
from trayray.link.local_network import LocalNetwork
from trayray.link.network import socket_name
from trayray.node.worker_processes import WorkerProcess
from trayray.worker.core_worker import CoreConfig, run_core_worker
from trayray.worker.current import Member, become, this_member
from trayray.worker.thread_worker import ThreadWorker

#: A worker that was killed is gone when its threads are, or after so long: others wait for the news (seconds).
_GONE_SECONDS = 0.1
#: Threads that are to end may take so long at the node's end; the driver is told of the others (seconds).
_END_SECONDS = 1.0
#: Pauses between two looks at a thread that is to end: the first, and the longest (seconds).
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05


class WorkerVanished(BaseException):
    """``os._exit`` was called in a thread, which has to leave what it executes: its worker is no more."""


@attrs.define(eq=False)
class _Life:
    """One worker that has not ended."""

    worker: ThreadWorker
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class WorkerThreads:
    """Starts workers and sees them end; see `Workers`."""

    def __init__(
        self,
        network: LocalNetwork,
        gcs: GcsClient,
        settings: WorkerSettings,
        ended: Callable[[WorkerProcess, str], None],
    ) -> None:
        """``ended`` gets the cause of each worker's end."""
        self._network, self._gcs, self._settings, self._ended = network, gcs, settings, ended
        self.workers: dict[bytes, WorkerProcess] = {}
        self.started = 0
        #: Names of threads that had not ended when the node had.
        self.left: list[str] = []
        self._lives: dict[bytes, _Life] = {}
        #: Workers that have ended, and whose threads have not.
        self._abandoned: set[ThreadWorker] = set()
        self._nursery: trio.Nursery
        self._ending = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; then until the workers' threads have ended, for a while."""
        try:
            with self._taking_exits():
                async with trio.open_nursery() as self._nursery:
                    task_status.started()
                    try:
                        await trio.sleep_forever()
                    finally:
                        self._ending = True
        finally:
            # Whoever leaves the node finds its threads gone: they end within milliseconds, unless they are in C code
            # or do not want to, which this does not wait for any longer.
            with trio.move_on_after(_END_SECONDS, shield=True):
                async with trio.open_nursery() as nursery:
                    for worker in self._abandoned:
                        nursery.start_soon(_see_off, worker)
            self.left = [thread.name for worker in self._abandoned for thread in worker.all_threads()]

    def at(self, address: str) -> WorkerProcess | None:
        """See `Workers.at`."""
        return next((worker for worker in self.workers.values() if socket_name(worker.worker_id) == address), None)

    def start(self, worker_id: bytes) -> WorkerProcess:
        """Start a worker."""
        record = self.workers[worker_id] = WorkerProcess(worker_id, os.getpid())
        record.drained.set()  # what it prints goes where the driver's output goes
        if not self._ending:
            self.started += 1
            self._nursery.start_soon(self._live, record)
        return record

    def kill(self, worker: WorkerProcess, reason: str = "") -> None:
        """End a worker at once, as far as others can see."""
        worker.reason = worker.reason or reason
        life = self._lives.get(worker.worker_id)
        if life is not None:
            life.worker.cut_off(worker.reason)
            life.worker.core.stop()
            life.scope.cancel()

    @contextmanager
    def _taking_exits(self) -> Generator[None]:
        """Within the block, ``os._exit`` in a worker's code is a crash of that worker, not the end of the program."""
        program, leave, token = os.getpid(), os._exit, trio.lowlevel.current_trio_token()

        def exit_worker(status: int) -> NoReturn:
            member = this_member()
            if member is None or os.getpid() != program:
                leave(status)
            worker_id = member.core.config.worker_id
            life = self._lives.get(worker_id)
            if life is not None:
                reason = f"its worker exited with exit code {status}: os._exit({status}) was called in it"
                life.worker.executor.flush_before_exit()
                life.worker.cut_off(reason)
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(self._crash, worker_id, reason)
            raise WorkerVanished

        os._exit = exit_worker
        try:
            yield
        finally:
            os._exit = leave

    def _crash(self, worker_id: bytes, reason: str) -> None:
        worker = self.workers.get(worker_id)
        if worker is not None:
            self.kill(worker, reason)

    async def _live(self, record: WorkerProcess) -> None:
        """One worker, from its start to its end."""
        worker_id = record.worker_id
        config = CoreConfig("worker", worker_id, "")
        worker = ThreadWorker(config, self._network.of(worker_id), self._settings, self._gcs)
        member = Member(worker.core)
        become(member)  # whatever this task starts: the core worker
        life = self._lives[worker_id] = _Life(worker)
        if record.reason:  # it was killed before it began
            life.scope.cancel()
        try:
            with life.scope:
                await _serve(worker, member)
        except Exception as error:  # noqa: BLE001 -- as a process that dies of it, it takes nobody with it
            traceback.print_exception(error)
            record.reason = record.reason or f"its part of the runtime has failed: {error!r}"
        finally:
            del self._lives[worker_id]
            worker.end(record.reason)
            self._abandoned.add(worker)
        await self._network.left(worker_id)
        with trio.move_on_after(_GONE_SECONDS):
            await self._forget_when_over(worker)
        if worker in self._abandoned:
            self._nursery.start_soon(self._forget_when_over, worker)
        del self.workers[worker_id]
        self._ended(record, record.reason or worker.reason)

    async def _forget_when_over(self, worker: ThreadWorker) -> None:
        await _see_off(worker)
        self._abandoned.discard(worker)


async def _serve(worker: ThreadWorker, member: Member) -> None:
    """Run the core worker here and the rest in a thread, until that ends."""
    over = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def run() -> None:
        become(member)
        try:
            worker.run()
        finally:
            worker.let_go()
            try:
                token.run_sync_soon(over.set)
            except trio.RunFinishedError:  # nobody waits for this thread any more
                return

    async with trio.open_nursery() as nursery:
        await nursery.start(run_core_worker, worker.core)
        thread = threading.Thread(target=run, name="ray::IDLE", daemon=True)
        worker.threads.append(thread)
        thread.start()
        await over.wait()
        worker.core.stop()


async def _see_off(worker: ThreadWorker) -> None:
    """Interrupt the threads of a worker that has ended, each once, until none is left."""
    interrupted: set[threading.Thread] = set()
    pause = _FIRST_PAUSE
    while threads := worker.all_threads():
        for thread in threads:
            if thread not in interrupted and worker.interrupt(thread):
                interrupted.add(thread)
        await trio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
