"""A node within the calling process, in the calling Trio loop: its nursery tree, on one page.

    open_in_process_node
    |- workers              one child a worker: its core worker; user code in threads
    |- object store         one child a file that spilled objects are written to or read from, in threads
    |- listener             one child a driver or worker that has joined; its end takes back what was held for it
    `- raylet               leases, idle workers

The services are those of a node process (``run``), without what only processes need: no fork server, no gRPC and HTTP
servers, no signals, no files. Drivers join by `InProcessNode.driver`, in the same loop. The end is that of a node too:
workers clean up in their turns, then everything is cancelled.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import trio

from trayray.core.leaving import Limits
from trayray.gcs.client import GcsClient, LocalGcsClient
from trayray.gcs.control import Gcs
from trayray.gcs.service import GcsService
from trayray.link.local_network import LocalNetwork
from trayray.link.network import NODE, NodeNetwork
from trayray.node.clients import Clients
from trayray.node.config import NodeConfig
from trayray.node.description import NodeDescription
from trayray.node.forest import Forest
from trayray.node.raylet import NodeIdentity, Raylet
from trayray.node.services import available_resources
from trayray.node.session import Session
from trayray.node.spilling import Spilling
from trayray.node.store import ObjectStore
from trayray.node.worker_threads import WorkerThreads
from trayray.version import __version__
from trayray.wire.proto.trayray import v1
from trayray.wire.specs import JobConfig
from trayray.worker.core_worker import CoreConfig, CoreWorker


@attrs.define(eq=False)
class InProcessNode:
    """A node that runs in the loop of whoever has opened it."""

    session: Session
    network: LocalNetwork
    gcs: GcsClient
    raylet: Raylet
    _workers: WorkerThreads

    def driver(self, *, print_logs: bool = True) -> CoreWorker:
        """A driver's core worker, to be run in the same loop (`run_core_worker`); it ends before the node does."""
        config = CoreConfig("driver", os.urandom(28), "")
        base = int.from_bytes(os.urandom(8), "little")
        network = self.network.of(config.worker_id)
        return CoreWorker(config, network=network, random_base=base, print_logs=print_logs, gcs=self.gcs)

    def warn_of_threads(self) -> None:
        """Warn of threads that the node has left behind, once it has ended."""
        if self._workers.left:
            names = ", ".join(sorted(self._workers.left))
            warnings.warn(
                f"threads of the cluster in this process still run: {names}. Their code was interrupted, but is in C "
                "code, waits there, or has swallowed KeyboardInterrupt. They end with the process at the latest; "
                "worker processes, the default mode, could have been killed.",
                RuntimeWarning,
                stacklevel=3,
            )


@contextmanager
def job_environment(job: JobConfig) -> Generator[None]:
    """Within the block, the environment of this process is that of the job's workers, which live in it."""
    variables: dict[str, str] = job.runtime_env.get("env_vars", {})
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@asynccontextmanager
async def open_in_process_node(config: NodeConfig) -> AsyncGenerator[InProcessNode]:
    """Be a node in this loop as long as the block runs.

    Args:
        config: as of a node process; settings of its ports, prestarted workers and children mean nothing here.

    Raises:
        ImportError, OSError, ValueError: the settings cannot be had on this machine.
    """
    config = config.completed()
    clients, node_id = Clients(), os.urandom(28)
    session = Session.new(Path(config.root))
    store_settings, worker_settings = config.store_settings(), config.worker_settings()
    spilling = Spilling(config.object_store_memory, store_settings, node_id, session.spilled)
    store = ObjectStore(config.object_store_memory, clients, store_settings, spilling)
    total = config.resources(node_id)
    labels = {"ray.io/node-id": node_id.hex(), **config.labels}
    raylet = Raylet(total, clients, store, 0, lambda: os.urandom(28), worker_settings.seconds, labels)
    describe = NodeDescription(config, session, raylet, {**total.to_dict(), **config.store_resources()}, labels)
    raylet.gcs = Gcs(raylet, describe, trio.current_time)
    address = describe.address = f"{config.ip}:0"
    info = v1.ClusterInfo(
        version=__version__,
        session_name=session.name,
        session_dir=str(session.path),
        node_socket="",
        node_id=node_id,
        address=address,
    )
    gcs = LocalGcsClient(GcsService(raylet.gcs, info, lambda: available_resources(raylet), Forest(raylet).describe))
    network = LocalNetwork()
    network.serve_at_once = raylet.serve_at_once
    raylet.processes = workers = WorkerThreads(network, gcs, worker_settings, raylet.worker_ended)
    raylet.identity = NodeIdentity(node_id, session.name, str(session.sockets), address, config.ip)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            services: trio.CancelScope = await nursery.start(_serve, workers, store, network.of(node_id), raylet)
            try:
                yield InProcessNode(session, network, gcs, raylet, workers)
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 -- raised below, as it is
                failure = error
            finally:
                if not nursery.cancel_scope.cancel_called:  # else a service has failed, and nothing works any more
                    # Workers clean up, whether the block is cancelled or not.
                    with trio.move_on_after(Limits.of(worker_settings.seconds, 0).total, shield=True):
                        await raylet.endings.leave("its cluster, which lived in this process, has ended")
                services.cancel()
    finally:
        try:
            spilling.close()
        finally:
            if session.path.exists():  # objects were spilled
                session.clean()
                shutil.rmtree(session.path, ignore_errors=True)
    if failure is not None:
        raise failure


async def _serve(
    workers: WorkerThreads,
    store: ObjectStore,
    network: NodeNetwork,
    raylet: Raylet,
    *,
    task_status: trio.TaskStatus[trio.CancelScope],
) -> None:
    """The services, until the scope is cancelled that ``task_status`` is given."""
    # When the caller is cancelled, workers still clean up, for which they need the node. Whoever has the scope cancels
    # it when they have, or after a while.
    with trio.CancelScope(shield=True) as scope:
        async with trio.open_nursery() as root:
            await root.start(workers.run)
            await root.start(store.run)
            await root.start(network.listen, NODE, raylet.accept)
            await root.start(raylet.run)
            task_status.started(scope)
