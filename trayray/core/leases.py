"""What a raylet decides: who gets a lease, on which worker, and who holds which resources.

Owners state a demand (how many leases of a scheduling class they want in all); the table grants them in the order of
arrival as resources and workers become free. A task that waits in get/wait lends its CPUs and takes them back before
anybody new gets CPUs; nothing is ever oversubscribed. What is set aside for a placement group serves its leases alone.
Not here: which node takes which bundle (``core.placement``), starting and stopping processes (``node.raylet``), what an
owner does with a lease (``core.submission``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from trayray.core.bundles import BundleKey, Bundles
from trayray.model.resources import ResourceSet

# --- actions ---


@attrs.frozen
class Granted:
    """``client`` holds lease ``lease`` of its class ``key`` on ``worker``."""

    client: bytes
    key: int
    lease: int
    worker: bytes


@attrs.frozen
class NeedWorkers:
    """So many more workers must be started for ``job``."""

    job: bytes
    count: int


@attrs.frozen
class Resumed:
    """The worker's CPUs are its own again."""

    worker: bytes


@attrs.frozen
class Contention:
    """Whether others than ``client`` wait for resources that its idle leases may hold."""

    client: bytes
    contended: bool


Action = Granted | NeedWorkers | Resumed | Contention


# --- state ---

#: The place of whatever belongs to no placement group.
_AT_LARGE: Final[tuple[None]] = (None,)


@attrs.define
class Demand:
    """One class of one client."""

    client: bytes
    key: int
    resources: ResourceSet
    #: Must fit the node's total, but is not held (an actor that states no resources).
    placement: ResourceSet
    job: bytes
    name: str
    #: An actor's: what it holds it holds until it ends.
    lasting: bool = False
    #: Placement group that it takes from, empty for none, and the index of the bundle there, -1 for any.
    group: bytes = b""
    bundle: int = -1
    #: The node may serve it, as far as labels go; a refused one is never served by anybody.
    eligible: bool = True
    refused: bool = False
    #: Totals since the beginning; the difference is what the client waits for.
    wanted: int = 0
    granted: int = 0

    @property
    def outstanding(self) -> int:
        return 0 if self.refused else max(0, self.wanted - self.granted)


@attrs.define
class HeldLease:
    """A granted lease."""

    lease: int
    demand: Demand
    worker: bytes
    #: What it holds at present: less than the demand while the CPUs are lent.
    held: ResourceSet
    #: CPUs given away while the task waits; asked back (but not there yet) when `resuming`.
    lent: ResourceSet
    resuming: bool = False
    #: Where its resources come from: a bundle of a placement group, or (None) the node at large.
    bundle: BundleKey | None = None
    #: It goes on without what it lent: that went to actors, which may well live until this very task ends.
    on_credit: bool = False


