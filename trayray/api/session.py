"""Joining and leaving a cluster: ``init``, ``shutdown`` and the one connection of this process.

A synchronous driver runs its core worker in a background thread; a cluster that ``init`` starts is a node process
that ends with this one. Not here: the runtime itself (``worker.core_worker``), the node (``node``).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import secrets
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from trayray.exceptions import LocalRayletDiedError, RaySystemError
from trayray.model.settings import environment, shutdown_seconds
from trayray.worker.current import check_not_forked, core_worker, set_core_worker, this_member

if TYPE_CHECKING:
    from trayray.node.in_process import InProcessNode
    from trayray.worker.core_worker import CoreWorker

#: How long a new node may take until it accepts work, a driver to join it, a cluster to let go (seconds).
_START_SECONDS, _JOIN_SECONDS, _LEAVE_SECONDS = 60.0, 30.0, 5.0
#: Smaller thread switch interval while connected: a call crosses two threads, and Python's 5 ms would dominate it.
_SWITCH_SECONDS = 0.0005


@attrs.frozen
class NodeProcess:
    """A node that this process started."""

    process: subprocess.Popen[bytes]
    session_dir: Path
    address: str


@attrs.define(eq=False)
class Connection:
    """This process's membership, made by ``init``."""

    core: Any
    #: None: the core worker runs in a loop of the program's own, whose block ends it (``native.cluster``).
    thread: threading.Thread | None
    session_dir: Path
    address: str
    node: NodeProcess | None
    config: Any
    failure: list[BaseException]
    switch_interval: float
    #: The cluster, if it is in this process.
    in_process: InProcessNode | None = None
    #: The process that connected: a child that user code forks shares nothing of the connection but its memory.
    pid: int = attrs.field(factory=os.getpid)


class Session:
    """The only connection state of the process."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.lock = threading.RLock()

    def core(self) -> Any:
        """The core worker; starts a cluster when there is none and automatic connection is on.

        Raises:
            RaySystemError: not connected, and ``TRAYRAY_ENABLE_AUTO_CONNECT`` (or ``RAY_...``) is "0".
        """
        core = core_worker()
        if core is not None:
            return core
        self.check_alive()
        check_not_forked()
        if environment("ENABLE_AUTO_CONNECT", "1") == "0":
            raise not_started()
        from trayray.api.initialize import init

        init()
        return core_worker()

    def check_alive(self) -> None:
        """Raise when the node that this process belonged to has died.

        Raises:
            LocalRayletDiedError: it has.
        """
        connection = self.connection
        if connection is not None and connection.core.lost is not None:
            raise LocalRayletDiedError(
                f"The cluster that this process belonged to is gone: its node has died. {connection.session_dir}/logs/"
                "node.log may tell why. shutdown() and then init() start or join another one."
            )

    def require_core(self) -> Any:
        """The core worker of a process that is connected.

        Raises:
            RaySystemError: it is not.
        """
        core = core_worker()
        if core is None:
            self.check_alive()
            raise not_started()
        return core


session = Session()


def _forget_connection() -> None:
    session.lock = threading.RLock()  # a thread that was not copied may hold the other
    session.connection = None


os.register_at_fork(after_in_child=_forget_connection)


def not_started() -> RaySystemError:
    """The error of calls that need a cluster."""
    return RaySystemError(RuntimeError("Ray has not been started yet. You can start Ray with 'ray.init()'."))


def start_node(config: Any) -> NodeProcess:
    """Start a node process and wait until it accepts work.

    Raises:
        RaySystemError: it did not start; the text says why and where its log is.
    """
    command = [sys.executable, "-m", "trayray.node.main", config.to_json()]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        process_group=0,  # the terminal's Ctrl-C is for the driver
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
    )
    assert process.stdout is not None
    _import_runtime()
    try:
        with process.stdout as output:
            line = _read_line(output)
        answer: dict[str, str] = json.loads(line) if line else {"error": f"it ended with exit code {process.wait()}"}
        if "error" in answer:
            raise RaySystemError(RuntimeError(f"the node could not start: {answer['error']}"))
    except BaseException:
        from trayray.node.session import clean_sessions_of

        _end_process(process)
        clean_sessions_of(process.pid, Path(config.root))
        raise
    return NodeProcess(process, Path(answer["session_dir"]), answer["address"])


def _import_runtime() -> None:
    """Import what `connect` needs, while the node does the same: both are half of the time that ``init`` takes."""
    for name in ("trayray.worker.core_worker", "trayray.gcs.client"):
        importlib.import_module(name)


def _import_path() -> list[str]:
    """Where the node finds this very package, whatever the driver did to ``sys.path``."""
    home = str(Path(__file__).resolve().parent.parent.parent)
    inherited = os.environ.get("PYTHONPATH", "")
    return [home, *(entry for entry in inherited.split(os.pathsep) if entry)]


def _read_line(output: Any) -> bytes:
    """The first line of a node's output; empty when the node ended before it wrote one."""
    import select

    ready, _, _ = select.select([output], [], [], _START_SECONDS)
    if not ready:
        raise RaySystemError(RuntimeError(f"the node process did not start within {_START_SECONDS} s"))
    return output.readline()


