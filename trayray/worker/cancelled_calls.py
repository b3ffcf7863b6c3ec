"""The calls in a worker that their callers have cancelled: those that wait are answered, those that run are stopped.

Requests come by the loop's thread, which reads them while user code keeps the others busy.
Not here: how an exception gets into user code (``cancelling``), which step is due when (``core.cancellation``, at the
caller), calls of event loops (``async_execution``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from trayray.core.cancellation import Step
from trayray.exceptions import TaskCancelledError
from trayray.wire.process_messages import KillSender
from trayray.wire.task_messages import METHOD, Done, Push
from trayray.worker.calls import Call
from trayray.worker.cancelling import CallCancelled, CallRegions, Region, is_interruption
from trayray.worker.yielding import EVERYTHING

if TYPE_CHECKING:
    from trayray.worker.connections import Connection
    from trayray.worker.execution import Executor


class LoopTask(Protocol):
    """A call in an event loop."""

    def cancel_call(self) -> None: ...


@attrs.define
class Request:
    """What the caller wants; ``step`` is the last one that it has asked for."""

    owner: str
    step: Step
    recursive: bool
    force: bool


class CancelledCalls:
    """The cancelled calls of one worker."""

    def __init__(self, executor: Executor, region: CallRegions) -> None:
        self._executor = executor
        self._core = executor.core
        #: User code in the thread that executes calls.
        self.region = region
        #: Those that have not ended. Changed under `Executor.lock`, or in the thread of an asynchronous actor.
        self.calls: dict[bytes, Request] = {}
        #: The `async def` task that the main thread runs, and its loop.
        self._loop_task: tuple[bytes, LoopTask, trio.lowlevel.TrioToken] | None = None

    @property
    def has_loop_task(self) -> bool:
        """Whether the main thread runs an ``async def`` task."""
        return self._loop_task is not None

    def cancel_loop_task(self) -> bool:
        """Cancel the ``async def`` task that the main thread runs; False if it runs none (loop thread)."""
        loop_task = self._loop_task
        return loop_task is not None and self._cancel_in_loop(loop_task[0])

    # --- requests (loop thread) ---

    def request(self, task: bytes, step: Step, *, recursive: bool, force: bool) -> None:
        """A caller cancels a call, or asks for a further step; one that is not here is not known yet, or has ended."""
        executor = self._executor
        connection: Connection | None = None
        with executor.lock:
            executor.read_all()
            if not self._withdraw(task):
                connection = self._running(task)
                if connection is not None:
                    before = self.calls.get(task)
                    self.calls[task] = Request(connection.address, step, recursive, force)
                    executor.streams.cancelled(task, step)
                    executor.wait_no_longer()
                    self._take_step(task, step, None if before is None else before.step)
        if connection is not None:
            if recursive:
                self._core.cancel_children(task, force=force)
            executor.answer_cancel(connection)
        executor._wake_main_thread()

    def _withdraw(self, task: bytes) -> bool:
        """Answer a call that has not started."""
        executor = self._executor
        for item in executor.queue:
            if item[1].task == task:
                executor.queue.remove(item)
                self._answer(*item)
                return True
        pooled = executor.pooled.get(task)
        if pooled is not None and pooled.future is not None and pooled.future.cancel():
            del executor.pooled[task]
            self._answer(pooled.connection, pooled.push)
            return True
        return False

    def _answer(self, connection: Connection, push: Push) -> None:
        call = Call(self._core, push, connection.calls[push.call], connection.address)
        connection.send([call.cancelled(Step.PENDING)])

    def _running(self, task: bytes) -> Connection | None:
        executor = self._executor
        pooled = executor.pooled.get(task)
        if pooled is not None:
            return pooled.connection
        taken = executor.taken
        return taken[0] if taken is not None and taken[1].task == task else None

    def _take_step(self, task: bytes, step: Step, before: Step | None) -> None:
        """``before``: the step that was asked for last. A caller repeats itself; a loop hears of each step once."""
        if step is not Step.INTERRUPT or (step is before and self._is_in_loop(task)):
            return
        self._executor.flows.consumed(task, EVERYTHING)
        pooled = self._executor.pooled.get(task)
        if pooled is not None:
            if pooled.region.want():
                self._core.nursery.start_soon(pooled.region.interrupt)
        elif not self._cancel_in_loop(task) and self.region.want(task):
            self._core.nursery.start_soon(self.region.interrupt, task)

    def _is_in_loop(self, task: bytes) -> bool:
        loop_task = self._loop_task
        return loop_task is not None and loop_task[0] == task

    def _cancel_in_loop(self, task: bytes) -> bool:
        loop_task = self._loop_task
        if loop_task is None or loop_task[0] != task:
            return False
        with suppress(trio.RunFinishedError):  # it has just ended
            loop_task[2].run_sync_soon(loop_task[1].cancel_call)
        return True

    def caller_gone(self, address: str) -> None:
        """A caller is dead: what it wanted to end, and will not climb the ladder for any more, ends.

        So do calls that it answered for, or that have a stream to it: they belong to a block of the caller's, which
        is no more.
        """
        executor = self._executor
        for task, request in list(self.calls.items()):
            if request.owner == address:
                self._core.nursery.start_soon(self._end, task)
        left = executor.streams.of_caller(address)
        if not executor.hand_over(lambda loop: loop.caller_gone(address)):
            with executor.lock:
                left += self._answered_by(address)
            executor._wake_main_thread()
        self.end_all(left)

    def _answered_by(self, address: str) -> list[bytes]:
        """The calls here that the process at ``address`` answers for; under `Executor.lock`."""
        executor = self._executor
        executor.read_all()
        here = [*executor.queue, *((pooled.connection, pooled.push) for pooled in executor.pooled.values())]
        if executor.taken is not None:
            here.append(executor.taken)
        return [push.task for caller, push in here if caller.address == address and push.seconds is not None]

    def end_all(self, tasks: Iterable[bytes]) -> None:
        """End these calls of a caller that is gone, which has not cancelled them."""
        for task in set(tasks):
            if task not in self.calls:
                self._core.nursery.start_soon(self._end_left, task)

    async def _end_left(self, task: bytes) -> None:
        executor = self._executor
        executor.streams.caller_gone(task)
        step = Step.ASYNC if executor.is_async else Step.CHECKPOINT
        executor.cancel(task, step, recursive=True, force=False)
        await trio.sleep(self._core.cancellations.grace)
        if task in self.calls:
            await self._end(task)

    async def _end(self, task: bytes) -> None:
        executor = self._executor
        if not executor.is_async:
            with executor.lock:
                if task in self.calls:
                    self._take_step(task, Step.INTERRUPT, self.calls[task].step)
        await trio.sleep(self._core.cancellations.grace)
        if task in self.calls:
            self._core.to_node_if_there([KillSender("it was killed because a call that it ran was cancelled")])

    # --- the thread that runs the call ---

    @contextmanager
    def in_loop(self, task: bytes) -> Generator[Callable[[LoopTask], None]]:
        """The main thread runs an event loop for an `async def` task; the function yielded says how to cancel it."""

        def enter(loop_task: LoopTask) -> None:
            self._loop_task = task, loop_task, trio.lowlevel.current_trio_token()
            if task in self.calls:  # the request came before
                loop_task.cancel_call()

        try:
            yield enter
        finally:
            self._loop_task = None

    def checkpoint(self, call: Call) -> None:
        """An actor's method has reached an end or a ``yield``: what it returns is not wanted any more.

        Raises:
            CallCancelled: it was cancelled.
        """
        request = self.calls.get(call.push.task)
        if request is not None and call.target.define.kind == METHOD:
            raise CallCancelled(request.step)

    def reply(self, call: Call, error: BaseException, region: Region) -> Done:
        """The reply of a call that ended with ``error``."""
        task = call.push.task
        if isinstance(error, CallCancelled):
            return call.cancelled(error.step)
        if region.interrupted == task and is_interruption(error):
            return call.cancelled(Step.INTERRUPT)
        request = self.calls.get(task)
        if request is not None and isinstance(error, TaskCancelledError):  # of a call that it has made
            return call.cancelled(request.step)
        return call.failed(error)

    def ended(self, task: bytes) -> None:
        """A call has ended; under `Executor.lock`. What it has called since the request ends too."""
        request = self.calls.pop(task, None)
        self.region.ended(task)
        if request is None:
            return
        if request.recursive:
            self._core.call_soon(self._children_of_ended, task, request.force)

    def _children_of_ended(self, task: bytes, force: bool) -> None:
        self._core.cancel_children(task, force=force)