class LeaseTable:
    """The leases of one node."""

    def __init__(self, total: ResourceSet) -> None:
        self.total = total
        self.available = total
        self.bundles = Bundles()
        #: A placement group waits for resources that leases may hold.
        self.group_waits = False
        #: Demands by (client, key) in the order in which they began to wait: the front is served first.
        self.demands: dict[tuple[bytes, int], Demand] = {}
        self.leases: dict[int, HeldLease] = {}
        self.lease_of_worker: dict[bytes, int] = {}
        #: Workers without a lease by the job they serve; b"" holds those that have served none.
        self.idle: dict[bytes, list[bytes]] = {}
        #: Workers that were asked for and are not there yet.
        self.starting = 0
        #: Workers that were taken as idle and have not ended yet.
        self._retiring: set[bytes] = set()
        self._next_lease = 1
        self._contended: dict[bytes, bool] = {}

    # --- events ---

    def define(
        self,
        client: bytes,
        key: int,
        resources: ResourceSet,
        job: bytes,
        name: str,
        placement: ResourceSet | None = None,
        *,
        lasting: bool = False,
        group: bytes = b"",
        bundle: int = -1,
        eligible: bool = True,
    ) -> Demand:
        """A client declares a scheduling class; a ``lasting`` one is an actor's, which holds what it has to its end."""
        demand = self.demands[client, key] = Demand(
            client, key, resources, placement or resources, job, name, lasting, group, bundle, eligible
        )
        return demand

    def want(self, client: bytes, key: int, total: int) -> None:
        """A client wants ``total`` leases of a class, counted from the beginning.

        Raises:
            KeyError: the class was never defined.
        """
        demand = self.demands[client, key]
        waited = demand.outstanding > 0
        demand.wanted = total
        if demand.outstanding and not waited:  # queue up behind those who wait already
            self._queue_up(demand)

    def worker_started(self, worker: bytes) -> None:
        self.starting = max(0, self.starting - 1)
        self.idle.setdefault(b"", []).append(worker)

    def worker_failed_to_start(self) -> None:
        self.starting = max(0, self.starting - 1)

    def returned(self, lease: int, reusable: bool = True) -> HeldLease | None:
        """A lease came back; None when it is gone already. A worker that is not reusable is forgotten.

        A class that gives a lease back though it waits for more has had its turn: the others are served before it.
        """
        held = self.leases.pop(lease, None)
        if held is None:
            return None
        self._give(held.bundle, held.held)
        if held.bundle is not None:
            self.bundles[held.bundle].leases -= 1
        del self.lease_of_worker[held.worker]
        if reusable:
            self.idle.setdefault(held.demand.job, []).append(held.worker)
            if held.demand.outstanding:
                self._queue_up(held.demand)
        return held

    def _queue_up(self, demand: Demand) -> None:
        if self.demands.pop((demand.client, demand.key), None) is not None:
            self.demands[demand.client, demand.key] = demand

    def worker_gone(self, worker: bytes) -> HeldLease | None:
        """A worker's process ended; the lease it served, if any."""
        self._retiring.discard(worker)
        for workers in self.idle.values():
            if worker in workers:
                workers.remove(worker)
        lease = self.lease_of_worker.get(worker)
        return None if lease is None else self.returned(lease, reusable=False)

    def client_gone(self, client: bytes) -> list[HeldLease]:
        """A client is gone: its demands vanish. Its leases are nobody's, and held until their workers, whom the caller
        ends, have ended: they may take their time to clean up, and nobody else gets what they use meanwhile."""
        for demand_key in [key for key in self.demands if key[0] == client]:
            del self.demands[demand_key]
        self._contended.pop(client, None)
        mine = [held for held in self.leases.values() if held.demand.client == client]
        for held in mine:
            held.demand = attrs.evolve(held.demand, client=b"")
        return mine

    def lend(self, worker: bytes) -> None:
        """The worker's task waits: its CPUs are free for others. Unknown workers (lease just returned) are ignored."""
        held = self._held_by(worker)
        if held is not None and held.on_credit:  # what it lent the first time it has not had back
            held.on_credit = False
        if held is None or not held.lent.is_empty():
            return
        cpus = ResourceSet.from_units({"CPU": held.held.units("CPU")})
        held.lent = cpus
        held.held -= cpus
        held.resuming = False
        self._give(held.bundle, cpus)

    def resume(self, worker: bytes) -> bool:
        """The worker's task goes on and wants its CPUs back; False when it has lent none."""
        held = self._held_by(worker)
        if held is None or held.lent.is_empty():
            return False
        held.resuming = True
        return True

    def disconnected(self, worker: bytes) -> None:
        """A worker is of no use any more: it gets no lease. Its end follows (`worker_gone`)."""
        for workers in self.idle.values():
            if worker in workers:
                workers.remove(worker)

    def take_idle(self, limit: int) -> list[bytes]:
        """Idle workers beyond ``limit``, forgotten here: the caller ends them. Workers of no job stay longest."""
        excess = sum(len(workers) for workers in self.idle.values()) - limit
        taken: list[bytes] = []
        for job in sorted(self.idle, reverse=True):
            while excess > 0 and self.idle[job]:
                taken.append(self.idle[job].pop(0))
                excess -= 1
        self._retiring.update(taken)
        return taken

    def stays_idle(self, worker: bytes, job: bytes) -> None:
        """A worker that was taken as idle is needed for what it owns: it may serve its job again.

        Ignored for all others: one that has ended since would never give a lease back.
        """
        if worker in self._retiring:
            self._retiring.remove(worker)
            self.idle.setdefault(job, []).insert(0, worker)

    def take_idle_of(self, job: bytes) -> list[bytes]:
        """The idle workers of an ended job, forgotten here."""
        return self.idle.pop(job, [])

    # --- placement groups ---

    def reserve(self, group: bytes, bundles: Mapping[int, ResourceSet]) -> bool:
        """Set resources aside for bundles of a group: all of them, or (False) none. Repeating it changes nothing."""
        missing = self.bundles.missing(group, bundles)
        whole = ResourceSet()
        for resources in missing.values():
            whole += resources
        if not self.available.covers(whole):
            return False
        self.available -= whole
        self.bundles.reserve(group, missing)
        return True

    def release(self, group: bytes, indices: Iterable[int]) -> list[HeldLease]:
        """Take bundles back. The leases in them are the caller's to end: what they hold is the node's when they do."""
        gone = {(group, index) for index in indices}
        self.available += self.bundles.release(group, (index for _, index in gone))
        affected = [held for held in self.leases.values() if held.bundle in gone]
        for held in affected:
            held.bundle = None
        return affected

    def refuse(self, group: bytes) -> list[Demand]:
        """The group is no more: the demands on it, which will never be served, once each."""
        refused = [demand for demand in self.demands.values() if demand.group == group and not demand.refused]
        for demand in refused:
            demand.refused = True
        return refused

    def _free(self, place: BundleKey | None) -> ResourceSet:
        return self.available if place is None else self.bundles[place].free

    def _give(self, place: BundleKey | None, amount: ResourceSet) -> None:
        if place is None:
            self.available += amount
        else:
            self.bundles[place].free += amount

    def _take(self, place: BundleKey | None, amount: ResourceSet) -> None:
        if place is None:
            self.available -= amount
        else:
            self.bundles[place].free -= amount

    # --- decisions ---

    def schedule(self) -> list[Action]:
        """Serve whatever can be served now, in order."""
        actions: list[Action] = []
        for held in self.leases.values():
            if held.resuming or held.on_credit:
                self._take_back(held, actions)
        self._grant(actions)
        self._tell_contention(actions)
        return actions

    def _take_back(self, held: HeldLease, actions: list[Action]) -> None:
        if self._free(held.bundle).covers(held.lent):
            self._take(held.bundle, held.lent)
            held.held += held.lent
            held.lent = ResourceSet()
            held.on_credit = False
        elif held.resuming and not self._may_come_back(held):
            held.on_credit = True
        else:
            return
        if held.resuming:
            held.resuming = False
            actions.append(Resumed(held.worker))

    def _may_come_back(self, held: HeldLease) -> bool:
        """Whether tasks hold what ``held`` has lent: they end, or lend in their turn; actors need not ever."""
        coming = self._free(held.bundle)
        for other in self.leases.values():
            if other is not held and other.bundle == held.bundle and not other.demand.lasting:
                coming += other.held
        return coming.covers(held.lent)

    def _grant(self, actions: list[Action]) -> None:
        missing: dict[bytes, int] = {}
        #: What is left in this round: it is reserved for whoever waits, also while the worker is still starting.
        left: dict[BundleKey | None, ResourceSet] = {None: self.available}
        awaited = {held.bundle for held in self.leases.values() if held.resuming}  # its CPUs go to nobody new
        for demand in self.demands.values():
            if not demand.outstanding or not self._can_ever_serve(demand):
                continue
            for _ in range(demand.outstanding):
                places = self._places(demand)
                for place in places:
                    if place not in left:
                        left[place] = self._free(place)
                    if left[place].covers(demand.resources) and not ("CPU" in demand.resources and place in awaited):
                        break
                else:
                    break
                left[place] -= demand.resources
                worker = self._idle_worker(demand.job)
                if worker is None:
                    missing[demand.job] = missing.get(demand.job, 0) + 1
                    continue
                actions.append(self._grant_one(demand, worker, place))
        coming = self.starting  # they have no job yet: whoever waits first gets them
        for job, count in missing.items():
            served = min(coming, count)
            coming -= served
            if count > served:
                self.starting += count - served
                actions.append(NeedWorkers(job, count - served))

    def _places(self, demand: Demand) -> Sequence[BundleKey | None]:
        """Where the demand may take its resources from: the node at large, or bundles that are large enough."""
        if not demand.group:
            return _AT_LARGE
        return [
            key
            for key, reservation in self.bundles.of(demand.group, demand.bundle).items()
            if reservation.reserved.covers(demand.resources) and reservation.reserved.covers(demand.placement)
        ]

    def _grant_one(self, demand: Demand, worker: bytes, place: BundleKey | None) -> Granted:
        lease = self._next_lease
        self._next_lease += 1
        self._take(place, demand.resources)
        if place is not None:
            self.bundles[place].leases += 1
        demand.granted += 1
        self.leases[lease] = HeldLease(lease, demand, worker, demand.resources, ResourceSet(), bundle=place)
        self.lease_of_worker[worker] = lease
        return Granted(demand.client, demand.key, lease, worker)

    def _idle_worker(self, job: bytes) -> bytes | None:
        for pool in (job, b""):
            workers = self.idle.get(pool)
            if workers:
                return workers.pop()
        return None

    def _tell_contention(self, actions: list[Action]) -> None:
        waiting = {
            demand.client for demand in self.demands.values() if demand.outstanding and self._can_ever_serve(demand)
        }
        resuming = self.group_waits or any(held.resuming for held in self.leases.values())
        holders = [held.demand.client for held in self.leases.values() if held.demand.client]
        for client in dict.fromkeys([*holders, *(c for c, on in self._contended.items() if on)]):
            contended = resuming or bool(waiting - {client})
            if self._contended.get(client, False) != contended:
                self._contended[client] = contended
                actions.append(Contention(client, contended))

    def feasible(self, resources: ResourceSet) -> bool:
        """Whether the node could ever hold this."""
        return self.total.covers(resources)

    def _can_ever_serve(self, demand: Demand) -> bool:
        if demand.group:
            return bool(self._places(demand))
        return demand.eligible and self.total.covers(demand.resources) and self.total.covers(demand.placement)

    def _held_by(self, worker: bytes) -> HeldLease | None:
        lease = self.lease_of_worker.get(worker)
        return None if lease is None else self.leases[lease]

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        held = self.bundles.total()
        inside: dict[BundleKey, ResourceSet] = {}
        for lease in self.leases.values():
            if lease.bundle is None:
                held += lease.held
            else:
                inside[lease.bundle] = inside.get(lease.bundle, ResourceSet()) + lease.held
            assert lease.held.covers(ResourceSet())
            assert self.lease_of_worker[lease.worker] == lease.lease
        assert held + self.available == self.total, "resources appeared or vanished"
        for group in {demand.group for demand in self.demands.values()} | {key[0] for key in inside}:
            for key, reservation in self.bundles.of(group).items():
                assert inside.get(key, ResourceSet()) + reservation.free == reservation.reserved, "a bundle leaks"
        idle = [worker for workers in self.idle.values() for worker in workers]
        assert len(idle) == len(set(idle)), "a worker is idle twice"
        assert not set(idle) & set(self.lease_of_worker), "a leased worker is idle"
