"""Any history of a scheduling class agrees with a model that looks only at where each task is.

The model stands for the world: workers run the head of what was pushed to them, answer when asked, wait, die. Whether
the queue hands out in time is judged by rules that do not know how it decides.
"""

from dataclasses import dataclass, field
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.submission import (
    LEASE_SECONDS,
    LINGER_SECONDS,
    MAX_DEPTH,
    MAX_WANTED,
    SHORT_SECONDS,
    STALL_SECONDS,
    ClassQueue,
)


@dataclass(frozen=True)
class Job:
    """A task as the queue sees it."""

    task_id: bytes


@dataclass(eq=False)
class Worker:
    """A leased worker: what was pushed to it in order, the first is running."""

    since: float
    jobs: list[Job] = field(default_factory=list[Job])
    blocked: bool = False
    asked: bool = False  # to give back what has not started, and there still is some
    spent: bool = False  # it has run what it may run: what it still gets comes back


# Durations around those that the policy distinguishes. Results are mostly quick, or there would be no pipelines.
durations = st.sampled_from([0.0, 0.001, STALL_SECONDS, STALL_SECONDS, LINGER_SECONDS, LEASE_SECONDS])
quick = st.sampled_from([0.0, 0.0, 0.0, 0.0005, 0.001, 2 * SHORT_SECONDS])

# Most rules need tasks: a queue at rest is given some before anything else happens.
busy = precondition(lambda self: self.queued or any(worker.jobs for worker in self.workers.values()))
busy_workers = precondition(lambda self: any(worker.jobs for worker in self.workers.values()))


