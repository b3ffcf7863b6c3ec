"""The fork server: a single-threaded child of the node that has imported everything and forks workers in milliseconds.

It reaps its workers, reports their wait statuses, and ends what they have started with them: it adopts every process
below it that loses its parent. It is the last to leave: when the node's end of the pipe closes, however the node died,
it kills everything below it and removes the session's files.
Not here: when to fork (``node.raylet``).
"""

import gc
import os
import select
import signal
import socket
import traceback
from types import FrameType
from typing import NoReturn

from trayray.node.process_control import (
    adopt_orphans,
    die_with_parent,
    initial_environment,
    kill_tree,
    signal_group,
)
from trayray.node.session import Session
from trayray.wire.frames import FrameDecoder, encode_frame
from trayray.wire.messages import Exited, Fork, Forked, ForkMessage, Signal
from trayray.worker.core_worker import CoreConfig
from trayray.worker.process_title import set_title

#: Output descriptors of one worker: standard output and standard error.
_OUTPUTS = 2
#: In the environment of workers, and so of what they start: whose it is, wherever it has moved to.
WORKER_VARIABLE = "TRAYRAY_WORKER_ID"
#: Killed processes are waited for at most so long (seconds): a dead worker's, while the others' requests wait, and all.
_ONE_TREE_SECONDS, _ALL_TREES_SECONDS = 0.2, 1.5


class ForkServer:
    """The fork server's whole state."""

    def __init__(self, control: socket.socket, session: Session, token: str) -> None:
        self._control = control
        self._session = session
        self._token = token
        self._decoder: FrameDecoder[ForkMessage] = FrameDecoder(ForkMessage)
        self._descriptors: list[int] = []
        #: Living workers: process id to worker id.
        self._workers: dict[int, bytes] = {}
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
        while True:
            for descriptor, _ in poller.poll():
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
                if message.group:
                    signal_group(message.pid, message.number)
                else:
                    os.kill(message.pid, message.number)
        return True

    def _fork(self, worker: bytes, outputs: list[int]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_worker(parent, worker, outputs)
        os.setpgid(pid, pid)  # the worker does it too: whoever comes first, its group exists from here on
        for descriptor in outputs:
            os.close(descriptor)
        self._workers[pid] = worker
        self._control.sendall(encode_frame([Forked(worker, pid)]))

    def _become_worker(self, parent: int, worker: bytes, outputs: list[int]) -> NoReturn:
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
            from trayray.worker.main import run_worker

            code = run_worker(CoreConfig("worker", worker, self._token), self._session.sockets)
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
            worker = self._workers.pop(pid, None)
            if worker is not None:
                self._end_what_it_started(pid, worker)
                self._control.sendall(encode_frame([Exited(worker, pid, status, usage.ru_maxrss)]))

    def _end_what_it_started(self, pid: int, worker: bytes) -> None:
        signal_group(pid, signal.SIGKILL)
        mark = f"{WORKER_VARIABLE}={worker.hex()}".encode()
        kill_tree(
            lambda child: child in self._workers or mark not in initial_environment(child), _ONE_TREE_SECONDS
        )  # what had left the group has been adopted when the worker died


def _noted(number: int, frame: FrameType | None) -> None:
    """A signal handler must exist for the wakeup descriptor to be written."""


def run_fork_server(control: socket.socket, session: Session, token: str) -> NoReturn:
    """Be the fork server; called in a freshly forked, single-threaded process."""
    os.setpgid(0, 0)  # who kills the node's group leaves somebody to clean up
    adopt_orphans()
    set_title("fork server")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # workers share these pages as long as nobody's collector writes to them
    server = ForkServer(control, session, token)
    try:
        server.run()
    finally:
        kill_tree(lambda _: False, _ALL_TREES_SECONDS)
        session.clean()
        os._exit(0)
