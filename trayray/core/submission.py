"""What the owner of tasks of one scheduling class decides: which leases to want, which task goes to which worker.

A lease is a worker that serves this owner alone until it is returned. Short tasks are pipelined: a worker gets several
at once, as many as it is expected to finish within `PIPELINE_SECONDS`. Because a task may turn out long, or wait for
one that queues behind it, everything that has not started can be reclaimed (`Plan.reclaims`).
Not here: sending, retrying, arguments (``worker.tasks``), and how a raylet grants leases (``core.leases``).
"""

from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

#: A worker is not given more work ahead than it should finish within this time.
PIPELINE_SECONDS = 0.01
#: Tasks that take longer than this are handed out one at a time.
SHORT_SECONDS = 0.002
#: Hard limit on tasks in flight to one worker.
MAX_DEPTH = 128
#: In-flight work that makes no progress for so long is taken back, but for the task that runs.
STALL_SECONDS = 0.005
#: An unused lease is kept so long in the hope of more work, unless somebody else waits for resources.
LINGER_SECONDS = 0.1
#: A lease is given back after so long, though there is more work, when somebody else waits for resources.
LEASE_SECONDS = 0.5
#: At most so many leases are wanted ahead of the queue.
MAX_WANTED = 64


class Task(Protocol):
    """What this module needs to know of a task."""

    @property
    def task_id(self) -> bytes: ...


T = TypeVar("T", bound=Task)


class Lease(Generic[T]):
    """One leased worker as its owner sees it."""

    __slots__ = (
        "blocked",
        "cancelling",
        "idle_since",
        "in_flight",
        "lease_id",
        "progress",
        "reclaiming",
        "since",
        "spent",
    )

    def __init__(self, lease_id: int, now: float) -> None:
        self.lease_id = lease_id
        #: Tasks pushed and neither finished nor returned, in push order.
        self.in_flight: dict[bytes, T] = {}
        #: The running task waits in get/wait: nothing more is pushed.
        self.blocked = False
        #: What has not started was asked back and the worker has not answered.
        self.reclaiming = False
        #: The worker takes no more calls: what it has in flight comes back, then the lease goes.
        self.spent = False
        #: Tasks that are being cancelled: nothing is pushed behind one of them, because the worker may be killed.
        self.cancelling: set[bytes] = set()
        self.since = now
        #: Time of the last push to an idle worker or the last result.
        self.progress = now
        #: Since when nothing is in flight.
        self.idle_since = now

    def stalled(self, now: float) -> bool:
        """Whether what it has in flight makes no progress."""
        return self.blocked or now - self.progress >= STALL_SECONDS

    def may_be_killed(self) -> bool:
        """Whether a task is in flight that is being cancelled."""
        return not self.cancelling.isdisjoint(self.in_flight)

    def emptied(self, now: float) -> None:
        """Nothing is in flight any more; so nothing is left that it could be waited for to give back."""
        self.idle_since = now
        self.reclaiming = False


class Plan(Generic[T]):
    """What the owner has to do now."""

    __slots__ = ("demand", "pushes", "reclaims", "returns", "spent")

    def __init__(self) -> None:
        self.pushes: list[tuple[int, list[T]]] = []
        self.reclaims: list[int] = []
        self.returns: list[int] = []
        #: Leases to give back whose workers must not serve again.
        self.spent: list[int] = []
        #: New total of leases wanted since the beginning, None when it has not changed.
        self.demand: int | None = None


