"""What the GCS decides about actors: names, the states of their lives, restarts, and who ends with whom.

    PENDING_CREATION -> ALIVE -> DEAD
                          |  ^
                          v  |
                       RESTARTING        (while restarts are left)

A supervised actor is never dead because its process has ended: it is parked, RESTARTING without looking for a worker,
until its owner, which supervises it, has it started again or ends it for good.

Events in, actions out; no I/O. Not here: leases and processes (``node.raylet``), calls (``worker.actor_calls``).
"""

import enum
from collections.abc import Mapping

import attrs

from trayray.model.scheduling import ANYWHERE, Scheduling


class State(enum.Enum):
    """Where an actor is in its life."""

    PENDING = "PENDING_CREATION"
    ALIVE = "ALIVE"
    RESTARTING = "RESTARTING"
    DEAD = "DEAD"


#: Legal transitions; whatever is absent is a bug.
TRANSITIONS: frozenset[tuple[State, State]] = frozenset(
    {
        (State.PENDING, State.ALIVE),
        (State.PENDING, State.RESTARTING),
        (State.PENDING, State.DEAD),
        (State.ALIVE, State.RESTARTING),
        (State.ALIVE, State.DEAD),
        (State.RESTARTING, State.ALIVE),
        (State.RESTARTING, State.RESTARTING),
        (State.RESTARTING, State.DEAD),
    }
)


@attrs.define
class Actor:
    """One actor, from its registration on; dead ones are kept for their cause of death."""

    actor_id: bytes
    name: str
    namespace: str
    class_name: str
    job: bytes
    owner: str
    detached: bool
    max_restarts: int
    #: Pickled description for whoever asks by name.
    handle: bytes
    state: State = State.PENDING
    #: Encoded creation spec, empty until its arguments were ready.
    spec: bytes = b""
    #: What it holds while it lives, and what its node must have.
    resources: dict[str, float] = attrs.field(factory=dict[str, float])
    placement: dict[str, float] = attrs.field(factory=dict[str, float])
    scheduling: Scheduling = ANYWHERE
    #: Address and id of its worker; empty while it has none.
    address: str = ""
    worker: bytes = b""
    restarts: int = 0
    #: Why it is dead: a sentence, and the constructor's exception if that was it.
    cause: str = ""
    error: bytes = b""
    #: The worker in which it has died; empty when it had none.
    died_in: bytes = b""
    #: Its owner decides what becomes of it when its process has ended.
    supervised: bool = False
    #: How a supervised actor has ended that waits for that: "normal", "abnormal" or "stopped". Empty for all others.
    parked: str = ""
    #: The worker of a supervised actor that is being stopped, until its process is gone.
    departing: bytes = b""
    #: Why a supervised actor ends by itself, until its process is gone.
    leaving: str = ""
    #: Actors are numbered in the order of their registration, from 1.
    number: int = 0
    #: Why it ends with others as soon as its turn comes; it lives until then. Empty for all others.
    ending: str = ""


# --- actions ---


@attrs.frozen
class Place:
    """Find a worker for the actor and run its constructor there."""

    actor_id: bytes


@attrs.frozen
class Publish:
    """Watchers of the actor must hear of its state."""

    actor_id: bytes


@attrs.frozen
class EndWorker:
    """End the actor's process: in good order (handlers run), or at once."""

    worker: bytes
    graceful: bool
    reason: str


@attrs.frozen
class EndTogether:
    """These actors' processes end for one reason, in their turns; `ActorTable.leaves` is due with each."""

    #: Workers with the numbers of their actors.
    members: tuple[tuple[bytes, int], ...]


@attrs.frozen
class Unplace:
    """The actor waits for a worker that it needs no longer."""

    actor_id: bytes


Action = Place | Publish | EndWorker | EndTogether | Unplace


class NameTaken(Exception):
    """Another living actor has the name in this namespace."""