def connect(session_dir: Path, job_config: Any, *, print_logs: bool, node: NodeProcess | None) -> Connection:
    """Join the node of this machine whose session is at ``session_dir``, as a driver.

    Raises:
        ConnectionError: it does not let us in.
    """
    from trayray.link.network import UnixNetwork
    from trayray.node.session import Session as SessionDirectory
    from trayray.worker.core_worker import CoreConfig, CoreWorker

    directory = SessionDirectory(session_dir)
    try:
        token = directory.token()
    except FileNotFoundError:
        raise ConnectionError(f"the cluster of {session_dir} has just ended") from None

    @contextlib.asynccontextmanager
    async def membership() -> AsyncGenerator[tuple[CoreWorker, Path]]:
        config = CoreConfig("driver", secrets.token_bytes(28), token)
        network = UnixNetwork(directory.sockets, config.token, config.worker_id)
        base = secrets.randbits(64)
        yield CoreWorker(config, network=network, random_base=base, print_logs=print_logs), session_dir

    return _join(membership, job_config, node)


def connect_in_process(config: Any, job_config: Any, *, print_logs: bool) -> Connection:
    """Be a cluster, and its driver, in the loop thread of this process.

    Raises:
        ImportError, OSError, ValueError: the settings cannot be had on this machine.
    """
    from trayray.node.in_process import job_environment, open_in_process_node

    nodes: list[InProcessNode] = []

    @contextlib.asynccontextmanager
    async def membership() -> AsyncGenerator[tuple[CoreWorker, Path]]:
        with job_environment(job_config):
            async with open_in_process_node(config) as node:
                nodes.append(node)
                yield node.driver(print_logs=print_logs), node.session.path

    connection = _join(membership, job_config, None)
    connection.in_process = nodes[0]
    return connection


def _join(
    membership: Callable[[], contextlib.AbstractAsyncContextManager[tuple[CoreWorker, Path]]],
    job_config: Any,
    node: NodeProcess | None,
) -> Connection:
    """Run a core worker in the loop thread, within ``membership``, which makes it, until `leave`."""
    import trio

    from trayray.worker.core_worker import run_core_worker

    ready = threading.Event()
    failure: list[BaseException] = []
    joined: list[tuple[CoreWorker, Path]] = []

    async def main() -> None:
        async with membership() as (core, session_dir):
            joined.append((core, session_dir))
            async with trio.open_nursery() as nursery:
                await nursery.start(run_core_worker, core)
                core.enter_job(job_config)
                ready.set()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the thread that waits for us raises it
            failure.append(_only_error(error))
        finally:
            for core, _ in joined:
                core.ended.set()
                if core.lost is not None:
                    _bury(core, node)
            ready.set()

    thread = threading.Thread(target=run, name="trayray-loop", daemon=True)
    thread.start()
    if not ready.wait(_JOIN_SECONDS):
        raise ConnectionError(f"the cluster did not let this process in within {_JOIN_SECONDS} s")
    if failure:
        raise failure[0]
    (core, session_dir), *_ = joined
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _SWITCH_SECONDS))
    connection = Connection(core, thread, session_dir, core.welcome.address, node, job_config, failure, interval)
    session.connection = connection
    if core.lost is None:
        set_core_worker(core)
    return connection


def leave() -> None:
    """Leave the cluster, and end the node that this process started. Idempotent."""
    if this_member() is not None:  # a worker's code, which cannot end what it runs in
        return
    connection = session.connection
    if connection is not None and connection.thread is None:
        raise RuntimeError("this process belongs to a cluster by open_cluster() or connect(): leave that block instead")
    session.connection = None
    if connection is None or connection.thread is None or connection.pid != os.getpid():
        return
    core = connection.core
    sys.setswitchinterval(connection.switch_interval)
    with contextlib.suppress(RaySystemError, RuntimeError):
        core.finish_job(_LEAVE_SECONDS)
    set_core_worker(None)
    core.call_soon(core.stop)
    if connection.in_process is None:
        connection.thread.join(_LEAVE_SECONDS)
    else:  # with the cluster in it
        connection.thread.join(_LEAVE_SECONDS + _all_cleanup_seconds())
    core.arena.close()
    if connection.node is not None:
        end_node(connection.node)
    if connection.in_process is not None:
        connection.in_process.warn_of_threads()


def _bury(core: Any, node: NodeProcess | None) -> None:
    """The node has died: calls from now on say so, and what this process started is reaped and cleaned up."""
    if core_worker() is core:
        set_core_worker(None)
    if node is not None:
        end_node(node)


def end_node(node: NodeProcess) -> None:
    """End a node process that this process started, and see it gone."""
    from trayray.node.session import Session as SessionDirectory

    _end_process(node.process)
    SessionDirectory(node.session_dir).remove()


def _end_process(process: subprocess.Popen[bytes]) -> None:
    """End a node: detached actors clean up now, for which each node allows as long as its environment says, which is
    this process's."""
    process.terminate()
    try:
        process.wait(_LEAVE_SECONDS + _all_cleanup_seconds())
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _all_cleanup_seconds() -> float:
    from trayray.core.leaving import Limits

    return Limits.of(shutdown_seconds(), 0).total


def _only_error(error: BaseException) -> BaseException:
    """The one error inside of nested groups; a group of several as it is."""
    only: BaseException = error
    if isinstance(error, BaseExceptionGroup):
        inside = cast("BaseExceptionGroup[Any]", error).exceptions
        if len(inside) == 1:
            only = _only_error(inside[0])
    return only


@atexit.register
def _leave_at_exit() -> None:
    if session.connection is not None:
        leave()


def new_namespace() -> str:
    """The name of an anonymous namespace."""
    return str(uuid.uuid4())
