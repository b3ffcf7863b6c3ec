"""The node process's nursery tree, on one page.

    run_node
    |- worker processes    forks on request, one child a worker's output, the fork server's end
    |- gRPC server         GCS (head), raylet, object transfer: one port, token required
    |- listener            one child a connected driver or worker; its end takes back what was held for it
    |- raylet              leases, idle workers
    |- signals             SIGTERM and SIGINT end the node in good order
    `- driver watch        (a node that init() started) ends with the driver that started it

Whatever ends first ends all. Cancelling the root kills the workers through the fork server, which outlives the node
just long enough to see its pipe close.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from functools import partial

import trio

from trayray.gcs.control import Gcs
from trayray.gcs.service import GcsService
from trayray.link.grpc_edge import serve_grpc
from trayray.link.network import NODE, UnixNetwork
from trayray.node.clients import Clients
from trayray.node.config import NodeConfig
from trayray.node.process_control import wait_for_end
from trayray.node.raylet import NodeIdentity, Raylet
from trayray.node.services import ObjectTransferService, RayletService, available_resources
from trayray.node.session import Session
from trayray.node.store import ObjectStore
from trayray.node.worker_processes import WorkerProcesses
from trayray.version import __version__
from trayray.wire.proto.trayray import v1


async def run_node(
    config: NodeConfig, session: Session, token: str, fork_control: socket.socket, ready: Callable[[str], None]
) -> None:
    """Be a node until told to stop, or until what it depends on has gone. ``ready`` is given the address once."""
    clients = Clients()
    store = ObjectStore(config.object_store_memory, clients)
    node_id = os.urandom(28)
    total = config.resources(node_id)
    raylet = Raylet(total, clients, store, config.prestart, new_id=lambda: os.urandom(28))
    processes = WorkerProcesses(fork_control, session.logs, raylet.publish_output, raylet.worker_ended, node=config.ip)
    transfer = ObjectTransferService(store)
    describe = NodeDescription(config, session, node_id, {**total.to_dict(), **config.store_resources()})
    gcs = Gcs(raylet, describe)
    raylet.processes, raylet.gcs = processes, gcs
    info = v1.ClusterInfo(
        version=__version__,
        session_name=session.name,
        session_dir=str(session.path),
        node_socket=str(session.sockets / NODE),
        node_id=node_id,
    )
    services = [
        GcsService(gcs, info, lambda: available_resources(raylet)),
        RayletService(raylet, lambda _: root.cancel_scope.cancel()),
        transfer,
    ]
    network = UnixNetwork(session.sockets, token, node_id)
    try:
        async with trio.open_nursery() as root:
            await root.start(processes.run)
            port = await root.start(partial(serve_grpc, services, token, host=config.ip, port=config.port))
            info.address = describe.address = f"{config.ip}:{port}"
            raylet.identity = NodeIdentity(node_id, session.name, str(session.sockets), info.address, config.ip)
            await root.start(network.listen, NODE, raylet.accept)
            await root.start(raylet.run)
            root.start_soon(_watch_signals, root.cancel_scope)
            if config.driver_pid:
                root.start_soon(_end_with, config.driver_pid, root.cancel_scope)
            session.publish(info.address, os.getpid(), private=bool(config.driver_pid) and not config.started_by_hand)
            ready(info.address)
    finally:
        transfer.close()
        store.close()
        session.clean()


class NodeDescription:
    """What the cluster is told about this node."""

    def __init__(self, config: NodeConfig, session: Session, node_id: bytes, resources: dict[str, float]) -> None:
        self._config = config
        self._session = session
        self._node_id = node_id
        self._resources = resources
        self.address = ""

    def __call__(self) -> list[v1.Node]:
        port = int(self.address.rpartition(":")[2])
        return [
            v1.Node(
                node_id=self._node_id,
                alive=True,
                address=self._config.ip,
                hostname=socket.gethostname(),
                node_manager_port=port,
                object_manager_port=port,
                object_store_socket=str(self._session.sockets / NODE),
                raylet_socket=str(self._session.sockets / NODE),
                name=self._config.name or self._config.ip,
                resources=self._resources,
                labels=self._config.labels,
            )
        ]


async def _watch_signals(scope: trio.CancelScope) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # what holds again afterwards: an end that has begun goes its way
        signal.signal(number, signal.SIG_IGN)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


async def _end_with(pid: int, scope: trio.CancelScope) -> None:
    await wait_for_end(pid)
    scope.cancel()
