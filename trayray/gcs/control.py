"""The GCS of a cluster: carries out what ``core.actor_life`` decides, and knows nodes, jobs and finished executions.

Called by the raylet of its own node directly and by everybody else through ``gcs.service``. All methods are
synchronous: what they change is changed at once, what they cause is sent. Not here: leases, processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import attrs
import msgspec

from trayray.core.actor_life import Action, Actor, ActorTable, EndWorker, Place, Publish, State, Unplace
from trayray.model.resources import ResourceSet
from trayray.wire.messages import ActorState, JobConfig
from trayray.wire.proto.trayray import v1

#: Finished executions kept for the timeline.
_MAX_EVENTS = 100_000


class Watcher(Protocol):
    """A connected process, as far as the GCS needs it."""

    @property
    def address(self) -> str: ...
    @property
    def worker_id(self) -> bytes: ...
    @property
    def pid(self) -> int: ...
    def send(self, messages: list[Any]) -> None: ...


class ActorHost(Protocol):
    """The node on which actors are placed."""

    def place_actor(
        self, actor_id: bytes, resources: ResourceSet, placement: ResourceSet, job: bytes, class_name: str
    ) -> None: ...
    def unplace_actor(self, actor_id: bytes) -> None: ...
    def end_worker(self, worker_id: bytes, *, graceful: bool, reason: str) -> None: ...


@attrs.define
class Job:
    """One driver's job."""

    job_id: bytes
    config: JobConfig
    driver_pid: int
    ended: bool = False


class Gcs:
    """The control plane's state."""

    def __init__(self, host: ActorHost, describe_nodes: Callable[[], list[v1.Node]]) -> None:
        self._host = host
        self.describe_nodes = describe_nodes
        self.actors = ActorTable()
        self.jobs: dict[bytes, Job] = {}
        self._events: deque[tuple[bytes, int, bytes, str, float, float, bool]] = deque(maxlen=_MAX_EVENTS)
        #: Who hears of an actor's changes.
        self._watchers: dict[bytes, list[Watcher]] = {}
        self._encoder = msgspec.msgpack.Encoder()

    def carry_out(self, actions: Iterable[Action]) -> None:
        """Do what the actor table decided."""
        for action in actions:
            match action:
                case Place(actor_id):
                    actor = self.actors.actors[actor_id]
                    self._host.place_actor(
                        actor_id,
                        ResourceSet.of(actor.resources),
                        ResourceSet.of(actor.placement),
                        actor.job,
                        actor.class_name,
                    )
                case Unplace(actor_id):
                    self._host.unplace_actor(actor_id)
                case EndWorker(worker, graceful, reason):
                    self._host.end_worker(worker, graceful=graceful, reason=reason)
                case Publish(actor_id):
                    self._publish(actor_id)

    # --- watching ---

    def watch(self, client: Watcher, actor_id: bytes) -> bool:
        """``client`` hears of the actor's state now and at each change; False when it is not registered (yet)."""
        watchers = self._watchers.setdefault(actor_id, [])
        if client not in watchers:
            watchers.append(client)
        actor = self.actors.actors.get(actor_id)
        if actor is not None:
            client.send([_state_of(actor)])
        return actor is not None

    def give_up_on(self, client: Watcher, actor_id: bytes) -> None:
        """The actor should be registered by now: if it is not, tell ``client`` that it never will be."""
        if actor_id not in self.actors.actors:
            cause = f"The actor {actor_id.hex()} is not known to this cluster: its handle comes from another one."
            client.send([ActorState(actor_id, "DEAD", "", cause)])

    def _publish(self, actor_id: bytes) -> None:
        state = _state_of(self.actors.actors[actor_id])
        for client in self._watchers.get(actor_id, ()):
            client.send([state])
        if state.state == "DEAD":  # nothing more will happen to it
            self._watchers.pop(actor_id, None)

    # --- actors ---

    def register(self, actor: Actor, *, get_if_exists: bool) -> Actor:
        """See `ActorTable.register`."""
        found = self.actors.register(actor, get_if_exists=get_if_exists)
        if found is actor:
            self._publish(actor.actor_id)
            job = self.jobs.get(actor.job)
            if job is not None and job.ended:  # the registration was under way when the driver left
                self.carry_out(self.actors.job_ended(actor.job))
        return found

    def create(self, actor_id: bytes, spec: bytes, resources: dict[str, float], placement: dict[str, float]) -> None:
        self.carry_out(self.actors.create(actor_id, spec, resources, placement))

    def actor_placed(self, actor_id: bytes, worker: bytes, address: str) -> tuple[bytes, bool] | None:
        """A worker is there: the spec and whether this is a restart; None when the actor is dead already."""
        if not self.actors.placed(actor_id, worker, address):
            return None
        actor = self.actors.actors[actor_id]
        return actor.spec, actor.restarts > 0

    def actor_started(self, actor_id: bytes, error: bytes) -> None:
        if error:
            self.actor_failed(actor_id, error)
        else:
            self.carry_out(self.actors.started(actor_id))

    def actor_failed(self, actor_id: bytes, error: bytes) -> None:
        self.carry_out(self.actors.failed(actor_id, error))

    def actor_unreachable(self, actor_id: bytes) -> None:
        self.carry_out(self.actors.unreachable(actor_id))

    def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> None:
        self.carry_out(self.actors.kill(actor_id, no_restart=no_restart, reason="it was killed by ray.kill"))

    def is_detached(self, worker: bytes) -> bool:
        """Whether the worker is a detached actor."""
        return any(a.worker == worker and a.detached for a in self.actors.actors.values())

    # --- processes and jobs ---

    def worker_gone(self, worker: bytes, cause: str) -> None:
        self.carry_out(self.actors.worker_gone(worker, cause))

    def worker_exiting(self, worker: bytes, reason: str) -> None:
        self.carry_out(self.actors.exiting(worker, reason))

    def process_gone(self, address: str) -> None:
        self.carry_out(self.actors.owner_gone(address))
        for watchers in self._watchers.values():
            watchers[:] = [client for client in watchers if client.address != address]

    def job_started(self, job_id: bytes, config: JobConfig, driver_pid: int) -> None:
        self.jobs[job_id] = Job(job_id, config, driver_pid)

    def job_config(self, job_id: bytes) -> bytes:
        """What a worker of the job must know, encoded."""
        return self._encoder.encode(self.jobs[job_id].config)

    def job_ended(self, job_id: bytes) -> None:
        job = self.jobs.get(job_id)
        if job is not None and not job.ended:
            job.ended = True
            self.carry_out(self.actors.job_ended(job_id))

    # --- the timeline ---

    def record_events(self, client: Watcher, events: Iterable[tuple[bytes, str, float, float, bool]]) -> None:
        """Keep what a process has executed, for the timeline."""
        # Plain tuples, which the garbage collector leaves alone: a hundred thousand messages would slow the node down.
        self._events.extend((client.worker_id, client.pid, *event) for event in events)

    def events(self) -> list[v1.TaskEvent]:
        """Finished executions, oldest first."""
        return [
            v1.TaskEvent(task_id=task_id, name=name, start=start, end=end, ok=ok, worker_id=worker, pid=pid)
            for worker, pid, task_id, name, start, end, ok in self._events
        ]


def _state_of(actor: Actor) -> ActorState:
    """The actor as its watchers see it."""
    state = {State.ALIVE: "ALIVE", State.DEAD: "DEAD"}.get(actor.state, "PENDING")
    address = actor.address if actor.state is State.ALIVE else ""
    return ActorState(actor.actor_id, state, address, actor.cause, actor.error, actor.restarts)
