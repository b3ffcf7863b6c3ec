"""The fork server: a single-threaded child of the node that imports what workers need and forks them in milliseconds.

It reaps its workers, reports their wait statuses, and ends what they have started with them: it adopts every process
below it that loses its parent. It is the last to leave: when the node's end of the pipe closes, however the node died,
it kills everything below it and removes the session's files.
Not here: when to fork (``node.raylet``).
"""

import gc
import importlib
import os
import select
import signal
import socket
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import NoReturn

from trayray.core.leaving import WorkerSettings
from trayray.node.process_control import (
    adopt_orphans,
    children,
    die_with_parent,
    kill,
    kill_tree,
    signal_group,
)
from trayray.node.process_marks import WORKER_VARIABLE, is_marked, mark_this_process, worker_mark
from trayray.node.session import Session
from trayray.wire.fork_messages import Exited, Fork, Forked, ForkMessage, Signal
from trayray.wire.frames import FrameDecoder, encode_frame
from trayray.worker.process_title import set_title

#: What every worker needs, and its pickles: imported here once, while the node imports what it needs.
_FIRST_IMPORTS = ("trayray.worker.main", "trayray.worker.async_execution", "trayray.api.actor_class", "cloudpickle")
#: What most workers never need: imported when nothing else is to be done, for the workers to come.
_LATER_IMPORTS = ("trayray.gcs.client",)
#: Requests have to be absent for so long before that (milliseconds).
_IDLE_MILLISECONDS = 100
#: Output descriptors of one worker: standard output and standard error.
_OUTPUTS = 2
#: Killed processes are waited for at most so long (seconds): a dead worker's, while the others' requests wait, and all.
_ONE_TREE_SECONDS, _ALL_TREES_SECONDS = 0.2, 1.5


class ForkServer:
    """The fork server's whole state."""

    def __init__(self, control: socket.socket, session: Session, token: str, settings: WorkerSettings) -> None:
        self._control = control
        self._settings = settings
        self._forks = 0
        self._session = session
        self._token = token
        self._decoder: FrameDecoder[ForkMessage] = FrameDecoder(ForkMessage)
        self._descriptors: list[int] = []
        #: Living workers: process id to worker id and mark.
        self._workers: dict[int, tuple[bytes, int]] = {}
        #: The wakeup pipe.
        self._own: tuple[int, ...] = ()

    def run(self) -> None:
        """Serve until the node closes its end."""
        self._own = wakeup_read, wakeup_write = os.pipe()
        os.set_blocking(wakeup_read, False)
        os.set_blocking(wakeup_write, False)
        signal.signal(signal.SIGCHLD, _noted)  # the wakeup descriptor tells of it
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(wakeup_read, select.POLLIN)
        idle = False
        while True:
            events = poller.poll(None if idle else _IDLE_MILLISECONDS)
            if not events:
                idle = True
                _import(_LATER_IMPORTS)
            for descriptor, _ in events:
                if descriptor == wakeup_read:
                    os.read(wakeup_read, 4096)
                    self._reap()
                elif not self._read():
                    return

    def _read(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 64)
        except ConnectionError:
            return False
        if not data:
            return False
        self._descriptors += descriptors
        for message in self._decoder.feed(data):
            if isinstance(message, Fork):
                outputs, self._descriptors = self._descriptors[:_OUTPUTS], self._descriptors[_OUTPUTS:]
                self._fork(message.worker, outputs)
            elif isinstance(message, Signal) and message.pid in self._workers:
                self._signal(message.pid, message.number)
        return True

    def _signal(self, pid: int, number: int) -> None:
        """Signal a worker; what it has started ends with it (`_reap`), or, of a worker that is killed, its children."""
        settings = self._settings
        orphans: list[int] = []
        if number == signal.SIGKILL and settings.kills_children and not settings.kills_descendants:
            orphans = children(pid)
        os.kill(pid, number)
        for orphan in orphans:
            kill(orphan)

    def _fork(self, worker: bytes, outputs: list[int]) -> None:
        parent = os.getpid()
        self._forks += 1
        mark = worker_mark(self._session.name, self._forks)
        pid = os.fork()
        if pid == 0:
            self._become_worker(parent, worker, mark, outputs)
        os.setpgid(pid, pid)  # the worker does it too: whoever comes first, its group exists from here on
        for descriptor in outputs:
            os.close(descriptor)
        self._workers[pid] = worker, mark
        self._control.sendall(encode_frame([Forked(worker, pid)]))

    def _become_worker(self, parent: int, worker: bytes, mark: int, outputs: list[int]) -> NoReturn:
        code = 1
        try:
            die_with_parent(parent)
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, signal.SIGCHLD):  # users' subprocesses would inherit that one is ignored
                signal.signal(number, signal.SIG_DFL)
            self._control.close()
            for target, descriptor in enumerate(outputs, start=1):
                os.dup2(descriptor, target)
            for descriptor in (*outputs, *self._descriptors, *self._own):
                os.close(descriptor)
            os.environ[WORKER_VARIABLE] = worker.hex()
            if self._settings.kills_descendants:
                mark_this_process(mark)
            from trayray.worker.core_worker import CoreConfig
            from trayray.worker.main import run_worker

            code = run_worker(CoreConfig("worker", worker, self._token), self._session.sockets, self._settings)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._workers:
                worker, mark = self._workers.pop(pid)
                if self._settings.kills_descendants:
                    self._end_what_it_started(pid, worker, mark)
                self._control.sendall(encode_frame([Exited(worker, pid, status, usage.ru_maxrss)]))

    def _end_what_it_started(self, pid: int, worker: bytes, mark: int) -> None:
        # All of it has been adopted when the worker died, or is when what it belongs to is killed.
        kill_tree(lambda child: child in self._workers or not is_marked(child, mark, worker), _ONE_TREE_SECONDS)
        signal_group(pid, signal.SIGKILL)  # where the kernel refuses marks, and time was short


def _noted(number: int, frame: FrameType | None) -> None:
    """A signal handler must exist for the wakeup descriptor to be written."""


def _import(names: Iterable[str]) -> None:
    for name in names:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # workers share these pages as long as nobody's collector writes to them


def run_fork_server(control: socket.socket, session: Session, token: str, settings: WorkerSettings) -> NoReturn:
    """Be the fork server; called in a freshly forked, single-threaded process."""
    os.setpgid(0, 0)  # who kills the node's group leaves somebody to clean up
    if settings.kills_descendants:
        adopt_orphans()
    set_title("fork server")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _import(_FIRST_IMPORTS)
    server = ForkServer(control, session, token, settings)
    try:
        server.run()
    finally:
        kill_tree(lambda _: False, _ALL_TREES_SECONDS)
        session.clean()
        os._exit(0)
