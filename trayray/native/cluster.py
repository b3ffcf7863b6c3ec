"""``open_cluster`` and ``connect``: membership of a cluster as a block in the caller's own Trio loop.

    open_cluster
    |- node process        started before the block, ended after it; it also ends when this process does
    `- connect
       `- run_core_worker  this process's part: a task of the caller's loop, not a thread

The node is a process of its own even so: a loop that user code holds up would hold up every worker of the cluster.
Not here: the synchronous face (``api.session``), everything in one process (``node.in_process``).
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack, cast

import attrs
import trio

from trayray.api.initialize import InitOptions, _Amounts, _check_options, _find, _is_in_process, _job_config
from trayray.api.session import _SWITCH_SECONDS, Connection, NodeProcess, end_node, session, start_node
from trayray.core.leaving import Limits
from trayray.link.network import UnixNetwork
from trayray.model.settings import environment, shutdown_seconds
from trayray.native.serving import serving
from trayray.node.session import Session as SessionDirectory
from trayray.worker.awaiting import trio_is_awaited
from trayray.worker.core_worker import CoreConfig, CoreWorker, run_core_worker
from trayray.worker.current import core_worker, set_core_worker

if TYPE_CHECKING:
    from trayray.job_config import JobConfig
    from trayray.node.config import NodeConfig

#: What a node may take to answer when this process leaves, apart from cleaning up (seconds).
_LEAVE_SECONDS: Final = 5.0


@attrs.frozen
class Cluster:
    """The cluster that this process belongs to within a block."""

    #: "host:port", as ``connect`` and ``init`` take it.
    address: str
    session_dir: Path
    #: Where named actors of this job live.
    namespace: str
    #: Hexadecimal.
    job_id: str


@asynccontextmanager
async def open_cluster(
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    job_config: JobConfig | None = None,
    log_to_driver: bool | None = None,
    in_process: bool | None = None,
    **kwargs: Unpack[InitOptions],
) -> AsyncGenerator[Cluster]:
    """Start a cluster on this machine and belong to it within the block; when the block is left, all of it is gone.

    This process's part runs as a task of the caller's Trio loop. Everything that the block has started, in whatever
    process, has ended when it is left, with its cleaning up done. The arguments are those of ``init``. With
    ``in_process`` all of the cluster lives in this process, the node in this very loop (docs/in_process.md); None: as
    ``TRAYRAY_MODE`` says.

    Raises:
        RuntimeError: not called in Trio, or this process belongs to a cluster already.
        RaySystemError: the cluster could not be started.
        LocalRayletDiedError: its node has died; the block is cancelled then.
        ValueError, TypeError: an impossible amount or setting.
    """
    options = cast("dict[str, Any]", kwargs)
    _check_free()
    _check_options(options, local_mode=False)
    amounts = _Amounts(num_cpus, num_gpus, resources, labels, object_store_memory, options)
    amounts.check()
    job = _job_config(namespace, runtime_env, job_config)
    config = amounts.node_config(options)
    if _is_in_process(None, None) if in_process is None else in_process:
        async with _opened_in_process(config, job, log_to_driver) as cluster:
            yield cluster
        return
    node = await trio.to_thread.run_sync(start_node, config)
    try:
        async with _joined(node.session_dir, job, log_to_driver, node) as cluster:
            yield cluster
    finally:
        # A node that is left alone would end too, but later: who leaves the block shall find nothing left. Ended in
        # good order it may let workers clean up.
        limit = Limits.of(shutdown_seconds(), 0).total + 2 * _LEAVE_SECONDS
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limit):
            await trio.to_thread.run_sync(end_node, node)


@asynccontextmanager
async def connect(
    address: str = "auto",
    *,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    job_config: JobConfig | None = None,
    log_to_driver: bool | None = None,
) -> AsyncGenerator[Cluster]:
    """Belong to a running cluster of this machine within the block; its end is the end of the job.

    Args:
        address: "host:port"; "auto" is the latest cluster of this user.
        namespace, runtime_env, job_config, log_to_driver: as for ``init``.

    Raises:
        RuntimeError: not called in Trio, or this process belongs to a cluster already.
        ConnectionError: nobody is there.
        LocalRayletDiedError: the node has died; the block is cancelled then.
    """
    _check_free()
    if "://" in address:
        raise ConnectionError(f"{address!r}: client connections are not available yet; pass 'auto' or 'host:port'")
    directory = _find(environment("ADDRESS") or address if address == "auto" else address, {})
    assert directory is not None, "without a cluster it has raised"
    job = _job_config(namespace, runtime_env, job_config)
    async with _joined(directory, job, log_to_driver, None) as cluster:
        yield cluster


def _check_free() -> None:
    if not trio_is_awaited():
        raise RuntimeError(
            "open_cluster() and connect() belong into a Trio program; elsewhere, under asyncio too, use trayray.init()"
        )
    if core_worker() is not None or session.connection is not None:
        raise RuntimeError(
            "this process belongs to a cluster already: leave that block, or call shutdown(), before you open another"
        )


@asynccontextmanager
async def _joined(
    directory: Path, job: Any, log_to_driver: bool | None, node: NodeProcess | None
) -> AsyncGenerator[Cluster]:
    place = SessionDirectory(directory)
    try:
        token = place.token()
    except FileNotFoundError:
        raise ConnectionError(f"the cluster of {directory} has just ended") from None
    config = CoreConfig("driver", secrets.token_bytes(28), token)
    network = UnixNetwork(place.sockets, token, config.worker_id)
    base = secrets.randbits(64)
    core = CoreWorker(config, network=network, random_base=base, print_logs=_shows_logs(log_to_driver))
    async with _belonging(core, directory, job, node) as cluster:
        yield cluster


@asynccontextmanager
async def _opened_in_process(config: NodeConfig, job: Any, log_to_driver: bool | None) -> AsyncGenerator[Cluster]:
    from trayray.node.in_process import job_environment, open_in_process_node

    with job_environment(job):
        async with open_in_process_node(config) as node:
            core = node.driver(print_logs=_shows_logs(log_to_driver))
            async with _belonging(core, node.session.path, job, None) as cluster:
                yield cluster
    node.warn_of_threads()


def _shows_logs(log_to_driver: bool | None) -> bool:
    return environment("LOG_TO_DRIVER", "1") != "0" if log_to_driver is None else log_to_driver


@asynccontextmanager
async def _belonging(core: CoreWorker, directory: Path, job: Any, node: NodeProcess | None) -> AsyncGenerator[Cluster]:
    """Belong to a cluster, as ``core``, within the block."""
    async with serving(partial(_run, core), partial(_leave, core)):
        core.enter_job(job)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, _SWITCH_SECONDS))
        set_core_worker(core)
        session.connection = Connection(core, None, directory, core.welcome.address, node, job, [], interval)
        try:
            yield Cluster(core.welcome.address, directory, core.namespace, core.job.hex())
        finally:
            sys.setswitchinterval(interval)


async def _run(core: CoreWorker, *, task_status: trio.TaskStatus[None]) -> None:
    try:
        await run_core_worker(core, task_status=task_status)
    finally:
        session.connection = None
        if core_worker() is core:
            set_core_worker(None)
        if hasattr(core, "arena"):
            core.arena.close()
    if core.lost is not None:
        raise core.lost


async def _leave(core: CoreWorker) -> None:
    """Have the node end everything of the job, see it gone, and end the core worker."""
    # Who leaves the block, cancelled or not, shall find nothing left that it has started: the job's workers clean up.
    limit = Limits.of(shutdown_seconds(), 0).total + 2 * _LEAVE_SECONDS
    with trio.CancelScope(shield=True, deadline=trio.current_time() + limit):
        if core.closed is None:
            await core.finish_job_in_loop(_LEAVE_SECONDS)
    core.stop()
