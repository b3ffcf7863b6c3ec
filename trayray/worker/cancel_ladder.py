"""Cancelled calls of this process that a worker has: who is asked what, and when it is killed.

Runs in the loop's thread, under `CoreWorker.state_lock`. Which step is due is decided in ``core.cancellation``; tasks
and actor calls each know how to reach the worker (`Carrier`).
Not here: calls that nobody has begun (they end at once), the worker's side (``cancelling``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import attrs

from trayray.core.cancellation import Action, Ask, Cancellation, Kill, Settle, Step
from trayray.exceptions import TaskCancelledError
from trayray.model.ids import TaskID
from trayray.model.settings import number
from trayray.wire.peer_messages import Cancel
from trayray.wire.task_messages import METHOD

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.pending_task import PendingTask

#: A step may take so long (seconds), unless ``TRAYRAY_CANCEL_GRACE_SECONDS`` says otherwise.
GRACE_SECONDS: Final = 1.0


class Carrier(Protocol):
    """Whatever has sent a call to a worker."""

    def ask(self, call: PendingTask, message: Cancel) -> None:
        """Send ``message`` to the call's worker, if it has one now."""
        ...

    def runs(self, call: PendingTask) -> bool:
        """Whether, as far as this process can tell, the worker is at this call and not at one before it."""
        ...

    def kill(self, call: PendingTask, reason: str) -> None:
        """Have the node end the call's worker."""
        ...

    def settle(self, call: PendingTask, step: Step) -> None:
        """The call's result is its cancellation."""
        ...


@attrs.define
class _Cancelled:
    call: PendingTask
    ladder: Cancellation
    carrier: Carrier
    force: bool
    recursive: bool


class Cancellations:
    """Every call of this process that is being cancelled while a worker has it."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self.grace = number("CANCEL_GRACE_SECONDS", GRACE_SECONDS)
        self._cancelled: dict[bytes, _Cancelled] = {}

    def begin(self, call: PendingTask, carrier: Carrier, *, force: bool, recursive: bool) -> None:
        """``call``, which ``carrier`` has sent to a worker, is not wanted any more."""
        actor_call = call.template.define.kind == METHOD
        grace = self.grace if call.grace is None else call.grace
        ladder = Cancellation(self._core.now(), grace, actor_call=actor_call, force=force)
        cancelled = self._cancelled[call.task_id] = _Cancelled(call, ladder, carrier, force, recursive)
        self._climb(cancelled)
        if call.closing:
            ladder.closing()

    def force(self, task_id: bytes) -> None:
        """A call that is being cancelled is to be killed at once; for tasks."""
        cancelled = self._cancelled.get(task_id)
        if cancelled is not None:
            cancelled.force = True
            cancelled.ladder.force(self._core.now())
            self._climb(cancelled)

    def answered(self, task_id: bytes) -> None:
        """The worker has said what it has not started: not this."""
        cancelled = self._cancelled.get(task_id)
        if cancelled is not None:
            runs = cancelled.carrier.runs(cancelled.call)
            self._carry_out(cancelled, cancelled.ladder.answered(self._core.now(), runs=runs))

    def closing(self, call: PendingTask | None) -> None:
        """The call's code has ended, and what it has started is ending, each call by a ladder of its own."""
        if call is None:  # it has its result already
            return
        call.closing = True
        cancelled = self._cancelled.get(call.task_id)
        if cancelled is not None:
            cancelled.ladder.closing()

    def children_end(self, call: PendingTask | None, *, waits: bool) -> None:
        """A cancelled call's code waits until what it has started is gone, or goes on after that."""
        cancelled = None if call is None else self._cancelled.get(call.task_id)
        if cancelled is None:
            return
        if waits:
            cancelled.ladder.closing()
        elif not cancelled.call.closing:
            cancelled.ladder.goes_on(self._core.now())

    def ended(self, task_id: bytes) -> None:
        """The call has a result, whatever it is."""
        cancelled = self._cancelled.pop(task_id, None)
        if cancelled is not None:
            cancelled.ladder.end()

    def lost(self, task_id: bytes, *, ran: bool) -> bool:
        """The call's process is gone; True when the call was being cancelled, which is its result now."""
        cancelled = self._cancelled.get(task_id)
        if cancelled is None:
            return False
        self._carry_out(cancelled, cancelled.ladder.lost(ran=ran))
        return True

    def tick(self) -> None:
        """Time has passed."""
        for cancelled in list(self._cancelled.values()):
            self._climb(cancelled)

    def next_deadline(self) -> float | None:
        """When `tick` is due, None for never."""
        deadlines = (cancelled.ladder.next_deadline() for cancelled in self._cancelled.values())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _climb(self, cancelled: _Cancelled) -> None:
        runs = cancelled.carrier.runs(cancelled.call)
        self._carry_out(cancelled, cancelled.ladder.tick(self._core.now(), runs=runs))

    def _carry_out(self, cancelled: _Cancelled, actions: list[Action]) -> None:
        call, carrier = cancelled.call, cancelled.carrier
        for action in actions:
            match action:
                case Ask(step):
                    carrier.ask(call, Cancel(call.task_id, step, cancelled.recursive, cancelled.force))
                case Kill():
                    carrier.kill(call, self._reason(cancelled))
                case Settle(step):
                    carrier.settle(call, step)

    def _reason(self, cancelled: _Cancelled) -> str:
        name = cancelled.call.template.define.name
        grace = self.grace if cancelled.call.grace is None else cancelled.call.grace
        if cancelled.force:
            return f"it was killed because {name}(), which it ran, was cancelled with force=True"
        return f"it was killed because {name}(), which it ran, was cancelled and did not end within {grace:g} s"


def cancelled_error(task_id: bytes, step: Step) -> TaskCancelledError:
    """The result of a cancelled call."""
    return TaskCancelledError(TaskID(task_id), step=step.value)