class ClassQueue(Generic[T]):
    """The state of one scheduling class at one owner."""

    def __init__(self) -> None:
        #: Tasks ready to run that no worker has.
        self.queue: deque[T] = deque()
        self.leases: dict[int, Lease[T]] = {}
        #: Leases granted since the beginning, and the total last wanted.
        self.granted_total = 0
        self.wanted_total = 0
        #: How many tasks a worker of this class may have in flight, adapted to how long they take.
        self.depth = 1
        #: Somebody else waits for resources: idle leases go back at once, others after a while.
        self.contended = False

    def submit(self, task: T) -> None:
        self.queue.append(task)

    def take_idle(self, task: T, now: float) -> int | None:
        """Hand ``task`` to a lease with nothing in flight, past an empty queue; None when there is none."""
        if self.queue:
            return None
        for lease in self.leases.values():
            if not lease.in_flight and not lease.blocked and not lease.reclaiming and not lease.spent:
                lease.progress = now
                lease.in_flight[task.task_id] = task
                return lease.lease_id
        return None

    def granted(self, lease_id: int, now: float) -> None:
        self.granted_total += 1
        self.leases[lease_id] = Lease(lease_id, now)

    def finished(self, lease_id: int, task_ids: Iterable[bytes], now: float) -> list[T]:
        """The tasks that these results belong to; unknown ids (cancelled meanwhile, duplicates) are skipped."""
        lease = self.leases.get(lease_id)
        if lease is None:
            return []
        done = [task for task in (lease.in_flight.pop(task_id, None) for task_id in task_ids) if task is not None]
        if done:
            self._adapt((now - lease.progress) / len(done))
            lease.progress = now
            if not lease.in_flight:
                lease.emptied(now)
        return done

    def _adapt(self, seconds_a_task: float) -> None:
        if seconds_a_task > SHORT_SECONDS:
            self.depth = 1
        else:
            fitting = int(PIPELINE_SECONDS / max(seconds_a_task, 1e-6))
            self.depth = max(1, min(self.depth * 2, fitting, MAX_DEPTH))

    def returned(self, lease_id: int, task_ids: Iterable[bytes], now: float) -> None:
        """The worker gave back tasks that it never started; they run elsewhere, before everything queued since."""
        lease = self.leases.get(lease_id)
        if lease is None:
            return
        lease.reclaiming = False
        tasks = [task for task in (lease.in_flight.pop(task_id, None) for task_id in task_ids) if task is not None]
        self.queue.extendleft(reversed(tasks))
        if tasks and not lease.in_flight:
            lease.emptied(now)

    def blocked(self, lease_id: int, blocked: bool) -> None:
        lease = self.leases.get(lease_id)
        if lease is not None:
            lease.blocked = blocked

    def spent(self, lease_id: int) -> None:
        """The worker has run what it may run, and refuses the rest."""
        lease = self.leases.get(lease_id)
        if lease is not None:
            lease.spent = True

    def lost(self, lease_id: int) -> list[T]:
        """The worker is gone: the tasks it had, in push order. The first ran when it died.

        Others may have run too, unless they run at most once: their results are sent before the next one starts. Work
        is handed out one at a time again, so that a task that kills its worker takes no others with it.
        """
        lease = self.leases.pop(lease_id, None)
        self.depth = 1
        return [] if lease is None else list(lease.in_flight.values())

    def withdraw(self, task: T) -> bool:
        """Take a queued task out; False when it is not queued here."""
        try:
            self.queue.remove(task)
        except ValueError:
            return False
        return True

    def cancelling(self, task_id: bytes) -> int | None:
        """A task is being cancelled: the lease that has it in flight, which gets no more work until it is rid of it."""
        lease_id = self.holder(task_id)
        if lease_id is not None:
            lease = self.leases[lease_id]
            lease.cancelling.intersection_update(lease.in_flight)
            lease.cancelling.add(task_id)
        return lease_id

    def runs(self, task_id: bytes) -> bool:
        """Whether the task is the first in flight to its worker: it runs there, or will before any other."""
        lease_id = self.holder(task_id)
        return lease_id is not None and next(iter(self.leases[lease_id].in_flight)) == task_id

    def holder(self, task_id: bytes) -> int | None:
        """The lease that has this task in flight."""
        for lease in self.leases.values():
            if task_id in lease.in_flight:
                return lease.lease_id
        return None

    def plan(self, now: float) -> Plan[T]:
        """Hand out work, then say what to want, give back and reclaim. Pushed tasks count as in flight at once."""
        plan: Plan[T] = Plan()
        if self.queue and self.leases:
            self._hand_out(plan, now)
        wanted = self.granted_total + min(len(self.queue), MAX_WANTED)
        if wanted != self.wanted_total:
            self.wanted_total = plan.demand = wanted
        self._give_back(plan, now)
        self._reclaim(plan, now)
        return plan

    def _hand_out(self, plan: Plan[T], now: float) -> None:
        # Nothing is queued behind a task that turned out long: it would be asked back at once.
        open_leases = [
            lease
            for lease in self.leases.values()
            if not lease.blocked
            and not lease.reclaiming
            and not lease.spent
            and not (lease.cancelling and lease.may_be_killed())
            and len(lease.in_flight) < self.depth
            and not (lease.in_flight and lease.stalled(now))
            and not self._is_over(lease, now)
        ]
        # The emptiest first, and nobody more than a fair share: a short queue must not pile up on one worker.
        open_leases.sort(key=lambda lease: len(lease.in_flight))
        for position, lease in enumerate(open_leases):
            share = -(-len(self.queue) // (len(open_leases) - position))
            room = min(self.depth - len(lease.in_flight), share)
            if room <= 0:
                break
            tasks = [self.queue.popleft() for _ in range(room)]
            if not lease.in_flight:
                lease.progress = now
            for task in tasks:
                lease.in_flight[task.task_id] = task
            plan.pushes.append((lease.lease_id, tasks))

    def _is_over(self, lease: Lease[T], now: float) -> bool:
        """Whether others have waited long enough for what the lease holds."""
        return self.contended and now - lease.since >= LEASE_SECONDS

    def _give_back(self, plan: Plan[T], now: float) -> None:
        linger = 0.0 if self.contended else LINGER_SECONDS
        for lease in list(self.leases.values()):
            if lease.in_flight:
                continue
            unused = self._is_over(lease, now) if self.queue else now - lease.idle_since >= linger
            if lease.spent or unused:
                del self.leases[lease.lease_id]
                (plan.spent if lease.spent else plan.returns).append(lease.lease_id)

    def _reclaim(self, plan: Plan[T], now: float) -> None:
        for lease in self.leases.values():
            if len(lease.in_flight) > 1 and not lease.reclaiming and not lease.spent and lease.stalled(now):
                lease.reclaiming = True
                self.depth = 1
                plan.reclaims.append(lease.lease_id)

    def next_deadline(self) -> float | None:
        """When `plan` should be called again though nothing happened; None for never."""
        deadline: float | None = None
        for lease in self.leases.values():
            if not lease.in_flight:
                due = lease.idle_since + LINGER_SECONDS
            elif len(lease.in_flight) > 1 and not lease.reclaiming and not lease.spent:
                due = lease.progress + STALL_SECONDS
            else:
                continue
            deadline = due if deadline is None else min(deadline, due)
        return deadline

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        seen: set[bytes] = set()
        for task in self.queue:
            assert task.task_id not in seen, "a task is queued twice"
            seen.add(task.task_id)
        for lease in self.leases.values():
            for task_id in lease.in_flight:
                assert task_id not in seen, "a task is in two places"
                seen.add(task_id)
        assert self.wanted_total <= self.granted_total + MAX_WANTED
        assert 1 <= self.depth <= MAX_DEPTH