class ActorTable:
    """All actors of the cluster."""

    def __init__(self) -> None:
        self.actors: dict[bytes, Actor] = {}
        #: Living actors with names, by (namespace, name).
        self.names: dict[tuple[str, str], bytes] = {}
        #: Actors that lost their last handle before their registration arrived: the two come by different links.
        self._unreachable_early: set[bytes] = set()

    # --- registration ---

    def register(self, actor: Actor, *, get_if_exists: bool) -> Actor:
        """Add an actor; the existing one of that name when ``get_if_exists``. Registering twice changes nothing.

        A new actor's state, which is DEAD when nobody can reach it any more, is the caller's to publish.

        Raises:
            NameTaken: the name belongs to a living actor.
        """
        if actor.actor_id in self.actors:
            return self.actors[actor.actor_id]
        if actor.name:
            holder = self.names.get((actor.namespace, actor.name))
            if holder is not None:
                if get_if_exists:
                    return self.actors[holder]
                raise NameTaken(
                    f"Actor with name {actor.name!r} already exists in the namespace {actor.namespace!r}; "
                    "use get_actor to reach it, get_if_exists=True to share it, or another name"
                )
            self.names[actor.namespace, actor.name] = actor.actor_id
        self.actors[actor.actor_id] = actor
        actor.number = len(self.actors)
        if actor.actor_id in self._unreachable_early:
            self._unreachable_early.remove(actor.actor_id)
            self.unreachable(actor.actor_id)
        return actor

    def create(
        self,
        actor_id: bytes,
        spec: bytes,
        resources: dict[str, float],
        placement: dict[str, float],
        scheduling: Scheduling = ANYWHERE,
    ) -> list[Action]:
        """The constructor's arguments are ready."""
        actor = self.actors[actor_id]
        if actor.state is State.DEAD or actor.spec:
            return []
        actor.spec, actor.resources, actor.placement, actor.scheduling = spec, resources, placement, scheduling
        return [] if actor.parked else [Place(actor_id)]

    def find(self, namespace: str, name: str) -> Actor | None:
        """The living actor of that name."""
        actor_id = self.names.get((namespace, name))
        return None if actor_id is None else self.actors[actor_id]

    # --- life ---

    def placed(self, actor_id: bytes, worker: bytes, address: str) -> bool:
        """A worker runs the constructor; False when the actor has died meanwhile and the worker is not needed."""
        actor = self.actors[actor_id]
        if actor.state not in (State.PENDING, State.RESTARTING) or actor.parked:
            return False
        actor.worker, actor.address = worker, address
        return True

    def started(self, actor_id: bytes) -> list[Action]:
        """The constructor returned; late news of a process that has ended since is ignored."""
        actor = self.actors[actor_id]
        if actor.state not in (State.PENDING, State.RESTARTING) or not actor.worker:
            return []
        self._move(actor, State.ALIVE)
        return [Publish(actor_id)]

    def failed(self, actor_id: bytes, error: bytes) -> list[Action]:
        """The constructor raised ``error`` (a payload), or its arguments did: it is not tried again, but by a
        supervisor when the process has ended."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is State.DEAD:
            return []
        actor.error = error
        if actor.supervised and actor.worker:
            return [Publish(actor_id)]
        return self._die(actor, "its constructor raised an exception", end=None)

    def unplaceable(self, actor_id: bytes, reason: str, error: bytes) -> list[Action]:
        """No node will ever be right for an actor that waits for one: its calls fail with ``error`` (a payload)."""
        actor = self.actors[actor_id]
        if actor.state is State.DEAD or actor.worker:
            return []
        actor.error = error
        return self._die(actor, reason.removesuffix("."), end=None)

    def group_removed(self, group: bytes, error: bytes) -> list[Action]:
        """A placement group is no more: its actors are killed; calls of those that wait for it fail with ``error``."""
        actions: list[Action] = []
        for actor in [a for a in self.actors.values() if a.scheduling.group == group]:
            if actor.state is State.DEAD or actor.ending:
                continue
            if not actor.worker:
                actor.error = error
            actions += self._die(actor, f"its placement group {group.hex()} was removed", end=False)
        return actions

    def worker_gone(self, worker: bytes, cause: str) -> list[Action]:
        """A worker's process ended; ``cause`` says how. Its actor is restarted or dead."""
        actions: list[Action] = []
        for actor in [a for a in self.actors.values() if a.departing == worker]:
            actor.departing = b""
        for actor in [a for a in self.actors.values() if a.worker == worker and a.state is not State.DEAD]:
            if actor.ending:
                actions += self._die(actor, actor.ending, end=None)
            elif actor.supervised:
                regular = actor.leaving and not actor.error
                actions += self._park(actor, actor.leaving or cause, "normal" if regular else "abnormal")
            elif actor.max_restarts < 0 or actor.restarts < actor.max_restarts:
                actor.worker, actor.address = b"", ""
                actor.restarts += 1
                self._move(actor, State.RESTARTING)
                actor.cause = cause
                actions += [Publish(actor.actor_id), Place(actor.actor_id)]
            else:
                actions += self._die(actor, cause, end=None)
        return actions

    def exiting(self, worker: bytes, reason: str) -> list[Action]:
        """The actor ends itself on purpose: it is not restarted, but by a supervisor when the process has ended."""
        actions: list[Action] = []
        for actor in [a for a in self.actors.values() if a.worker == worker and a.state is not State.DEAD]:
            if actor.supervised and not actor.ending:
                actor.leaving = reason
            else:
                actions += self._die(actor, reason, end=None)
        return actions

    # --- supervision ---

    def park(self, actor_id: bytes, reason: str) -> list[Action]:
        """Its supervisor stops a supervised actor: `resume` or `end` follows. Ending its process is the caller's."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is State.DEAD or actor.ending or actor.parked:
            return []
        return self._park(actor, reason, "stopped")

    def resume(self, actor_id: bytes) -> list[Action]:
        """Its supervisor has a parked actor started again."""
        actor = self.actors.get(actor_id)
        if actor is None or not actor.parked:
            return []
        actor.parked, actor.error = "", b""
        return [Place(actor_id)] if actor.spec else []

    def _park(self, actor: Actor, cause: str, how: str) -> list[Action]:
        looks = actor.spec and not actor.worker
        actor.died_in = actor.worker
        actor.departing = actor.worker if how == "stopped" else b""
        actor.worker, actor.address, actor.leaving = b"", "", ""
        actor.restarts += 1
        self._move(actor, State.RESTARTING)
        actor.cause, actor.parked = cause, how
        return [*([Unplace(actor.actor_id)] if looks else []), Publish(actor.actor_id)]

    # --- ends ---

    def kill(self, actor_id: bytes, *, no_restart: bool, reason: str) -> list[Action]:
        """End the actor's process at once; without ``no_restart``, or under a supervisor, that counts as a crash."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is State.DEAD:
            return []
        if actor.supervised and actor.spec and not actor.ending:
            if not actor.worker and not actor.parked:
                return self._park(actor, reason, "abnormal")
        elif no_restart:
            return self._die(actor, reason, end=False)
        return [EndWorker(actor.worker, False, reason)] if actor.worker else []

    def end(self, actor_id: bytes, *, graceful: bool, reason: str) -> list[Action]:
        """Its creator ends the actor for good, in good order or at once."""
        actor = self.actors.get(actor_id)
        if actor is None or actor.state is State.DEAD or actor.ending:
            return []
        return self._die(actor, reason, end=graceful)

    def unreachable(self, actor_id: bytes) -> list[Action]:
        """No handle is left: the actor ends in good order, unless it is detached."""
        actor = self.actors.get(actor_id)
        if actor is None:
            self._unreachable_early.add(actor_id)
            return []
        if actor.state is State.DEAD or actor.detached or actor.ending:
            return []
        return self._die(actor, "all handles to it went out of scope", end=True)

    def owner_gone(self, address: str, job: bytes = b"") -> list[Action]:
        """A process died: the actors that it created end with it, and those that they created, but for detached ones.

        Those end too while their arguments are missing: only their owner could have sent these. ``job``: the process
        was the driver of this job, so that the other actors of the job end at the same time.
        """
        owned = self._created_by({address})
        reasons = dict.fromkeys(owned, "its owner, the process that created it, has died")
        return self._end_all({**self._of_job(job), **reasons})

    def _created_by(self, owners: set[str]) -> list[bytes]:
        """The actors that these processes created, and those that they created, and so on."""
        owned = [a for a in self.actors.values() if a.owner in owners and not (a.detached and a.spec)]
        found = owners | {a.address for a in owned if a.address}
        return [a.actor_id for a in owned] if found == owners else self._created_by(found)

    def job_ended(self, job: bytes) -> list[Action]:
        """A driver has left: its job's actors end, but for detached ones."""
        return self._end_all(self._of_job(job))

    def node_leaves(self, reason: str) -> list[Action]:
        """Everything ends, detached actors too."""
        return self._end_all(dict.fromkeys(self.actors, reason))

    def leaves(self, worker: bytes) -> list[Action]:
        """The turn of an actor that ends with others has come: from now on it is dead for everybody."""
        return [
            action
            for actor in self.actors.values()
            if actor.worker == worker and actor.ending
            for action in self._die(actor, actor.ending, end=None)
        ]

    def _of_job(self, job: bytes) -> dict[bytes, str]:
        return {a.actor_id: "its job has ended" for a in self.actors.values() if a.job == job and not a.detached}

    def _end_all(self, reasons: Mapping[bytes, str]) -> list[Action]:
        """End these actors: at once where there is no process, the others together. Their names are free at once."""
        actions: list[Action] = []
        members: list[tuple[bytes, int]] = []
        for actor_id, reason in reasons.items():
            actor = self.actors[actor_id]
            if actor.state is State.DEAD or actor.ending:
                continue
            if actor.worker:
                actor.ending = reason
                self._release_name(actor)
                members.append((actor.worker, actor.number))
            else:
                if actor.departing:  # its supervisor saw to that, and may be gone
                    members.append((actor.departing, actor.number))
                actions += self._die(actor, reason, end=None)
        return [*actions, EndTogether(tuple(members))] if members else actions

    def _die(self, actor: Actor, reason: str, *, end: bool | None) -> list[Action]:
        actions: list[Action] = []
        if actor.worker:
            if end is not None:
                actions.append(EndWorker(actor.worker, end, reason))
        elif actor.spec and not actor.parked:
            actions.append(Unplace(actor.actor_id))
        self._move(actor, State.DEAD)
        actor.cause = f"The actor {actor.class_name} ({actor.actor_id.hex()}) is dead: {reason}."
        actor.died_in = actor.worker or actor.died_in
        actor.worker, actor.address, actor.spec, actor.parked, actor.leaving = b"", "", b"", "", ""
        self._release_name(actor)
        return [*actions, Publish(actor.actor_id)]

    def _release_name(self, actor: Actor) -> None:
        key = (actor.namespace, actor.name)
        if self.names.get(key) == actor.actor_id:  # one that is ending may have a successor of its name
            del self.names[key]

    @staticmethod
    def _move(actor: Actor, state: State) -> None:
        if (actor.state, state) not in TRANSITIONS:
            raise RuntimeError(f"actor {actor.actor_id.hex()} cannot go from {actor.state.value} to {state.value}")
        actor.state = state

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        for (namespace, name), actor_id in self.names.items():
            actor = self.actors[actor_id]
            assert (actor.namespace, actor.name) == (namespace, name)
            assert actor.state is not State.DEAD, "a dead actor holds its name"
            assert not actor.ending, "an actor on its way out holds its name"
        workers = [a.worker for a in self.actors.values() if a.worker]
        assert len(workers) == len(set(workers)), "two actors share a worker"
        for actor in self.actors.values():
            assert (actor.address == "") == (actor.worker == b"")
            assert actor.state is not State.DEAD or not actor.worker
            assert actor.state is not State.ALIVE or actor.worker
            assert not actor.ending or actor.worker or actor.state is State.DEAD
            assert not actor.parked or (actor.supervised and actor.state is State.RESTARTING and not actor.worker)
            assert not actor.departing or not actor.worker, "it is started again before its process is gone"
            assert not actor.leaving or (actor.supervised and actor.worker)
