"""Which of a node's workers end together: a driver's job, what a dead process had running, everything.

Resources stay taken until their users have ended. Not here: in which turns they end (``departures``), which actors
belong together (``gcs``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from trayray.core.leaving import IDLE_TURN, TASK_TURN
from trayray.link.network import socket_name
from trayray.node.departures import Departures, Host
from trayray.node.remains import Remains
from trayray.wire.actor_messages import ActorEnded, AwaitRemains, EndActor, RemainsEnded
from trayray.wire.process_messages import Exit, JobEnding, JobFinished

if TYPE_CHECKING:
    from trayray.node.clients import Client
    from trayray.node.raylet import Raylet
    from trayray.node.worker_processes import WorkerProcess

#: The last output of a job's workers may take so long to arrive (seconds).
_DRAIN_SECONDS = 1.0
_JOB_ENDED = "its job has ended"


class Endings:
    """The ends of one node's workers."""

    def __init__(
        self,
        raylet: Raylet,
        seconds: float,
        send: Callable[[bytes, list[Any]], None],
        kill: Callable[[bytes, str], None],
        later: Callable[..., None],
    ) -> None:
        """``seconds``: what one worker may take to clean up. The rest is the raylet's: how a worker is told something
        or killed, and how a child task is started."""
        self._raylet = raylet
        self._seconds = seconds
        self._send, self._kill, self._later = send, kill, later
        self.departures = Departures(Host(send, kill, self._leaves, self._report, later), seconds)
        self.remains = Remains(raylet)
        #: Workers that were told to leave within a time of their own.
        self._told: set[bytes] = set()

    # --- one worker ---

    def end_gracefully(self, worker_id: bytes, reason: str) -> None:
        """Have a worker finish what runs, clean up and leave; kill it when it has not after a while."""
        self._end_within(worker_id, self._seconds, reason, patient=True)

    def _end_within(self, worker_id: bytes, seconds: float, reason: str, *, patient: bool) -> None:
        worker = self._raylet.processes.workers.get(worker_id)
        if worker is None or worker_id in self.departures:
            return
        if seconds <= 0:
            self._kill(worker_id, reason)
            return
        worker.reason = worker.reason or reason
        self._told.add(worker_id)
        self._send(worker_id, [Exit(reason, seconds, patient=patient)])
        self._later(self._kill_after, worker_id, seconds, reason)

    async def see_ended(self, client: Client, message: EndActor | AwaitRemains) -> None:
        """End an actor for good if that is asked, see its process gone with all that it had running, and say so."""
        match message:
            case EndActor(_, actor, seconds, reason):
                workers = self._raylet.gcs.workers_of(actor)
                if message.keep:
                    worker = self._raylet.gcs.park_actor(actor, reason)
                else:
                    worker = self._raylet.gcs.end_actor(actor, graceful=seconds > 0, reason=reason)
                if worker:
                    self._end_within(worker, seconds, reason, patient=False)
                for each in dict.fromkeys([worker, *workers] if worker else workers):
                    await self.remains.over(socket_name(each))
                client.send([ActorEnded(message.request)])
            case AwaitRemains(_, address):
                await self.remains.over(address)
                client.send([RemainsEnded(message.request)])

    def answered(self, worker_id: bytes, due: bool) -> None:
        """A worker says whether it has anything to clean up; without having been asked, that it does so by itself."""
        if not self.departures.answered(worker_id, due) and due and worker_id not in self._told:
            self._later(self._kill_after, worker_id, self._seconds, "")

    async def _kill_after(self, worker_id: bytes, seconds: float, reason: str) -> None:
        with trio.move_on_after(seconds):
            await self.remains.over(socket_name(worker_id))
        self._told.discard(worker_id)
        if worker_id in self._raylet.processes.workers and worker_id not in self.departures:
            setting = f" (TRAYRAY_SHUTDOWN_SECONDS={seconds:g})" if seconds == self._seconds else ""
            self._report(
                worker_id, f"killed while it was cleaning up, which a process may take {seconds:g} s for{setting}"
            )
            self._kill(worker_id, reason)

    def _leaves(self, worker_id: bytes) -> None:
        self._raylet.gcs.worker_leaves(worker_id)

    def _report(self, worker_id: bytes, text: str) -> None:
        worker = self._raylet.processes.workers.get(worker_id)
        if worker is not None:
            self._raylet.publish_output(worker, True, "", [text])

    # --- several ---

    def process_gone(self, client: Client) -> None:
        """A process has left or died: what it had running ends; with a driver, its job."""
        job = client.job if client.role == "driver" else b""
        actors = dict(self._raylet.gcs.process_gone(client.address, job))
        leased = {held.worker: TASK_TURN for held in self._raylet.table.client_gone(client.worker_id)}
        reason = "the process that it worked for has gone"
        others: dict[bytes, int] = {}
        if job:
            reason = _JOB_ENDED
            others = self._workers_of(job)
        members = {**others, **leased, **actors}
        if members:
            self.departures.begin(members.items(), reason)
        # Some of its actors may have been told to end before.
        self.remains.process_gone(client.address, {*members, *self._raylet.gcs.workers_of_owner(client.address)})

    async def finish_job(self, client: Client) -> None:
        """End everything of the job, pass its output on, and let the driver go."""
        client.leaving = True
        workers = [w for w in self._raylet.processes.workers.values() if self._belongs(w, client.job)]
        self._raylet.table.client_gone(client.worker_id)
        actors = dict(self._raylet.gcs.job_ended(client.job))
        group = self.departures.begin({**self._workers_of(client.job), **actors}.items(), _JOB_ENDED)
        if not group.departure.is_over:
            client.send([JobEnding(group.seconds)])
            await group.over()
        for worker in self._raylet.processes.workers.values():  # what others have started to clean up
            if worker.worker_id not in self.departures and self._belongs(worker, client.job):
                self._raylet.processes.kill(worker, _JOB_ENDED)
        with trio.move_on_after(_DRAIN_SECONDS):
            for worker in workers:
                await worker.drained.wait()
        client.send([JobFinished()])

    async def leave(self, reason: str) -> None:
        """End all workers that run somebody's code; nobody gets another one."""
        for client in list(self._raylet.clients.by_id.values()):
            if client.role == "driver":
                client.leaving = True
                self._raylet.table.client_gone(client.worker_id)
        actors = dict(self._raylet.gcs.node_leaves(reason))
        jobs = {worker.job for worker in self._raylet.processes.workers.values() if worker.job}
        members = {worker: turn for job in jobs for worker, turn in self._workers_of(job).items()}
        self.departures.begin({**members, **actors}.items(), reason)
        await self.departures.over()

    def _workers_of(self, job: bytes) -> dict[bytes, int]:
        """The job's workers but detached actors, with the turns of those that are no actors."""
        table = self._raylet.table
        idle = set(table.take_idle_of(job))
        found: dict[bytes, int] = {}
        for worker in self._raylet.processes.workers.values():
            if self._belongs(worker, job):
                found[worker.worker_id] = IDLE_TURN if worker.worker_id in idle else TASK_TURN
        return found

    def _belongs(self, worker: WorkerProcess, job: bytes) -> bool:
        return worker.job == job and not self._raylet.gcs.is_detached(worker.worker_id)