class QueueAgainstWorld(RuleBasedStateMachine):
    """The model: a list of queued tasks and, for each live lease, the tasks at its worker."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: ClassQueue[Job] = ClassQueue()
        self.now = 0.0
        self.numbers = count()
        self.lease_numbers = count(1)
        self.queued: list[Job] = []
        self.workers: dict[int, Worker] = {}
        self.finished: set[Job] = set()
        self.submitted: set[Job] = set()
        self.withdrawn: set[Job] = set()
        self.granted = self.returned = self.lost = 0
        self.wanted = 0

    def lease(self, data: st.DataObject, among: list[int] | None = None) -> int:
        return data.draw(st.sampled_from(sorted(self.workers) if among is None else among))

    @initialize(doublings=st.integers(0, 4), leases=st.integers(1, 3))
    def short_tasks_have_run_before(self, doublings: int, leases: int) -> None:
        for _ in range(leases):
            self.grant_one()
        for _ in range(doublings):
            self.submit(1)
            for lease in self.workers:
                self.finish_some(lease, 1, 0.0, noise=False)
        assert self.queue.depth == 2**doublings

    # --- the owner ---

    @rule(number=st.sampled_from([1, 2, 5, 10, 30]))
    def submit(self, number: int) -> None:
        for _ in range(number):
            job = Job(b"%d" % next(self.numbers))
            self.queue.submit(job)
            self.queued.append(job)
            self.submitted.add(job)
        self.plan()

    @rule()
    def submit_past_an_empty_queue(self) -> None:
        job = Job(b"%d" % next(self.numbers))
        usable = [lease for lease, worker in self.workers.items() if not worker.jobs and not worker.blocked]
        lease = self.queue.take_idle(job, self.now)
        if self.queued or not usable:
            assert lease is None
            self.queue.submit(job)
            self.queued.append(job)
        else:
            assert lease in usable
            self.workers[lease].jobs.append(job)
        self.submitted.add(job)
        self.plan()

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.queued))
        assert self.queue.withdraw(job)
        assert not self.queue.withdraw(job)
        self.queued.remove(job)
        self.withdrawn.add(job)
        self.plan()

    @busy
    @rule(contended=st.booleans())
    def others_wait(self, contended: bool) -> None:
        self.queue.contended = contended
        self.plan()

    @busy
    @rule(seconds=durations)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.plan()

    # --- the node ---

    @precondition(lambda self: self.wanted > self.granted)
    @rule(number=st.integers(1, 4))
    def grant(self, number: int) -> None:
        for _ in range(min(number, self.wanted - self.granted)):
            self.grant_one()
        self.plan()

    @busy
    @rule()
    def grant_what_was_wanted_when_the_grant_was_made(self) -> None:
        self.grant_one()
        self.plan()

    def grant_one(self) -> None:
        lease = next(self.lease_numbers)
        self.queue.granted(lease, self.now)
        self.workers[lease] = Worker(self.now)
        self.granted += 1

    @busy_workers
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        lease = self.lease(data)
        worker = self.workers.pop(lease)
        assert self.queue.lost(lease) == worker.jobs
        assert self.queue.lost(lease) == []
        self.lost += 1
        for job in worker.jobs:  # retried, under the same id
            self.queue.submit(job)
            self.queued.append(job)
        self.plan()

    # --- workers ---

    @busy_workers
    @rule(data=st.data(), seconds=quick, noise=st.booleans())
    def finish(self, data: st.DataObject, seconds: float, noise: bool) -> None:
        lease = self.lease(data)
        self.finish_some(lease, data.draw(st.integers(0, len(self.workers[lease].jobs))), seconds, noise=noise)
        self.plan()

    def finish_some(self, lease: int, number: int, seconds: float, *, noise: bool) -> None:
        worker = self.workers[lease]
        done, worker.jobs = worker.jobs[:number], worker.jobs[number:]
        self.now += seconds
        if done:
            worker.blocked = False
            self.queue.blocked(lease, False)
        worker.asked = worker.asked and bool(worker.jobs)
        ids = [job.task_id for job in done]
        assert self.queue.finished(lease, [*ids, *ids, b"unknown"] if noise else ids, self.now) == done
        assert not self.finished & set(done)
        self.finished.update(done)

    @precondition(lambda self: any(worker.jobs for worker in self.workers.values()))
    @rule(data=st.data(), blocked=st.booleans())
    def block(self, data: st.DataObject, blocked: bool) -> None:
        lease = self.lease(data, [lease for lease, worker in sorted(self.workers.items()) if worker.jobs])
        self.workers[lease].blocked = blocked
        self.queue.blocked(lease, blocked)
        self.plan()

    @precondition(lambda self: any(worker.asked for worker in self.workers.values()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        lease = self.lease(data, [lease for lease, worker in sorted(self.workers.items()) if worker.asked])
        self.give_back(lease)

    @busy_workers
    @rule(data=st.data())
    def give_back_unasked(self, data: st.DataObject) -> None:
        self.give_back(self.lease(data))

    def give_back(self, lease: int) -> None:
        worker = self.workers[lease]
        worker.asked = False
        back, worker.jobs = worker.jobs[1:], worker.jobs[:1]
        self.queue.returned(lease, [job.task_id for job in back], self.now)
        self.queued = back + self.queued
        self.plan()

    @busy_workers
    @rule(data=st.data(), before=st.booleans())
    def last_result(self, data: st.DataObject, before: bool) -> None:
        """A worker runs its last task; what is behind it comes back before that result or after it."""
        lease = self.lease(data, [lease for lease, worker in sorted(self.workers.items()) if worker.jobs])
        worker = self.workers[lease]
        worker.spent = True
        if before:
            self.give_back(lease)
        self.queue.spent(lease)
        if worker.jobs:
            self.finish_some(lease, 1, 0.0, noise=False)
        worker.asked = False
        self.queued = worker.jobs + self.queued
        self.queue.returned(lease, [job.task_id for job in worker.jobs], self.now)
        worker.jobs = []
        self.plan()
        assert lease not in self.workers, "a spent worker is kept"

    @busy
    @rule(task=st.sampled_from([b"0", b"1", b"2"]), blocked=st.booleans())
    def news_of_a_lease_that_is_gone(self, task: bytes, blocked: bool) -> None:
        assert self.queue.finished(0, [task], self.now) == []
        self.queue.returned(0, [task], self.now)
        self.queue.blocked(0, blocked)
        assert self.queue.lost(0) == []

    # --- what the owner does ---

    def plan(self) -> None:
        for _ in range(2 * MAX_DEPTH):  # a full worker's share goes to others in the next round
            if not self.carry_out_a_plan():
                return
        raise AssertionError("the plans have no end")

    def carry_out_a_plan(self) -> bool:
        """Whether there was anything to do."""
        idle = [
            lease
            for lease, worker in self.workers.items()
            if not worker.jobs and not worker.spent and not self.is_over(worker)
        ]
        busy_long = [
            lease
            for lease, worker in self.workers.items()
            if worker.jobs and self.now - self.queue.leases[lease].progress >= STALL_SECONDS
        ]
        before = len(self.queued)
        plan = self.queue.plan(self.now)
        served: set[int] = set()
        for lease, tasks in plan.pushes:
            worker = self.workers[lease]
            assert tasks, "an empty push"
            assert lease not in served, "two pushes to one worker in one plan"
            assert not self.is_over(worker), "others have waited long enough for what it holds"
            assert not worker.blocked, "a push behind a task that waits"
            assert not worker.asked, "a push to a worker that was asked for its tasks"
            assert not self.queue.leases[lease].spent, "a push to a worker that has said its last result"
            assert lease not in busy_long, "a push behind a task that turned out long"
            assert tasks == self.queued[: len(tasks)], "not in the order of submission"
            del self.queued[: len(tasks)]
            worker.jobs += tasks
            assert len(worker.jobs) <= MAX_DEPTH
            served.add(lease)
        self.check_fairness(idle, served, before)
        for lease in plan.reclaims:
            worker = self.workers[lease]
            assert lease not in served, "asked back in the moment in which it was pushed"
            assert len(worker.jobs) > 1, "the running task cannot be given back"
            worker.asked = True
        for lease in plan.returns:
            worker = self.workers.pop(lease)
            assert not worker.jobs, "a lease with work was given back"
            assert not self.queued or self.is_over(worker), "a lease was given back though there is work"
            self.returned += 1
        for lease in plan.spent:
            worker = self.workers.pop(lease)
            assert worker.spent, "a worker is given up that may serve"
            assert not worker.jobs, "a lease with work was given back"
            self.returned += 1
        self.check_demand(plan.demand)
        return bool(plan.pushes or plan.reclaims or plan.returns or plan.spent or plan.demand is not None)

    def is_over(self, worker: Worker) -> bool:
        return self.queue.contended and self.now - worker.since >= LEASE_SECONDS

    def check_fairness(self, idle: list[int], served: set[int], before: int) -> None:
        """With enough tasks every idle worker has got one, with fewer each task has got a worker of its own."""
        usable = {lease for lease in idle if not self.workers[lease].blocked}
        assert len(usable & served) == min(len(usable), before)
        # Without the second half a worker would have a backlog that an idle one could have begun.
        if usable - served:
            assert all(len(self.workers[lease].jobs) == 1 for lease in usable & served)

    def check_demand(self, demand: int | None) -> None:
        if demand is not None:
            assert demand != self.wanted, "an unchanged demand was stated"
            self.wanted = demand
        assert self.wanted == self.granted + min(len(self.queued), MAX_WANTED)

    # --- what always holds ---

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        self.queue.check_invariants()
        assert list(self.queue.queue) == self.queued
        assert {lease: list(mine.in_flight.values()) for lease, mine in self.queue.leases.items()} == {
            lease: worker.jobs for lease, worker in self.workers.items()
        }
        held = [*self.queued, *(job for worker in self.workers.values() for job in worker.jobs)]
        assert len(held) + len(self.finished) + len(self.withdrawn) == len(self.submitted)
        assert set(held) | self.finished | self.withdrawn == self.submitted

    @invariant()
    def every_lease_is_accounted_for(self) -> None:
        assert self.queue.granted_total == self.granted
        assert self.granted - self.returned - self.lost == len(self.queue.leases)

    @invariant()
    def nothing_is_stuck(self) -> None:
        if self.queued and not self.workers:
            assert self.wanted > self.granted
        for lease, mine in self.queue.leases.items():
            assert not mine.reclaiming or self.workers[lease].asked, "waits for an answer that nobody owes"
            if not self.queued and not mine.in_flight:
                assert self.queue.next_deadline() is not None, "an idle lease that nobody will look at again"

    @invariant()
    def what_waits_behind_a_long_task_comes_back_in_time(self) -> None:
        deadline = self.queue.next_deadline()
        for lease, worker in self.workers.items():
            if len(worker.jobs) > 1 and not worker.asked:
                assert deadline is not None
                assert deadline <= self.queue.leases[lease].progress + STALL_SECONDS

    def teardown(self) -> None:
        """With workers that work, everything submitted ends."""
        for _ in range(len(self.submitted) + 2):
            self.queue.contended = False
            for lease, worker in list(self.workers.items()):
                self.queue.blocked(lease, False)
                worker.blocked = worker.asked = False
                self.queue.returned(lease, [], self.now)
                done, worker.jobs = worker.jobs, []
                self.queue.finished(lease, [job.task_id for job in done], self.now)
                self.finished.update(done)
            self.plan()
            while self.wanted > self.granted:
                self.grant_one()
            self.plan()
        assert self.finished | self.withdrawn == self.submitted
        self.now += 2 * LINGER_SECONDS
        self.plan()
        assert not self.workers, "a lease was kept for ever"
        assert self.queue.next_deadline() is None


TestQueueAgainstWorld = QueueAgainstWorld.TestCase
# Full pipelines are met in few histories.
TestQueueAgainstWorld.settings = settings(max_examples=max(300, settings().max_examples))
