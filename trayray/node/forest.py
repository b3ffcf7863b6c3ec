"""What `trayray tree` shows: jobs, and below them supervisors, their children and other living actors.

Trees come from the processes that supervise; pids and the lives of actors are the node's own knowledge. What a process
supervises hangs below the actor that lives in it. Not here: keeping the trees (``supervision_trees``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trayray.core.actor_life import Actor, State
from trayray.wire.proto.trayray import v1

if TYPE_CHECKING:
    from trayray.node.raylet import Raylet
    from trayray.wire.actor_messages import SupervisedNode

#: Actors' states in the words of supervision.
_STATES = {State.PENDING: "starting", State.ALIVE: "running", State.RESTARTING: "restarting", State.DEAD: "stopped"}


class Forest:
    """Describes one node's jobs."""

    def __init__(self, raylet: Raylet) -> None:
        self._raylet = raylet

    def describe(self) -> v1.Tree:
        """Everything that lives, as it is now."""
        jobs: list[v1.TreeJob] = []
        for job_id in self._raylet.gcs.jobs:
            driver = self._raylet.clients.driver_of(job_id)
            nodes = _Job(self._raylet, job_id).nodes()
            if nodes or driver is not None:
                jobs.append(v1.TreeJob(job_id=job_id, driver_pid=0 if driver is None else driver.pid, nodes=nodes))
        return v1.Tree(jobs=jobs)


class _Job:
    """One job, while it is described: what is shown once is not shown again."""

    def __init__(self, raylet: Raylet, job: bytes) -> None:
        self._raylet = raylet
        actors = raylet.gcs.actors.actors.values()
        self._actors = {a.actor_id: a for a in actors if a.job == job and a.state is not State.DEAD}
        self._processes = [c for c in raylet.clients.by_id.values() if c.job == job and c.role != "driver"]
        self._driver = raylet.clients.driver_of(job)
        supervised = (each for client in raylet.clients.by_id.values() for each in self._trees(client.worker_id))
        #: Actors that have their place below a supervisor.
        self._placed = {actor for tree in supervised for actor in _actors_in(tree)}
        #: Processes whose trees have been shown.
        self._shown: set[bytes] = set()

    def _trees(self, worker_id: bytes) -> list[SupervisedNode]:
        return self._raylet.supervision.of(worker_id)

    def nodes(self) -> list[v1.TreeNode]:
        """What stands right below the job."""
        found: list[v1.TreeNode] = []
        if self._driver is not None:
            found += self._within(self._driver.worker_id, self._driver.pid)
        found += [self._actor(actor) for actor in self._actors.values() if actor.actor_id not in self._placed]
        for client in self._processes:  # of tasks
            trees = [] if client.worker_id in self._shown else self._within(client.worker_id, client.pid)
            if trees:
                found.append(v1.TreeNode(id="task", kind="process", state="running", pid=client.pid, children=trees))
        return found

    def _within(self, worker_id: bytes, pid: int) -> list[v1.TreeNode]:
        """The trees that live in a process."""
        if worker_id in self._shown:
            return []
        self._shown.add(worker_id)
        return [self._supervised(node, pid) for node in self._trees(worker_id)]

    def _actor(self, actor: Actor) -> v1.TreeNode:
        pid = self._pid(actor)
        return v1.TreeNode(
            id=actor.name or actor.class_name,
            kind="actor",
            state=_STATES[actor.state],
            class_name=actor.class_name,
            actor_id=actor.actor_id,
            pid=pid,
            restarts=actor.restarts,
            reason=actor.cause,
            children=self._within(actor.worker, pid) if actor.worker else [],
        )

    def _pid(self, actor: Actor) -> int:
        worker = self._raylet.processes.workers.get(actor.worker)
        return 0 if worker is None else worker.pid

    def _supervised(self, node: SupervisedNode, pid: int) -> v1.TreeNode:
        """``pid``: of the process in which its supervisor lives."""
        actor = self._actors.get(node.actor)
        told = v1.TreeNode(
            id=node.id,
            kind=node.kind,
            state=node.state,
            strategy=node.strategy,
            actor_id=node.actor,
            restarts=node.restarts,
            since=node.since,
            reason=node.reason,
            children=[self._supervised(child, pid) for child in node.children],
        )
        if actor is not None:
            told.class_name, told.pid = actor.class_name, self._pid(actor)
            if actor.worker:
                told.children += self._within(actor.worker, told.pid)
        elif node.kind in ("async", "supervisor") and node.state != "stopped":
            told.pid = pid
        return told


def _actors_in(node: SupervisedNode) -> set[bytes]:
    own = {node.actor} if node.actor else set[bytes]()
    return own.union(*(_actors_in(child) for child in node.children))
