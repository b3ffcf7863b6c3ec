"""The raylet: carries out what ``core.leases`` decides, for the drivers and workers connected to this node.

One child scope a connection: when a process goes, its scope takes back everything that was held for it. Also the
``ActorHost`` of the GCS on this node: it finds workers for actors and ends them.
Not here: objects (``store``), processes (``worker_processes``), actors' lives (``gcs.control``).
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from trayray.core.leases import Contention, Granted, HeldLease, LeaseTable, NeedWorkers
from trayray.core.leases import Resumed as ResumedAction
from trayray.link.handshake import send_welcome
from trayray.link.network import BREAKPOINT, socket_name
from trayray.link.port import Link
from trayray.link.unix import UnixLink
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import Scheduling
from trayray.node.clients import Client, Clients
from trayray.node.endings import Endings
from trayray.node.memory_gathering import MemoryGathering
from trayray.node.metrics import NodeMetrics
from trayray.node.process_control import wait_for_end
from trayray.node.reservations import GCS_CLIENT, Reservations
from trayray.node.store import ObjectStore
from trayray.node.supervision_trees import SupervisionTrees
from trayray.node.waiting import WaitingWork
from trayray.node.worker_processes import WorkerProcess, Workers
from trayray.wire.actor_messages import (
    ActorStarted,
    ActorUnreachable,
    AwaitRemains,
    EndActor,
    KillActor,
    ResumeActor,
    StartActor,
    SupervisionTold,
    WatchActor,
)
from trayray.wire.frames import FrameError
from trayray.wire.greetings import Hello, Welcome
from trayray.wire.lease_messages import (
    Contended,
    CreateGroup,
    DefineClass,
    Demand,
    Grant,
    KillLeased,
    LeaseLost,
    Lend,
    RemoveGroup,
    Resume,
    Resumed,
    ReturnLease,
    WatchGroup,
)
from trayray.wire.node_messages import NodeMessage
from trayray.wire.process_messages import (
    AssignJob,
    CleanupDue,
    Exiting,
    FinishJob,
    KillSender,
    LogLines,
    Retained,
    Retire,
)
from trayray.wire.report_messages import AskNode, MetricReport, ReferencesTold, TaskEvents
from trayray.wire.specs import JobConfig
from trayray.wire.store_messages import Create, Fence, Free, Locate, Pin, Seal

if TYPE_CHECKING:
    from trayray.gcs.control import Gcs

logger = logging.getLogger(__name__)

#: A worker that has lost its connection to the node is killed after this (seconds).
_UNCONNECTED_SECONDS = 1.0
#: Spare idle workers beyond one a CPU are ended after so long (seconds).
_IDLE_SECONDS = 1.0
#: A watched actor that nobody has registered for so long does not exist in this cluster (seconds).
_REGISTRATION_SECONDS = 5.0

_decode_job = msgspec.msgpack.Decoder(JobConfig)


@attrs.frozen
class NodeIdentity:
    """What every process that joins the node is told."""

    node_id: bytes
    session: str
    sockets: str
    address: str
    ip: str
    metrics_port: int = 0


class Raylet:
    """One node's leases, workers and connections."""

    #: Set before the first connection is accepted, as `processes` and `gcs` are.
    identity: NodeIdentity
    processes: Workers
    gcs: Gcs

    def __init__(
        self,
        total: ResourceSet,
        clients: Clients,
        store: ObjectStore,
        prestart: int,
        new_id: Callable[[], bytes],
        shutdown_seconds: float,
        labels: Mapping[str, str],
    ) -> None:
        """``shutdown_seconds``: what a worker may take to clean up."""
        self._new_id = new_id
        self.table = LeaseTable(total)
        self.clients = clients
        self.store = store
        self.metrics = NodeMetrics()
        self.memory = MemoryGathering(clients)
        self.supervision = SupervisionTrees()
        self._prestart = prestart
        self._nursery: trio.Nursery
        #: Workers that were told their job; their grant follows when they have entered it.
        self._entering: dict[bytes, Granted] = {}
        #: Actors by the lease class that stands for them.
        self._actor_keys: dict[int, bytes] = {}
        self._next_actor_key = 0
        self._ending = False
        self.reservations = Reservations(self, labels, self._send, self._end)
        self.waiting = WaitingWork(self)
        self.endings = Endings(self, shutdown_seconds, self._send, self._end, self._later)

    # --- lifetime ---

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            for _ in range(self._prestart):
                self.table.starting += 1
                self.processes.start(self._new_id())
            self._nursery.start_soon(self._retire_idle_workers)
            self._nursery.start_soon(self.waiting.run)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._ending = True

    def _later(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Start a child task; when the node is ending, everything ends with it anyway."""
        if not self._ending:
            self._nursery.start_soon(function, *arguments)

    async def _retire_idle_workers(self) -> None:
        limit = max(1, int(self.table.total.get("CPU")))
        while True:
            await trio.sleep(_IDLE_SECONDS)
            for worker in self.table.take_idle(limit):
                self._send(worker, [Retire()])

    # --- connections ---

    async def accept(self, hello: Hello, sock: socket.socket) -> None:
        """Serve one driver or worker until its link ends."""
        job = self.clients.next_job() if hello.role == "driver" else b""
        try:
            if hello.worker_id in self.clients.by_id:
                raise ConnectionError("a process joins its node once")
            pid = _peer(sock)
            link = _welcome(self, sock, job)
        except OSError as error:  # mostly, it has died since it introduced itself
            logger.info("%s %s (pid %d) has not joined: %s", hello.role, hello.worker_id.hex(), hello.pid, error)
            sock.close()
            return
        client = Client(hello.worker_id, socket_name(hello.worker_id), hello.role, hello.pid, job, link)
        self.clients.add(client)
        self.store.connect(client)
        if hello.role == "worker":
            worker = self.processes.workers.get(hello.worker_id)
            if worker is not None:
                worker.connected = True
                self.table.worker_started(hello.worker_id)
                self.schedule()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.link.run)
                if hello.role == "driver" and pid not in (0, os.getpid()):
                    nursery.start_soon(_close_with, pid, link)
                try:
                    await self._serve(client)
                finally:
                    client.link.close()
                    nursery.cancel_scope.cancel()
        finally:
            self._gone(client)

    async def _serve(self, client: Client) -> None:
        try:
            while messages := await client.link.receive():
                for message in messages:
                    self._handle(client, message)
                self.schedule()
        except (FrameError, ValueError) as error:  # a process that breaks the protocol takes nobody with it
            logger.error("%s %s (pid %d) is cut off: %s", client.role, client.address, client.pid, error)

    def serve_at_once(self, process: bytes) -> None:
        """Handle what a process has sent and nobody has read yet, without waiting; in the loop's thread."""
        client = self.clients.by_id.get(process)
        while client is not None and (messages := client.link.receive_nowait()):
            for message in messages:
                self._handle(client, message)
            self.schedule()

    def _gone(self, client: Client) -> None:
        """A process has left or died; for workers, `worker_ended` follows with the cause."""
        self.clients.remove(client)
        self.store.disconnect(client)
        self.metrics.process_gone(client)
        self.memory.process_gone(client)
        self.supervision.process_gone(client)
        for path in Path(self.identity.sockets).glob(f"{BREAKPOINT}{client.pid}-*"):  # where it waited for a debugger
            path.unlink(missing_ok=True)
        self.endings.process_gone(client)
        if client.worker_id in self.processes.workers:
            self.table.disconnected(client.worker_id)
            # Without its link a worker is of no use; mostly it is dead already.
            self._later(self._kill_unconnected, client.worker_id)
        self.schedule()

    def _handle(self, client: Client, message: NodeMessage) -> None:
        match message:
            case Create() | Seal() | Free() | Pin() | Fence() | Locate():
                self.store.handle(client, message)
            case DefineClass() | Demand() | ReturnLease() | Lend() | Resume():
                self._handle_lease(client, message)
            case KillLeased() | KillActor() | KillSender():
                self._kill(client, message)
            case AssignJob(_, config):
                self._job_known(client, config)
            case ActorStarted() | WatchActor() | ActorUnreachable() | EndActor() | ResumeActor() | AwaitRemains():
                self._handle_actor(client, message)
            case CreateGroup() | RemoveGroup() | WatchGroup():
                self.gcs.handle_group(client, message)
            case CleanupDue(due):
                self.endings.answered(client.worker_id, due)
            case Exiting(reason):
                self._exiting(client, reason)
            case TaskEvents(events):
                self.gcs.record_events(client, events)
                self.metrics.executed(events)
            case MetricReport(updates):
                self.metrics.reported(client, updates)
            case AskNode():
                self.waiting.answer(client, message)
            case ReferencesTold():
                self.memory.answered(client, message)
            case SupervisionTold():
                self.supervision.told(client, message)
            case Retained():
                self.table.stays_idle(client.worker_id, client.job)
            case FinishJob():
                self._later(self.endings.finish_job, client)
            case _:
                raise ValueError(f"a {client.role} sent {type(message).__name__}, which only nodes send")

    def _handle_lease(self, client: Client, message: DefineClass | Demand | ReturnLease | Lend | Resume) -> None:
        match message:
            case DefineClass() | Demand() if client.leaving:
                return
            case DefineClass(key, resources, job, name, scheduling):
                amounts = ResourceSet.of(resources)
                refused = self.reservations.define(client.worker_id, key, amounts, amounts, job, name, scheduling)
                if refused is not None:
                    client.send([refused])
            case Demand(key, total):
                self.table.want(client.worker_id, key, total)
            case ReturnLease(lease, reusable):
                self._returned(lease, reusable)
            case Lend():
                self.table.lend(client.worker_id)
            case Resume():
                if client.worker_id in self.endings.departures or not self.table.resume(client.worker_id):
                    client.send([Resumed()])

    def _handle_actor(
        self,
        client: Client,
        message: ActorStarted | WatchActor | ActorUnreachable | EndActor | ResumeActor | AwaitRemains,
    ) -> None:
        match message:
            case ActorStarted(actor, error):
                self.gcs.actor_started(actor, error)
            case WatchActor(actor):
                if not self.gcs.watch(client, actor):
                    self._later(self._give_up_on, client, actor)
            case ActorUnreachable(actor):
                self.gcs.actor_unreachable(actor)
            case ResumeActor(actor):
                self.gcs.resume_actor(actor)
            case EndActor() | AwaitRemains():
                self._later(self.endings.see_ended, client, message)

    def _exiting(self, client: Client, reason: str) -> None:
        worker = self.processes.workers.get(client.worker_id)
        if worker is not None:
            worker.reason = worker.reason or reason
        self.gcs.worker_exiting(client.worker_id, reason)

    # --- jobs ---

    def _job_known(self, client: Client, config: bytes) -> None:
        if client.role == "driver":
            client.config = config
            client.job_config = _decode_job.decode(config)
            self.gcs.job_started(client.job, client.job_config, client.pid)
            return
        granted = self._entering.pop(client.worker_id, None)
        if granted is not None:
            self._tell_granted(granted)

    # --- leases ---

    def schedule(self) -> None:
        """Carry out whatever the lease table decides now; placement groups that wait come first."""
        self.reservations.place_groups()
        for action in self.table.schedule():
            match action:
                case Granted():
                    self._granted(action)
                case NeedWorkers(_, count):
                    for _ in range(count):
                        self.processes.start(self._new_id())
                case ResumedAction(worker):
                    self._send(worker, [Resumed()])
                case Contention(client, contended):
                    self._send(client, [Contended(contended)])

    def _send(self, process: bytes, messages: list[Any]) -> None:
        client = self.clients.by_id.get(process)
        if client is not None:
            client.send(messages)

    def _granted(self, granted: Granted) -> None:
        worker = self.processes.workers.get(granted.worker)
        client = self.clients.by_id.get(granted.worker)
        job = self.table.leases[granted.lease].demand.job
        if worker is None or client is None:  # it has just died; `worker_ended` gives the lease back
            self._entering[granted.worker] = granted
        elif worker.job == job:
            self._tell_granted(granted)
        else:
            worker.job = client.job = job
            self._entering[granted.worker] = granted
            client.send([AssignJob(job, self.gcs.job_config(job))])

    def _tell_granted(self, granted: Granted) -> None:
        address = socket_name(granted.worker)
        if granted.client == GCS_CLIENT:
            self._become_actor(granted, address)
        else:
            self._send(granted.client, [Grant(granted.key, granted.lease, granted.worker, address)])

    def _returned(self, lease: int, reusable: bool) -> None:
        held = self.table.leases.get(lease)
        leaving = held is not None and held.worker in self.endings.departures
        held = self.table.returned(lease, reusable and not leaving)
        if held is not None and not reusable and not leaving:
            self._later(self._retire, held.worker)

    async def _retire(self, worker: bytes) -> None:
        """End a worker that has run all it may run (``max_calls``), as soon as nothing depends on it."""
        while worker in self.processes.workers:
            self._send(worker, [Retire()])
            await trio.sleep(_IDLE_SECONDS)

    def worker_ended(self, worker: WorkerProcess, cause: str) -> None:
        """A worker's process is gone."""
        self.endings.departures.ended(worker.worker_id)
        granted = self._entering.pop(worker.worker_id, None)
        if not worker.connected:
            self.table.worker_failed_to_start()
        lease = self.table.worker_gone(worker.worker_id)
        if lease is not None and lease.demand.client != GCS_CLIENT:
            self._tell_lost(lease, granted, cause)
        elif granted is not None and granted.key in self._actor_keys:  # it died before it could become the actor
            self.table.want(GCS_CLIENT, granted.key, self.table.demands[GCS_CLIENT, granted.key].granted + 1)
        self.gcs.worker_gone(worker.worker_id, cause)
        # A killed worker leaves its socket behind.
        (Path(self.identity.sockets) / socket_name(worker.worker_id)).unlink(missing_ok=True)
        self.endings.remains.worker_ended()
        self.schedule()

    def _tell_lost(self, lease: HeldLease, granted: Granted | None, cause: str) -> None:
        messages: list[Any] = []
        if granted is not None:  # the owner has not heard of the lease yet
            messages.append(Grant(granted.key, granted.lease, granted.worker, socket_name(granted.worker)))
        self._send(lease.demand.client, [*messages, LeaseLost(lease.lease, cause)])

    def _kill(self, client: Client, message: KillLeased | KillActor | KillSender) -> None:
        """A call that was cancelled does not end otherwise."""
        match message:
            case KillLeased(lease, reason):
                held = self.table.leases.get(lease)
                if held is not None and held.demand.client != client.worker_id:
                    raise ValueError(f"lease {lease} is another process's, which alone may have its worker killed")
                if held is not None:  # else it has just died
                    self._end(held.worker, reason)
            case KillActor(actor, incarnation, reason):
                self.gcs.kill_incarnation(actor, incarnation, reason)
            case KillSender(reason):
                self._end(client.worker_id, reason)

    # --- ending workers ---

    def _end(self, worker_id: bytes, reason: str) -> None:
        worker = self.processes.workers.get(worker_id)
        if worker is not None:
            self.processes.kill(worker, reason)

    async def _kill_unconnected(self, worker_id: bytes) -> None:
        await trio.sleep(_UNCONNECTED_SECONDS)
        self._end(worker_id, "it lost its connection to the node and lived on")

    async def _give_up_on(self, client: Client, actor_id: bytes) -> None:
        """A handle may arrive before its actor's registration, but not by so much."""
        await trio.sleep(_REGISTRATION_SECONDS)
        self.gcs.give_up_on(client, actor_id)

    # --- the GCS's actors on this node ---

    def place_actor(
        self,
        actor_id: bytes,
        resources: ResourceSet,
        placement: ResourceSet,
        job: bytes,
        class_name: str,
        scheduling: Scheduling,
    ) -> None:
        """Find a worker for an actor; `become_actor` follows."""
        self._next_actor_key += 1
        key = self._next_actor_key
        self._actor_keys[key] = actor_id
        refused = self.reservations.define(GCS_CLIENT, key, resources, placement, job, class_name, scheduling)
        if refused is not None:
            del self._actor_keys[key], self.table.demands[GCS_CLIENT, key]
            self.gcs.actor_refused(actor_id, group_removed=refused.group_removed, reason=refused.reason)
            return
        self.table.want(GCS_CLIENT, key, 1)
        self.schedule()

    def unplace_actor(self, actor_id: bytes) -> None:
        """The actor needs no worker any more."""
        for key in [key for key, actor in self._actor_keys.items() if actor == actor_id]:
            del self._actor_keys[key]
            self.table.want(GCS_CLIENT, key, 0)
            self.table.demands.pop((GCS_CLIENT, key), None)
        self.schedule()

    def _become_actor(self, granted: Granted, address: str) -> None:
        actor_id = self._actor_keys.pop(granted.key, None)
        self.table.demands.pop((GCS_CLIENT, granted.key), None)
        start = None if actor_id is None else self.gcs.actor_placed(actor_id, granted.worker, address)
        if start is None:
            self._returned(granted.lease, True)
            return
        self._send(granted.worker, [StartActor(*start)])

    def end_worker(self, worker_id: bytes, *, graceful: bool, reason: str) -> None:
        """End an actor's process."""
        if graceful:
            self.endings.end_gracefully(worker_id, reason)
        else:
            self._end(worker_id, reason)

    # --- output ---

    def publish_output(self, worker: WorkerProcess, is_error: bool, name: str, lines: list[str]) -> None:
        """Pass lines on to the driver of the worker's job."""
        driver = self.clients.driver_of(worker.job)
        if driver is not None:
            worker.name = name or worker.name
            driver.send([LogLines(worker.pid, worker.name, is_error, lines)])


async def _close_with(pid: int, link: Link[NodeMessage]) -> None:
    """A driver's children may hold its end of the link open: its own end is what counts."""
    await wait_for_end(pid)
    link.close()


def _peer(sock: socket.socket) -> int:
    """The process at the other end; 0 for one that cannot be seen from this container."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", credentials)
    return pid


def _welcome(raylet: Raylet, sock: socket.socket, job: bytes) -> UnixLink[NodeMessage]:
    identity = raylet.identity
    welcome = Welcome(
        identity.node_id,
        raylet.store.capacity,
        identity.session,
        identity.sockets,
        identity.address,
        job,
        True,
        identity.metrics_port,
    )
    send_welcome(sock, welcome, raylet.store.descriptor)
    return UnixLink(sock, NodeMessage)
