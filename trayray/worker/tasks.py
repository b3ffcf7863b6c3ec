"""The owner's side of tasks: arguments awaited, leases obtained, calls pushed, results taken.

Runs in the loop's thread. What goes to which worker is decided in ``core.submission``.
Not here: one task's record (``pending_task``), actor calls (``actor_calls``), execution (``execution``).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from trayray.core.cancellation import Step
from trayray.core.retries import FIRST_DELAY_SECONDS, after_failure, retry_delay
from trayray.core.submission import ClassQueue, Plan
from trayray.exceptions import RayError, TaskPlacementGroupRemoved, TaskUnschedulableError, WorkerCrashedError
from trayray.link.port import Link, LinkClosed
from trayray.model.scheduling import Scheduling
from trayray.model.settings import number
from trayray.wire.lease_messages import DefineClass, Demand, Grant, KillLeased, LeaseLost, Refused, ReturnLease
from trayray.wire.peer_messages import Cancel, Reclaim
from trayray.wire.task_messages import (
    LAST,
    MAY_RETRY,
    Blocked,
    Closing,
    Done,
    Push,
    Returned,
    Started,
    StreamCredit,
    StreamEof,
    StreamItem,
    TaskMessage,
    Yielded,
)
from trayray.wire.values import ERROR, Value
from trayray.worker.call_values import argument_values, arguments_ready, drop_results
from trayray.worker.cancel_ladder import cancelled_error
from trayray.worker.pending_task import PendingTask, TaskTemplate, described_site
from trayray.worker.references import error_value

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

#: Tells tasks apart that are due at the same moment.
_numbers = itertools.count(1)


@attrs.define(eq=False)
class TaskLink:
    """The link to one worker that serves, or has served, this owner."""

    worker: bytes
    address: str
    link: Link[TaskMessage]
    #: Templates that the worker knows.
    defined: set[int] = attrs.field(factory=set[int])
    #: The lease at present, and its class.
    lease: int | None = None
    key: int = 0


class TaskSubmitter:
    """All tasks that this process owns."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self.queues: dict[int, ClassQueue[PendingTask]] = {}
        #: Scheduling classes by what they hold; the key is the class's number on the node link.
        self._keys: dict[tuple[bytes, tuple[tuple[str, float], ...], str, Scheduling | None], int] = {}
        #: Classes that will never get a lease, and what their tasks fail with.
        self._refused: dict[int, RayError] = {}
        self._template_keys: dict[int, int] = {}
        self._links: dict[bytes, TaskLink] = {}
        self._leases: dict[int, TaskLink] = {}
        self._dirty: set[int] = set()
        self._contended = False
        #: Classes with tasks and without a lease.
        self._starved: set[int] = set()
        #: Every unfinished task by id, for cancellation.
        self.pending: dict[bytes, PendingTask] = {}
        #: Tasks that have failed and wait for their next attempt: when, in which order, which.
        self._delayed: list[tuple[float, int, PendingTask]] = []
        #: Seconds to wait before the second retry of a task; see ``core.retries``.
        self._first_delay = number("task_retry_delay_ms", FIRST_DELAY_SECONDS * 1000) / 1000

    # --- submission ---

    def submit(self, task: PendingTask) -> None:
        """Take a new task over from a user thread."""
        self.pending[task.task_id] = task
        if task.args and not arguments_ready(self._core, task.args, self._ready, task):
            return
        self._ready(task)

    def push_directly(self, task: PendingTask) -> bool:
        """See `PendingTask.push_directly`."""
        queue = self.queues.get(self._template_keys.get(task.template.define.call, 0))
        lease = None if queue is None else queue.take_idle(task, self._core.now())
        if lease is None:
            return False
        self.pending[task.task_id] = task
        self._push(self._leases[lease], (task,))
        return True

    def _ready(self, task: PendingTask) -> None:
        if task.cancelled:
            return
        if task.args:
            failed = next((a._value for a in task.args if a._value is not None and a._value.kind == ERROR), None)
            if failed is not None:
                self._fail_with(task, failed)
                return
        key = self._template_keys.get(task.template.define.call)
        if key is None:
            key = self._class_of(task.template)
        self.queues[key].submit(task)
        self._dirty.add(key)

    def _class_of(self, template: TaskTemplate) -> int:
        define = template.define
        name = define.name
        shape = (define.job, tuple(sorted(template.resources.items())), name, template.scheduling)
        key = self._keys.get(shape)
        if key is None:
            key = self._keys[shape] = len(self._keys) + 1
            queue = self.queues[key] = ClassQueue[PendingTask]()
            queue.contended = self._contended
            self._core.to_node([DefineClass(key, template.resources, define.job, name, template.scheduling)])
        self._template_keys[define.call] = key
        return key

    def flush(self) -> None:
        """Carry out what the queues that changed decide."""
        now = self._core.now()
        while self._dirty:
            key = self._dirty.pop()
            queue = self.queues[key]
            if self._refused and key in self._refused:
                self._fail_queue(queue, self._refused[key])
            queue.contended = self._contended or bool(self._starved - {key})
            self._carry_out(key, queue.plan(now))
            if queue.queue and not queue.leases:
                self._starved.add(key)
            else:
                self._starved.discard(key)
            if queue.queue and len(queue.leases) < len(self._leases):  # another class of ours may hold what this needs
                self._return_idle(now)

    def _return_idle(self, now: float) -> None:
        for key, queue in self.queues.items():
            if queue.leases and not queue.queue and not queue.contended:
                queue.contended = True
                self._carry_out(key, queue.plan(now))
                queue.contended = self._contended

    def tick(self) -> None:
        """Look at every queue: time has passed."""
        now = self._core.now()
        while self._delayed and self._delayed[0][0] <= now:
            _, _, task = heapq.heappop(self._delayed)
            if not task.cancelled:
                self._ready(task)
        self._dirty.update(key for key, queue in self.queues.items() if queue.leases)
        self.flush()

    def next_deadline(self) -> float | None:
        """When `tick` is due, None for never."""
        deadlines = [d for d in (queue.next_deadline() for queue in self.queues.values()) if d is not None]
        if self._delayed:
            deadlines.append(self._delayed[0][0])
        return min(deadlines, default=None)

    def _carry_out(self, key: int, plan: Plan[PendingTask]) -> None:
        to_node: list[Any] = []
        for lease, tasks in plan.pushes:
            self._push(self._leases[lease], tasks)
        if plan.demand is not None:
            to_node.append(Demand(key, plan.demand))
        for lease in plan.returns:
            self._leases.pop(lease).lease = None
            to_node.append(ReturnLease(lease))
        for lease in plan.spent:
            self._leases.pop(lease).lease = None
            to_node.append(ReturnLease(lease, reusable=False))
        for lease in plan.reclaims:
            self._core.peers.send(self._leases[lease].address, [Reclaim()])
        if to_node:
            self._core.to_node(to_node)

    def _push(self, link: TaskLink, tasks: Iterable[PendingTask]) -> None:
        messages: list[Any] = []
        for task in tasks:
            define = task.template.define
            if define.call not in link.defined:
                link.defined.add(define.call)
                messages.append(define)
            push = Push(task.task_id, define.call, task.payload, argument_values(self._core, task.args))
            if task.stream is not None:
                push.skip, push.taken = task.stream.received, task.stream.taken
            if task.deadline is not None:
                task.stamp(push, self._core.now())
                if task.conversation is not None:
                    task.conversation.begin(push, link.link, link.address)
            messages.append(push)
        self._send(link, messages)

    def _send(self, link: TaskLink, messages: list[Any]) -> None:
        # A worker that is gone may have answered calls before: the reader comes to its end, and the node tells why.
        with suppress(LinkClosed):
            link.link.send(messages)

    # --- leases ---

    def granted(self, grant: Grant) -> None:
        """The node leased a worker to this process."""
        core = self._core
        link = self._links.get(grant.worker)
        if link is None or link.link.closed:
            try:
                link = TaskLink(grant.worker, grant.address, core.network.connect(grant.address, "task", TaskMessage))
            except OSError:  # it died since; the node says so next
                link = None
            else:
                self._links[grant.worker] = link
                core.nursery.start_soon(self._serve, link)
        queue = self.queues[grant.key]
        if link is None:
            queue.granted_total += 1
            self._dirty.add(grant.key)
            return
        link.lease, link.key = grant.lease, grant.key
        self._leases[grant.lease] = link
        queue.granted(grant.lease, core.now())
        self._dirty.add(grant.key)

    def refused(self, message: Refused) -> None:
        """No lease of a class will ever be granted: what waits for one fails, now and from now on."""
        removed = message.group_removed
        self._refused[message.key] = TaskPlacementGroupRemoved() if removed else TaskUnschedulableError(message.reason)
        self._dirty.add(message.key)

    def _fail_queue(self, queue: ClassQueue[PendingTask], error: RayError) -> None:
        while queue.queue:
            self._fail(queue.queue.popleft(), error)

    def contended(self, contended: bool) -> None:
        self._contended = contended
        for key, queue in self.queues.items():
            queue.contended = contended
            self._dirty.add(key)

    def lease_lost(self, message: LeaseLost) -> None:
        """The worker behind a lease died, says the node: its tasks are retried or fail."""
        link = self._leases.pop(message.lease, None)
        if link is None:
            return
        self._take_last(link)
        link.lease = None
        link.link.close()
        self._links.pop(link.worker, None)
        queue = self.queues[link.key]
        first, *behind = queue.lost(message.lease) or (None,)
        for task in behind:
            if task.cancelled:
                self._core.cancellations.lost(task.task_id, ran=False)
        # What was queued in the worker behind the first has not been started there.
        queue.queue.extendleft(task for task in reversed(behind) if not task.cancelled)
        if first is not None:
            first.lost_at += (link.address,)
            self._crashed(queue, first, message.cause)
        self._dirty.add(link.key)

    def _take_last(self, link: TaskLink) -> None:
        while messages := link.link.receive_nowait():  # sent before it died
            self._handle(link, messages)

    def take_last_results(self, address: str) -> None:
        """Take in all that the worker at ``address``, which is gone, has sent."""
        for link in [link for link in self._links.values() if link.address == address]:
            self._take_last(link)

    def _crashed(self, queue: ClassQueue[PendingTask], task: PendingTask, cause: str) -> None:
        if task.cancelled:
            self._core.cancellations.lost(task.task_id, ran=True)
        elif (refusal := self._refused.get(self._template_keys[task.template.define.call])) is not None:
            self._fail(task, refusal)
        elif not self._again(task):
            name = task.template.define.name
            self._fail(task, WorkerCrashedError(f"The worker that ran {name}(){described_site(task)} died: {cause}"))

    def _again(self, task: PendingTask) -> bool:
        """Try a task again that has failed; False when it has used up its retries."""
        left = after_failure(task.retries)
        if left is None:
            return False
        task.retries = left
        task.failures += 1
        delay = retry_delay(task.failures, self._first_delay)
        if delay:
            heapq.heappush(self._delayed, (self._core.now() + delay, next(_numbers), task))
        else:
            self._ready(task)
        return True

    async def _serve(self, link: TaskLink) -> None:
        """The scope of one task link. Its end alone says nothing: the node tells why a worker died."""
        async with self._core.link_scope(link.link):
            while messages := await link.link.receive():
                with self._core.state_lock:
                    self._handle(link, messages)
                    self.flush()
        if link.lease is None and self._links.get(link.worker) is link:
            del self._links[link.worker]

    def _handle(self, link: TaskLink, messages: list[TaskMessage]) -> None:
        done = {message.task: message for message in messages if type(message) is Done}
        only_done = len(done) == len(messages)
        if not only_done:
            self._take_yielded(link, messages)
        if done and link.lease is not None:
            now = self._core.now()
            queue = self.queues[link.key]
            for task in queue.finished(link.lease, done, now):
                message = done.pop(task.task_id)
                if message.kept:
                    self._core.references.lend(message.kept, link.address)
                if message.flags:
                    if message.flags & LAST:
                        queue.spent(link.lease)
                    if message.flags & MAY_RETRY and not task.cancelled and self._again(task):
                        drop_results(self._core, message.results)  # what the exception refers to
                        continue
                self.pending.pop(task.task_id, None)
                task.finish(self._core, message)
            self._dirty.add(link.key)
        for message in done.values():  # of calls that have ended otherwise meanwhile
            if message.kept:
                self._core.references.lend(message.kept, link.address)
            drop_results(self._core, message.results)
        if only_done:
            return
        for message in messages:
            match message:
                case Returned(tasks) if link.lease is not None:
                    self.queues[link.key].returned(link.lease, tasks, self._core.now())
                    self._drop_cancelled(link, tasks)
                    self._dirty.add(link.key)
                case Blocked(blocked) if link.lease is not None:
                    self.queues[link.key].blocked(link.lease, blocked)
                    self._dirty.add(link.key)
                case _:
                    pass  # a result, handled above, or news of a lease that this owner has returned meanwhile

    def _take_yielded(self, link: TaskLink, messages: list[TaskMessage]) -> None:
        for message in messages:
            match message:
                case Yielded(task_id, index, value):
                    task = self.pending.get(task_id)
                    if task is not None and task.stream is not None:
                        task.stream.arrive(index, value, link.address)
                    else:
                        drop_results(self._core, [value])
                case Started(task_id, value):
                    task = self.pending.get(task_id)
                    if task is not None:
                        task.started(self._core, value)
                    else:
                        drop_results(self._core, [value])
                case Closing(task_id):
                    self._core.cancellations.closing(self.pending.get(task_id))
                case StreamItem() | StreamCredit() | StreamEof():
                    task = self.pending.get(message.task)
                    if task is not None and task.conversation is not None:
                        task.conversation.handle(message)
                    elif type(message) is StreamItem:
                        drop_results(self._core, [message.value])
                case _:
                    pass

    def _drop_cancelled(self, link: TaskLink, returned: list[bytes]) -> None:
        queue = self.queues[link.key]
        for task in [task for task_id in returned if (task := self.pending.get(task_id)) is not None]:
            if task.cancelled and queue.withdraw(task):
                self.settle(task, Step.PENDING)
        lease = None if link.lease is None else queue.leases.get(link.lease)
        if lease is not None and lease.cancelling:
            for task_id in lease.cancelling.intersection(lease.in_flight):
                self._core.cancellations.answered(task_id)

    # --- questions ---

    def executor_of(self, task: PendingTask) -> str | None:
        """The address of the worker that has been sent ``task``, None if none has."""
        key = self._template_keys.get(task.template.define.call)
        lease = None if key is None else self.queues[key].holder(task.task_id)
        return None if lease is None else self._leases[lease].address

    def waits_for_retry(self, task: PendingTask) -> bool:
        """Whether ``task`` has failed and is not tried again yet."""
        return any(delayed is task for _, _, delayed in self._delayed)

    # --- results ---

    def _fail(self, task: PendingTask, error: RayError) -> None:
        self._fail_with(task, error_value(error))

    def _fail_with(self, task: PendingTask, error: Value) -> None:
        self.pending.pop(task.task_id, None)
        task.fail(self._core, error)

    # --- cancellation ---

    def cancel(self, task: PendingTask, *, force: bool, recursive: bool) -> None:
        """Cancel a task wherever it is: waiting, queued or running."""
        if task.task_id not in self.pending:
            return
        if task.cancelled:
            if force:
                self._core.cancellations.force(task.task_id)
            return
        task.cancelled = True
        task.retries = 0
        key = self._template_keys.get(task.template.define.call)
        queue = None if key is None else self.queues[key]
        if queue is not None and queue.cancelling(task.task_id) is not None:
            self._core.cancellations.begin(task, self, force=force, recursive=recursive)
            return
        if queue is not None and queue.withdraw(task) and key is not None:
            self._dirty.add(key)
        self.settle(task, Step.PENDING)

    def settle(self, call: PendingTask, step: Step) -> None:
        """See `Carrier`."""
        self._fail(call, cancelled_error(call.task_id, step))

    def ask(self, call: PendingTask, message: Cancel) -> None:
        """See `Carrier`."""
        address = self.executor_of(call)
        if address is not None:
            self._core.peers.send(address, [message])

    def runs(self, call: PendingTask) -> bool:
        """See `Carrier`."""
        key = self._template_keys.get(call.template.define.call)
        return key is not None and self.queues[key].runs(call.task_id)

    def kill(self, call: PendingTask, reason: str) -> None:
        """See `Carrier`."""
        queue = self.queues[self._template_keys[call.template.define.call]]
        lease = queue.holder(call.task_id)
        if lease is not None:
            queue.spent(lease)
            self._core.to_node([KillLeased(lease, reason)])
