"""The node process's nursery tree, on one page.

    run_node
    |- worker processes    forks on request, one child a worker's output, the fork server's end
    |- gRPC server         GCS (head), raylet, object transfer: one port, token required
    |- HTTP server         GET /metrics, for Prometheus: one child a connection
    |- listener            one child a connected driver or worker; its end takes back what was held for it
    |- raylet              leases, idle workers
    |- object store        one child a file that spilled objects are written to or read from, in threads
    |- signals             SIGTERM and SIGINT end the node in good order
    `- driver watch        (a node that init() started) ends with the driver that started it

Whatever ends first ends all. An end in good order (`NodeEnd`) lets the workers clean up before it cancels the root;
cancelling the root kills the workers through the fork server, which outlives the node just long enough to see its pipe
close.
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
from trayray.node.description import NodeDescription
from trayray.node.forest import Forest
from trayray.node.http_server import serve_http
from trayray.node.metrics import MetricsEndpoint, write_discovery
from trayray.node.process_control import wait_for_end
from trayray.node.raylet import NodeIdentity, Raylet
from trayray.node.services import ObjectTransferService, RayletService, available_resources
from trayray.node.session import Session
from trayray.node.spilling import Spilling
from trayray.node.store import ObjectStore
from trayray.node.worker_processes import WorkerProcesses
from trayray.version import __version__
from trayray.wire.proto.trayray import v1


async def run_node(
    config: NodeConfig, session: Session, token: str, fork_control: socket.socket, ready: Callable[[str], None]
) -> None:
    """Be a node until told to stop, or until what it depends on has gone. ``ready`` is given the address once."""
    clients = Clients()
    node_id = os.urandom(28)
    settings = config.store_settings()
    spilling = Spilling(config.object_store_memory, settings, node_id, session.spilled)
    store = ObjectStore(config.object_store_memory, clients, settings, spilling)
    total = config.resources(node_id)
    labels = {"ray.io/node-id": node_id.hex(), **config.labels}
    seconds = config.worker_settings().seconds
    raylet = Raylet(total, clients, store, config.prestart, lambda: os.urandom(28), seconds, labels)
    processes = WorkerProcesses(fork_control, session.logs, raylet.publish_output, raylet.worker_ended, node=config.ip)
    transfer = ObjectTransferService(store)
    describe = NodeDescription(config, session, raylet, {**total.to_dict(), **config.store_resources()}, labels)
    gcs = Gcs(raylet, describe, trio.current_time)
    raylet.processes, raylet.gcs = processes, gcs
    info = v1.ClusterInfo(
        version=__version__,
        session_name=session.name,
        session_dir=str(session.path),
        node_socket=str(session.sockets / NODE),
        node_id=node_id,
    )
    services = [
        GcsService(gcs, info, lambda: available_resources(raylet), Forest(raylet).describe),
        RayletService(raylet, lambda reason: end.ask(reason or "its node was told to shut down")),
        transfer,
    ]
    metrics = MetricsEndpoint(raylet, config.ip, session.name, token if config.metrics_auth else None)
    network = UnixNetwork(session.sockets, token, node_id)
    try:
        async with trio.open_nursery() as root:
            end = NodeEnd(raylet, root)
            await root.start(processes.run)
            await root.start(store.run)
            port = await root.start(partial(serve_grpc, services, token, host=config.ip, port=config.port))
            info.address = describe.address = f"{config.ip}:{port}"
            metrics_port = await root.start(
                partial(serve_http, metrics.answer, host=config.ip, port=config.metrics_port)
            )
            describe.metrics_port = metrics_port
            write_discovery(session.path, config.ip, metrics_port)
            raylet.identity = NodeIdentity(
                node_id, session.name, str(session.sockets), info.address, config.ip, metrics_port
            )
            await root.start(network.listen, NODE, raylet.accept)
            await root.start(raylet.run)
            root.start_soon(_watch_signals, end)
            if config.driver_pid:
                root.start_soon(_end_with, config.driver_pid, end)
            session.publish(info.address, os.getpid(), private=bool(config.driver_pid) and not config.started_by_hand)
            ready(info.address)
    finally:
        try:
            spilling.close()
        finally:
            session.clean()


class NodeEnd:
    """The end of a node in good order: its workers clean up, then everything is cancelled."""

    def __init__(self, raylet: Raylet, root: trio.Nursery) -> None:
        self._raylet = raylet
        self._root = root
        self._asked = False

    def ask(self, reason: str) -> None:
        """Begin to end. Repeating it changes nothing."""
        if not self._asked:
            self._asked = True
            self._root.start_soon(self._run, reason)

    def insist(self, reason: str) -> None:
        """As `ask`; whoever insists when the end has begun does not want to wait for it."""
        if self._asked:
            self._root.cancel_scope.cancel()
        else:
            self.ask(reason)

    async def _run(self, reason: str) -> None:
        await self._raylet.endings.leave(reason)
        self._root.cancel_scope.cancel()


async def _watch_signals(end: NodeEnd) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # what holds again afterwards: an end that has begun goes its way
        signal.signal(number, signal.SIG_IGN)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            end.insist(f"its node got {signal.Signals(number).name}")


async def _end_with(pid: int, end: NodeEnd) -> None:
    await wait_for_end(pid)
    end.ask("the driver that its node belonged to has ended")
