"""Any history of a node's leases agrees with a model that knows who waits, who holds what, and which workers there are.

The model does not decide. It applies what the table says to its own books, which must stay sound, and judges after each
round whether somebody was overlooked, overtaken or served twice.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.leases import Contention, Granted, LeaseTable, NeedWorkers, Resumed
from trayray.model.resources import ResourceSet


def amounts(**values: float) -> ResourceSet:
    return ResourceSet.of(values)


#: What a class holds and what its node must have, by the class's key.
CLASSES = [
    (amounts(CPU=1), amounts(CPU=1)),
    (amounts(CPU=2), amounts(CPU=2)),
    (amounts(CPU=0.5, GPU=1), amounts(CPU=0.5, GPU=1)),
    (amounts(GPU=0.5), amounts(GPU=0.5)),
    (amounts(), amounts(CPU=1)),
    (amounts(), amounts(CPU=99)),  # no node has that
    (amounts(CPU=99), amounts(CPU=99)),
]
JOBS = {b"c0": b"A", b"c1": b"A", b"c2": b"B"}

clients = st.sampled_from(sorted(JOBS))
keys = st.integers(0, len(CLASSES) - 1)


@dataclass(eq=False)
class Waiting:
    """A class of a client, in the order in which they began to wait."""

    client: bytes
    key: int
    wanted: int = 0
    granted: int = 0

    @property
    def outstanding(self) -> int:
        return max(0, self.wanted - self.granted)

    @property
    def resources(self) -> ResourceSet:
        return CLASSES[self.key][0]


@dataclass(eq=False)
class Held:
    """A lease."""

    client: bytes
    key: int
    worker: bytes
    lent: bool = False
    resuming: bool = False

    @property
    def cpus(self) -> ResourceSet:
        return ResourceSet.from_units({"CPU": CLASSES[self.key][0].units("CPU")})

    @property
    def holds(self) -> ResourceSet:
        whole = CLASSES[self.key][0]
        return whole - self.cpus if self.lent else whole


class LeasesAgainstBooks(RuleBasedStateMachine):
    """The model: the waiting in order, the leases, the idle workers with their jobs, and how many are on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count()
        self.start(2, 1, 0)

    @initialize(cpus=st.integers(0, 4), gpus=st.integers(0, 1), prestarted=st.integers(0, 5))
    def start(self, cpus: int, gpus: int, prestarted: int) -> None:
        self.total = amounts(CPU=cpus, GPU=gpus)
        self.table = LeaseTable(self.total)
        self.table.starting = self.starting = prestarted
        self.waiting: list[Waiting] = []
        self.leases: dict[int, Held] = {}
        self.idle: dict[bytes, bytes] = {}  # the job that each has served, b"" for none
        self.jobs: dict[bytes, bytes] = {}  # of all workers that ever served one
        self.told: dict[bytes, bool] = {}
        self.taken: dict[bytes, bytes] = {}  # as idle, with the job that they may serve again
        for _ in range(prestarted // 2):
            self.a_worker_starts()

    # --- clients ---

    def find(self, client: bytes, key: int) -> Waiting | None:
        return next((entry for entry in self.waiting if (entry.client, entry.key) == (client, key)), None)

    @rule(client=clients, key=keys, change=st.sampled_from([1, 1, 2, 3, -1, -3]), then=st.booleans())
    def want(self, client: bytes, key: int, change: int, then: bool) -> None:
        entry = self.find(client, key)
        if entry is None:
            resources, placement = CLASSES[key]
            self.table.define(client, key, resources, JOBS[client], "f", placement)
            self.waiting.append(entry := Waiting(client, key))
        waited = entry.outstanding > 0
        entry.wanted = max(0, entry.granted + entry.outstanding + change)
        self.table.want(client, key, entry.wanted)
        if entry.outstanding and not waited:
            self.waiting.remove(entry)
            self.waiting.append(entry)
        if then:
            self.schedule()

    @precondition(lambda self: self.leases)
    @rule(client=clients)
    def a_client_goes(self, client: bytes) -> None:
        mine = {lease for lease, held in self.leases.items() if held.client == client}
        left = self.table.client_gone(client)
        assert {held.lease for held in left} == mine
        assert self.table.client_gone(client) == []
        for held in left:
            assert self.table.worker_gone(held.worker) is held
        for lease in mine:
            del self.leases[lease]  # its worker is not used again
        self.waiting = [entry for entry in self.waiting if entry.client != client]
        self.told.pop(client, None)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), reusable=st.booleans(), then=st.booleans())
    def a_lease_comes_back(self, data: st.DataObject, reusable: bool, then: bool) -> None:
        self.give_back(data.draw(st.sampled_from(sorted(self.leases))), reusable)
        if then:
            self.schedule()

    def give_back(self, lease: int, reusable: bool) -> None:
        held = self.leases.pop(lease)
        returned = self.table.returned(lease, reusable)
        assert returned is not None
        assert (returned.worker, returned.held) == (held.worker, held.holds)
        if reusable:
            self.idle[held.worker] = JOBS[held.client]
            entry = self.find(held.client, held.key)
            if entry is not None and entry.outstanding:
                self.waiting.remove(entry)
                self.waiting.append(entry)

    @precondition(lambda self: self.leases)
    @rule(number=st.integers(0, 5))
    def a_lease_comes_back_that_is_gone(self, number: int) -> None:
        if number not in self.leases:
            assert self.table.returned(number) is None

    # --- workers ---

    @precondition(lambda self: self.starting)
    @rule()
    def a_worker_starts(self) -> None:
        self.starting -= 1
        worker = b"w%d" % next(self.numbers)
        self.table.worker_started(worker)
        self.idle[worker] = b""

    @precondition(lambda self: self.starting)
    @rule()
    def a_worker_fails_to_start(self) -> None:
        self.starting -= 1
        self.table.worker_failed_to_start()

    @precondition(lambda self: self.taken or self.idle)
    @rule(data=st.data())
    def a_worker_is_needed_for_what_it_owns(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted({*self.taken, *self.idle})))
        self.table.stays_idle(worker, self.taken.get(worker, b"A"))
        if worker in self.taken:
            self.idle[worker] = self.taken.pop(worker)

    @precondition(lambda self: self.idle or self.leases)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        serving = {held.worker: lease for lease, held in self.leases.items()}
        worker = data.draw(st.sampled_from(sorted({*serving, *self.idle, *self.taken})))
        ended = self.table.worker_gone(worker)
        assert (None if ended is None else ended.lease) == serving.get(worker)
        self.leases.pop(serving.get(worker, -1), None)
        self.idle.pop(worker, None)
        self.taken.pop(worker, None)
        assert self.table.worker_gone(worker) is None
        self.table.stays_idle(worker, b"A")

    @precondition(lambda self: self.idle)
    @rule(limit=st.integers(0, 3))
    def too_many_are_idle(self, limit: int) -> None:
        taken = self.table.take_idle(limit)
        assert len(taken) == len(set(taken)) == max(0, len(self.idle) - limit)
        without_job = {worker for worker in taken if self.idle[worker] == b""}
        for worker in taken:
            self.taken[worker] = self.idle.pop(worker)
        assert not without_job or set(self.idle.values()) <= {b""}, "workers of no job stay longest"

    @precondition(lambda self: self.idle)
    @rule(job=st.sampled_from([b"A", b"B"]))
    def a_job_ends(self, job: bytes) -> None:
        taken = self.table.take_idle_of(job)
        assert sorted(taken) == sorted(worker for worker, mine in self.idle.items() if mine == job)
        for worker in taken:
            del self.idle[worker]

    # --- lending ---

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), then=st.booleans())
    def a_task_waits(self, data: st.DataObject, then: bool) -> None:
        held = self.leases[data.draw(st.sampled_from(sorted(self.leases)))]
        self.table.lend(held.worker)
        held.lent = held.lent or not held.cpus.is_empty()
        if then:
            self.schedule()

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), then=st.booleans())
    def a_task_goes_on(self, data: st.DataObject, then: bool) -> None:
        lent = [lease for lease, held in sorted(self.leases.items()) if held.lent]
        held = self.leases[data.draw(st.sampled_from(lent or sorted(self.leases)))]
        assert self.table.resume(held.worker) == held.lent
        held.resuming = held.lent
        if then:
            self.schedule()

    @precondition(lambda self: self.leases)
    @rule(number=st.integers(0, 5))
    def news_of_a_worker_without_lease(self, number: int) -> None:
        worker = b"w%d" % number
        if all(held.worker != worker for held in self.leases.values()):
            self.table.lend(worker)
            assert not self.table.resume(worker)

    # --- decisions ---

    @rule()
    def schedule(self) -> None:
        starting = self.starting
        granted: list[Waiting] = []
        for action in self.table.schedule():
            match action:
                case Resumed(worker):
                    (held,) = (held for held in self.leases.values() if held.worker == worker)
                    assert held.resuming
                    assert not granted, "somebody new was served first"
                    held.lent = held.resuming = False
                case Granted():
                    granted.append(self.take_grant(action))
                case NeedWorkers(_, number):
                    assert number > 0
                    self.starting += number
                case Contention(client, contended):
                    assert self.told.get(client, False) != contended, "told twice"
                    self.told[client] = contended
            assert self.total.covers(self.held()), "oversubscribed"
        self.judge_resumed(granted)
        self.judge_order(granted)
        missing = self.judge_progress()
        assert self.starting == max(starting, missing), "as many workers are on their way as are missing"
        self.judge_contention()
        assert self.table.schedule() == [], "one round was not enough"

    def take_grant(self, grant: Granted) -> Waiting:
        entry = self.find(grant.client, grant.key)
        assert entry is not None
        assert entry.outstanding, "more was granted than is wanted"
        job = JOBS[grant.client]
        assert self.idle.pop(grant.worker) in (b"", job), "a worker of another job"
        assert self.jobs.setdefault(grant.worker, job) == job
        assert self.total.covers(CLASSES[grant.key][1]), "the node does not have that"
        assert grant.lease not in self.leases
        self.leases[grant.lease] = Held(grant.client, grant.key, grant.worker)
        entry.granted += 1
        return entry

    def held(self) -> ResourceSet:
        held = ResourceSet()
        for lease in self.leases.values():
            held += lease.holds
        return held

    def judge_resumed(self, granted: list[Waiting]) -> None:
        free = self.total - self.held()
        resuming = [held for held in self.leases.values() if held.resuming]
        assert not any(free.covers(held.cpus) for held in resuming), "a task waits for CPUs that are free"
        if resuming:
            assert not any("CPU" in entry.resources for entry in granted), "CPUs for somebody new"

    def judge_order(self, granted: list[Waiting]) -> None:
        """Who was overtaken by an equal demand lacks a worker of its job, not resources.

        Those who wait for more although they have just given a lease back are behind all others.
        """
        free = self.total - self.held()
        for entry in granted:
            for earlier in self.waiting[: self.waiting.index(entry)]:
                if CLASSES[earlier.key] == CLASSES[entry.key]:
                    needed = ResourceSet()
                    for _ in range(earlier.outstanding):
                        needed += earlier.resources
                    assert free.covers(needed), "a later demand took the resources of an earlier one"

    def judge_progress(self) -> int:
        """Nobody waits for what is there; how many lack only a worker."""
        free = self.total - self.held()
        resuming = any(held.resuming for held in self.leases.values())
        missing = 0
        for entry in self.servable():
            if resuming and "CPU" in entry.resources:
                continue
            for _ in range(entry.outstanding):
                if not free.covers(entry.resources):
                    break
                free -= entry.resources
                missing += 1
                assert not {b"", JOBS[entry.client]} & set(self.idle.values()), "a demand was overlooked"
        return missing

    def servable(self) -> list[Waiting]:
        return [
            entry
            for entry in self.waiting
            if entry.outstanding and all(self.total.covers(needed) for needed in CLASSES[entry.key])
        ]

    def judge_contention(self) -> None:
        resuming = any(held.resuming for held in self.leases.values())
        told = {client for client, contended in self.told.items() if contended}
        for client in {held.client for held in self.leases.values()} | told:
            others = any(entry.client != client for entry in self.servable())
            assert self.told.get(client, False) == (resuming or others)

    # --- what always holds ---

    @invariant()
    def the_books_agree(self) -> None:
        self.table.check_invariants()
        assert self.table.available == self.total - self.held()
        assert {
            lease: (held.demand.client, held.demand.key, held.worker) for lease, held in self.table.leases.items()
        } == {lease: (held.client, held.key, held.worker) for lease, held in self.leases.items()}
        workers = Counter(held.worker for held in self.leases.values())
        assert all(number == 1 for number in workers.values()), "a worker has two leases"
        assert {worker: job for job, idle in self.table.idle.items() for worker in idle} == self.idle
        assert self.table.starting == self.starting
        assert list(self.table.demands) == [(entry.client, entry.key) for entry in self.waiting]

    def teardown(self) -> None:
        """When tasks end and workers start, everybody whom the node can serve is served."""
        for _ in range(sum(entry.outstanding for entry in self.waiting) + 2):
            for lease, held in list(self.leases.items()):
                if self.table.resume(held.worker):
                    held.resuming = True
                elif not held.lent:
                    self.give_back(lease, reusable=True)
            self.schedule()
            while self.starting:
                self.a_worker_starts()
            self.schedule()
        assert not self.servable()
        for client in JOBS:
            self.a_client_goes(client)
        self.the_books_agree()
        assert self.table.available == self.total


TestLeasesAgainstBooks = LeasesAgainstBooks.TestCase
# Lent CPUs are waited for in few histories.
TestLeasesAgainstBooks.settings = settings(max_examples=max(300, settings().max_examples))
