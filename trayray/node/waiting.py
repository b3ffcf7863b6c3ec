"""What work on this node waits for, told to its users: at once what no node has, after a while what others hold.

Answers also what processes ask about waits: actors, requests for resources, who is there (`AskNode`).
Not here: the decisions and sentences (``core.feasibility``), what waits in processes (``worker.explaining``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import trio

from trayray.core.actor_life import Actor, State
from trayray.core.feasibility import (
    Holder,
    Patience,
    infeasible_text,
    nearest_node,
    shortage_text,
)
from trayray.core.leases import Demand, HeldLease
from trayray.core.node_choice import eligible_nodes
from trayray.core.waiting import Fact, Kind, Subject
from trayray.core.waiting import State as Known
from trayray.model.ids import creation_task_id
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import ANYWHERE, Scheduling
from trayray.model.settings import infeasible_is_error, number
from trayray.node.clients import Client
from trayray.wire.lease_messages import Refused
from trayray.wire.process_messages import Notice
from trayray.wire.report_messages import AskNode, NodeTold

if TYPE_CHECKING:
    from trayray.node.raylet import Raylet

logger = logging.getLogger(__name__)

#: Work that waits for resources so long is told of (seconds), unless TRAYRAY_waiting_notice_seconds says otherwise.
_NOTICE_SECONDS: Final = 10.0
#: How often waits are looked at, at most (seconds).
_LOOK_SECONDS: Final = 1.0


class WaitingWork:
    """What waits on one node."""

    def __init__(self, raylet: Raylet) -> None:
        self._raylet = raylet
        self._is_error = infeasible_is_error()
        seconds = number("waiting_notice_seconds", _NOTICE_SECONDS)
        self._look_seconds = min(_LOOK_SECONDS, max(seconds / 4, 0.01))
        self._patience: Patience[tuple[bytes, int]] = Patience(seconds)
        #: What has been told of already: job, name and request.
        self._told: set[tuple[bytes, str, ResourceSet, bool]] = set()

    async def run(self) -> None:
        """Tell of long waits, until cancelled."""
        while True:
            await trio.sleep(self._look_seconds)
            self._look(trio.current_time())

    # --- requests that no node can meet ---

    def declared(self, demand: Demand, scheduling: Scheduling) -> Refused | None:
        """A class of tasks or an actor begins to ask; a refusal if that is for what no node has, and is to be an error.

        Bundles of placement groups are not looked at: they may yet come, and whoever asks for more than they hold is
        told when it does.
        """
        if demand.group:
            return None
        text = self._impossible(demand, scheduling)
        if not text:
            return None
        job = self._raylet.gcs.jobs.get(demand.job)
        if self._is_error or (job is not None and job.config.infeasible_is_error):
            demand.refused = True
            return Refused(demand.key, False, text)
        key = demand.job, demand.name, demand.placement, demand.eligible
        if key not in self._told:
            self._told.add(key)
            more = "It waits until such a node joins; with TRAYRAY_INFEASIBLE=error it would fail instead."
            self._tell(demand.job, f"{text} {more}")
        return None

    def _impossible(self, demand: Demand, scheduling: Scheduling) -> str:
        request = _larger(demand)
        return _impossible_text(_what(demand), request, scheduling, self._totals(), eligible=demand.eligible)

    def _totals(self) -> dict[str, ResourceSet]:
        return {
            node.address: ResourceSet.of(node.resources) for node in self._raylet.gcs.describe_nodes() if node.alive
        }

    # --- long waits ---

    def _look(self, now: float) -> None:
        table = self._raylet.table
        waiting = {
            key: demand for key, demand in table.demands.items() if demand.outstanding and self._is_short(demand)
        }
        served = {(held.demand.client, held.demand.key) for held in table.leases.values()}
        counts = {key: demand.granted for key, demand in waiting.items() if key not in served}
        for key, seconds in self._patience.look(now, counts).items():
            demand = waiting[key]
            why = shortage_text(_larger(demand), table.available, self._holders())
            self._tell(demand.job, f"{_what(demand)} has been waiting for resources for {seconds:.0f} s. {why}")

    def _is_short(self, demand: Demand) -> bool:
        """Whether what the demand waits for is resources that others hold."""
        if demand.group or not demand.eligible:
            return False
        table = self._raylet.table
        return table.total.covers(_larger(demand)) and not table.available.covers(demand.resources)

    def _holders(self) -> list[Holder]:
        found = [self._holder(held) for held in self._raylet.table.leases.values() if held.bundle is None]
        reserved = self._raylet.table.bundles.total()
        return found if reserved.is_empty() else [*found, Holder("placement groups", 0, reserved)]

    def _holder(self, held: HeldLease) -> Holder:
        worker = self._raylet.processes.workers.get(held.worker)
        return Holder(held.demand.name, 0 if worker is None else worker.pid, held.held)

    def _tell(self, job: bytes, text: str) -> None:
        logger.warning("job %s: %s", job.hex(), text)
        driver = self._raylet.clients.driver_of(job)
        if driver is not None:
            driver.send([Notice([text])])

    # --- questions ---

    def answer(self, client: Client, question: AskNode) -> None:
        """A process asks what the node knows."""
        actors = self._raylet.gcs.actors.actors
        ids = list(question.actors)
        if question.name:
            ids += [a.actor_id for a in actors.values() if a.name == question.name and a.state is not State.DEAD]
        others = [other for other in self._raylet.clients.by_id.values() if other is not client]
        client.send(
            [
                NodeTold(
                    question.request,
                    [self._of_actor(actor_id, actors.get(actor_id)) for actor_id in ids],
                    [self.why_waiting(ResourceSet.of(needs), where or ANYWHERE) for needs, where in question.needs],
                    [other.address for other in others] if question.processes else [],
                )
            ]
        )

    def why_waiting(self, request: ResourceSet, where: Scheduling) -> str:
        """Why a request for resources is not met, in sentences about "it"."""
        if where.group:
            return self._why_in_group(request, where)
        table = self._raylet.table
        eligible = bool(eligible_nodes(where, self._raylet.reservations.nodes()))
        impossible = _impossible_text("It", request, where, self._totals(), eligible=eligible)
        return impossible or shortage_text(request, table.available, self._holders())

    def _why_in_group(self, request: ResourceSet, where: Scheduling) -> str:
        table, group = self._raylet.table, f"placement group {where.group.hex()}"
        bundles = table.bundles.of(where.group, where.bundle)
        if not bundles:
            return f"Its {group} has not got its bundles."
        roomiest = max(bundles.values(), key=lambda bundle: sum(map(bundle.free.units, request)))
        inside = [held for held in table.leases.values() if held.bundle in bundles]
        return f"It runs in {group}. {shortage_text(request, roomiest.free, map(self._holder, inside))}"

    def _of_actor(self, actor_id: bytes, actor: Actor | None) -> Fact:
        subject = Subject(Kind.ACTOR, actor_id, "")
        if actor is None:
            return Fact(subject, Known.UNKNOWN)
        name = actor.class_name
        creation = creation_task_id(actor_id)
        match actor.state:
            case State.DEAD:
                return Fact(subject, Known.DEAD, name, actor=actor_id, actor_class=name, detail=actor.cause)
            case State.ALIVE:
                does = Subject(Kind.CALL, actor_id, actor.address)
                fact = Fact(subject, Known.ALIVE, name, (does,), actor=actor_id, actor_class=name)
                return fact._replace(pid=self._pid(actor), node=self._raylet.identity.ip)
            case _ if actor.worker:
                runs = Subject(Kind.CALL, creation, actor.address)
                return Fact(subject, Known.CONSTRUCTING, name, (runs,), 1, actor=actor_id, actor_class=name)
            case _ if not actor.spec:
                waits = Subject(Kind.TASK, creation, actor.owner)
                return Fact(subject, Known.ARGUMENTS, name, (waits,), 1, actor=actor_id, actor_class=name)
            case _:
                request = ResourceSet.of({**actor.placement, **actor.resources})
                why = self.why_waiting(request, actor.scheduling)
                return Fact(subject, Known.QUEUED, name, actor=actor_id, actor_class=name, detail=why)

    def _pid(self, actor: Actor) -> int:
        worker = self._raylet.processes.workers.get(actor.worker)
        return 0 if worker is None else worker.pid


def _impossible_text(
    what: str, request: ResourceSet, where: Scheduling, totals: Mapping[str, ResourceSet], *, eligible: bool
) -> str:
    """Why no node will do, empty if one may; ``eligible``: there are nodes with the labels that it asks for."""
    nearest = nearest_node(request, totals)
    if nearest is not None:
        return infeasible_text(what, request, nearest)
    if eligible:
        return ""
    rules = " or ".join(" and ".join(map(str, rules)) for rules in (where.rules, *where.fallbacks) if rules)
    return f"{what} asks for a node where {rules}, and no node of the cluster is like that."


def _what(demand: Demand) -> str:
    return f"The actor {demand.name}" if demand.lasting else f"{demand.name}()"


def _larger(demand: Demand) -> ResourceSet:
    """What a node must have in all: what is held, and what only has to be there."""
    return ResourceSet.of({**demand.placement.to_dict(), **demand.resources.to_dict()})
