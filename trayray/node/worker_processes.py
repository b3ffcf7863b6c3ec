"""The node's worker processes: forked on request, their output read, their end told with its cause.

Not here: which workers are needed (``core.leases``), the fork server's own side (``fork_server``).
"""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs
import trio

from trayray.link.network import socket_name
from trayray.node.config import machine_memory
from trayray.node.process_control import describe_status, kill
from trayray.node.worker_output import LAST_LINES, OutputReader
from trayray.wire.fork_messages import Exited, Fork, Forked, ForkMessage, Signal
from trayray.wire.frames import FrameDecoder, encode_frame

#: After a worker's death its output may be held open by what it started; nobody waits longer for it than this.
_DRAIN_SECONDS = 0.2


@attrs.define(eq=False)
class WorkerProcess:
    """One worker process as the node knows it."""

    worker_id: bytes
    #: 0 until the fork server has reported it.
    pid: int = 0
    #: The job whose code it runs, empty before its first lease.
    job: bytes = b""
    #: What the user sees before its lines when it has not said a name yet.
    name: str = "worker"
    last_lines: deque[str] = attrs.field(factory=lambda: deque(maxlen=LAST_LINES))
    #: It has introduced itself at the node's socket.
    connected: bool = False
    #: The most memory that it has used (KiB), known when it has ended.
    peak: int = 0
    #: Why it ends, when somebody decided that: shown instead of the wait status.
    reason: str = ""
    #: Set once both output streams have been read to their end.
    drained: trio.Event = attrs.field(factory=trio.Event)


class Workers(Protocol):
    """A node's workers, whatever they are: this is how a raylet starts and kills them."""

    #: Those that have not ended.
    workers: dict[bytes, WorkerProcess]
    #: How many were started since the beginning.
    started: int

    def at(self, address: str) -> WorkerProcess | None:
        """The worker of this address, until its end was reported."""
        ...

    def start(self, worker_id: bytes) -> WorkerProcess:
        """Start a worker, which then joins the node."""
        ...

    def kill(self, worker: WorkerProcess, reason: str = "") -> None:
        """End a worker at once, and what it has started with it."""
        ...


class ForkServerDied(Exception):
    """The fork server is gone: no worker can be started or watched any more."""


class WorkerProcesses:
    """Starts workers and watches them end."""

    def __init__(
        self,
        control: socket.socket,
        logs: Path,
        publish: Callable[[WorkerProcess, bool, str, list[str]], None],
        ended: Callable[[WorkerProcess, str], None],
        *,
        node: str,
    ) -> None:
        """``publish`` gets workers' lines, ``ended`` the cause of their end; ``node`` is this one's name in texts."""
        control.setblocking(False)
        self._node = node
        self._control = control
        self._decoder: FrameDecoder[ForkMessage] = FrameDecoder(ForkMessage)
        self._logs = logs
        self._publish = publish
        self._ended = ended
        self.workers: dict[bytes, WorkerProcess] = {}
        #: The same, until their ends were reported.
        self._by_address: dict[str, WorkerProcess] = {}
        #: How many were started since the beginning.
        self.started = 0
        self._nursery: trio.Nursery
        self._ending = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; workers' output is read by child tasks.

        Raises:
            ForkServerDied: it ended by itself.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                while True:
                    await trio.lowlevel.wait_readable(self._control)
                    try:
                        data = self._control.recv(65536)
                    except BlockingIOError:
                        continue
                    except ConnectionError:
                        data = b""
                    if not data:
                        raise ForkServerDied("the node's fork server has died")
                    for message in self._decoder.feed(data):
                        self._handle(message)
        finally:
            # The fork server kills its workers when it sees this end; workers outlive neither of the two.
            self._ending = True
            self._control.close()
            for worker in self.workers.values():
                if worker.pid:
                    kill(worker.pid)

    def at(self, address: str) -> WorkerProcess | None:
        """The worker of this address, until its end was reported."""
        return self._by_address.get(address)

    def start(self, worker_id: bytes) -> WorkerProcess:
        """Fork a worker; it introduces itself at the node's socket when it is ready."""
        worker = self.workers[worker_id] = WorkerProcess(worker_id)
        self._by_address[socket_name(worker_id)] = worker
        if self._ending:
            return worker
        self.started += 1
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            self._send_with_descriptors(encode_frame([Fork(worker_id)]), [out_write, err_write])
        finally:
            os.close(out_write)
            os.close(err_write)
        self._nursery.start_soon(self._read_output, worker, out_read, err_read)
        return worker

    def _send_with_descriptors(self, data: bytes, descriptors: list[int]) -> None:
        # The frame is tiny and the fork server reads promptly: a full socket buffer means that it hangs.
        self._control.settimeout(5.0)
        try:
            socket.send_fds(self._control, [data], descriptors)
        except OSError as error:  # whoever asked is not to blame: the node ends
            self._nursery.start_soon(_fail, ForkServerDied(f"the node's fork server does not answer: {error}"))
        finally:
            self._control.setblocking(False)

    async def _read_output(self, worker: WorkerProcess, out: int, err: int) -> None:
        stem = f"worker-{socket_name(worker.worker_id)}"
        async with trio.open_nursery() as nursery:
            for descriptor, is_error, suffix in ((out, False, "out"), (err, True, "err")):
                reader = OutputReader(
                    descriptor,
                    self._logs / f"{stem}.{suffix}",
                    worker.last_lines,
                    lambda name, lines, is_error=is_error: self._publish(worker, is_error, name, lines),
                )
                nursery.start_soon(reader.run)
        worker.drained.set()

    def kill(self, worker: WorkerProcess, reason: str = "") -> None:
        """End a worker at once, and what it has started with it."""
        worker.reason = worker.reason or reason
        if worker.pid and not self._ending:
            self._send_with_descriptors(encode_frame([Signal(worker.pid, signal.SIGKILL)]), [])

    def _handle(self, message: ForkMessage) -> None:
        match message:
            case Forked(worker_id, pid):
                worker = self.workers[worker_id]
                worker.pid = pid
                if worker.reason:  # its end was decided before the fork was reported
                    self.kill(worker)
            case Exited(worker_id, _, status, peak):
                worker = self.workers.pop(worker_id)
                worker.peak = peak
                self._nursery.start_soon(self._finish, worker, status)
            case _:
                raise ForkServerDied(f"the fork server sent {message!r}")

    async def _finish(self, worker: WorkerProcess, status: int) -> None:
        with trio.move_on_after(_DRAIN_SECONDS):
            await worker.drained.wait()
        del self._by_address[socket_name(worker.worker_id)]
        self._ended(worker, self._cause(worker, status))

    def _cause(self, worker: WorkerProcess, status: int) -> str:
        if worker.reason:
            return worker.reason
        text = f"the worker process (pid {worker.pid}, node {self._node}) {describe_status(status)}"
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            text += (
                f" (its memory had reached {worker.peak >> 10} MiB of the machine's {machine_memory() >> 20} MiB; "
                "nothing in the cluster sent the signal, the kernel's out-of-memory killer does when memory runs out)"
            )
        if worker.last_lines:
            text += "; its last output was:\n" + "\n".join(f"    {line}" for line in worker.last_lines)
        return text


async def _fail(error: ForkServerDied) -> None:
    raise error
