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

from trayray.core.actor_life import Action, Actor, ActorTable, EndTogether, EndWorker, Place, Publish, State, Unplace
from trayray.core.placement_groups import Group, GroupNameTaken
from trayray.exceptions import ActorPlacementGroupRemoved, ActorUnschedulableError
from trayray.gcs.placement_groups import BundleHost, PlacementGroups, requested
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import Scheduling
from trayray.wire.actor_messages import ActorState
from trayray.wire.lease_messages import CreateGroup, GroupNews, RemoveGroup, WatchGroup
from trayray.wire.proto.trayray import v1
from trayray.wire.serialization import serialize
from trayray.wire.specs import JobConfig

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

    @property
    def reservations(self) -> BundleHost: ...
    def place_actor(
        self,
        actor_id: bytes,
        resources: ResourceSet,
        placement: ResourceSet,
        job: bytes,
        class_name: str,
        scheduling: Scheduling,
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

    def __init__(
        self, host: ActorHost, describe_nodes: Callable[[], list[v1.Node]], clock: Callable[[], float]
    ) -> None:
        self._host = host
        self.groups = PlacementGroups(host.reservations, clock, self._end_actors_of)
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
                        actor.scheduling,
                    )
                case Unplace(actor_id):
                    self._host.unplace_actor(actor_id)
                case EndWorker(worker, graceful, reason):
                    self._host.end_worker(worker, graceful=graceful, reason=reason)
                case EndTogether(members):  # of those whose node is told of each group by itself
                    raise RuntimeError(f"workers {members} are told to end without their group")
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
            if self.actors.actors[actor_id].detached:
                self.groups.actor_gone(actor_id)

    # --- actors ---

    def register(self, actor: Actor, *, get_if_exists: bool) -> Actor:
        """See `ActorTable.register`."""
        found = self.actors.register(actor, get_if_exists=get_if_exists)
        if found is actor:
            self._publish(actor.actor_id)
            job = self.jobs.get(actor.job)
            if job is not None and job.ended:  # the registration was under way when the driver left
                self.job_ended(actor.job)
        return found

    def create(
        self,
        actor_id: bytes,
        spec: bytes,
        resources: dict[str, float],
        placement: dict[str, float],
        scheduling: Scheduling,
    ) -> None:
        self.carry_out(self.actors.create(actor_id, spec, resources, placement, scheduling))

    def actor_refused(self, actor_id: bytes, *, group_removed: bool, reason: str) -> None:
        """No node will ever be right for the actor."""
        error = ActorPlacementGroupRemoved() if group_removed else ActorUnschedulableError(reason)
        self.carry_out(self.actors.unplaceable(actor_id, reason, serialize(error).to_bytes()))

    def _end_actors_of(self, group_id: bytes) -> None:
        """A placement group is no more."""
        error = serialize(ActorPlacementGroupRemoved()).to_bytes()
        self.carry_out(self.actors.group_removed(group_id, error))

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

    def end_actor(self, actor_id: bytes, *, graceful: bool, reason: str) -> bytes:
        """The actor is dead from now on; the worker that it has died in, which is to end. Empty for none."""
        actor = self.actors.actors.get(actor_id)
        if actor is None:
            return b""
        actions = self.actors.end(actor_id, graceful=graceful, reason=reason)
        self.carry_out(action for action in actions if not isinstance(action, EndWorker))
        return actor.worker or actor.died_in

    def workers_of(self, actor_id: bytes) -> list[bytes]:
        """The worker in which the actor lives, and the one in which it has died last; of both something may be left."""
        actor = self.actors.actors.get(actor_id)
        return [] if actor is None else [worker for worker in (actor.worker, actor.died_in) if worker]

    def workers_of_owner(self, address: str) -> list[bytes]:
        """`workers_of` all actors that the process at ``address`` has created, but for detached ones."""
        owned = [a.actor_id for a in self.actors.actors.values() if a.owner == address and not a.detached]
        return [worker for actor in owned for worker in self.workers_of(actor)]

    def park_actor(self, actor_id: bytes, reason: str) -> bytes:
        """Its supervisor stops an actor; the worker that it has had, which is to end. Empty for none."""
        self.carry_out(self.actors.park(actor_id, reason))
        actor = self.actors.actors.get(actor_id)
        return b"" if actor is None else actor.worker or actor.died_in

    def resume_actor(self, actor_id: bytes) -> None:
        self.carry_out(self.actors.resume(actor_id))

    def kill_incarnation(self, actor_id: bytes, incarnation: int, reason: str) -> None:
        """End the actor's process, unless it is another one by now; the actor restarts if it may."""
        actor = self.actors.actors.get(actor_id)
        if actor is not None and actor.state is State.ALIVE and actor.restarts == incarnation:
            self._host.end_worker(actor.worker, graceful=False, reason=reason)

    def is_detached(self, worker: bytes) -> bool:
        """Whether the worker is a detached actor."""
        return any(a.worker == worker and a.detached for a in self.actors.actors.values())

    # --- placement groups ---

    def handle_group(self, client: Watcher, message: CreateGroup | RemoveGroup | WatchGroup) -> None:
        """A process creates or removes a placement group, or waits for one; it is answered by `GroupNews`."""
        match message:
            case CreateGroup():
                error = ""
                try:
                    self._create_group(requested(message))
                except GroupNameTaken as taken:
                    error = str(taken)
                client.send([GroupNews(message.group, "REGISTERED", error)])
            case RemoveGroup(group_id):
                self.groups.remove(group_id)
                client.send([GroupNews(group_id, "REMOVED")])
            case WatchGroup(group_id):
                self.groups.watch(client, group_id)

    def _create_group(self, group: Group) -> None:
        """The group ends with its job, or with the detached actor that created it."""
        creator = self.actors.actors.get(group.actor)
        if creator is None or not creator.detached:
            group.actor = b""
        self.groups.create(group)
        job = self.jobs.get(group.job)
        if job is not None and job.ended:  # the creation was under way when the driver left
            self.groups.job_ended(group.job)
        elif creator is not None and group.actor and creator.state is State.DEAD:
            self.groups.actor_gone(group.actor)

    # --- processes and jobs ---

    def worker_gone(self, worker: bytes, cause: str) -> None:
        for actor in self.actors.actors.values():
            if actor.worker == worker:
                actor.died_in = worker  # also of an actor that is restarted
        self.carry_out(self.actors.worker_gone(worker, cause))

    def worker_exiting(self, worker: bytes, reason: str) -> None:
        self.carry_out(self.actors.exiting(worker, reason))

    def process_gone(self, address: str, job: bytes = b"") -> list[tuple[bytes, int]]:
        """A process has died, the driver of ``job`` if one is given: the workers that end with it, and their turns."""
        if job in self.jobs:
            self.jobs[job].ended = True
        leavers = self._ending_together(self.actors.owner_gone(address, job))
        for watchers in self._watchers.values():
            watchers[:] = [client for client in watchers if client.address != address]
        self.groups.process_gone(address)
        self.groups.job_ended(job)
        return leavers

    def node_leaves(self, reason: str) -> list[tuple[bytes, int]]:
        """The node ends: all actors' workers, and their turns."""
        return self._ending_together(self.actors.node_leaves(reason))

    def worker_leaves(self, worker: bytes) -> None:
        """The worker's turn to end has come."""
        self.carry_out(self.actors.leaves(worker))

    def _ending_together(self, actions: list[Action]) -> list[tuple[bytes, int]]:
        leavers = [member for action in actions if isinstance(action, EndTogether) for member in action.members]
        self.carry_out(action for action in actions if not isinstance(action, EndTogether))
        return leavers

    def job_started(self, job_id: bytes, config: JobConfig, driver_pid: int) -> None:
        self.jobs[job_id] = Job(job_id, config, driver_pid)

    def job_config(self, job_id: bytes) -> bytes:
        """What a worker of the job must know, encoded."""
        return self._encoder.encode(self.jobs[job_id].config)

    def job_ended(self, job_id: bytes) -> list[tuple[bytes, int]]:
        """A driver leaves: its actors' workers, and their turns."""
        if job_id in self.jobs:
            self.jobs[job_id].ended = True
        leavers = self._ending_together(self.actors.job_ended(job_id))
        self.groups.job_ended(job_id)
        return leavers

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
    address = actor.address if actor.state is State.ALIVE else ""
    return ActorState(
        actor.actor_id, actor.state.value, address, actor.cause, actor.error, actor.restarts, actor.parked
    )
