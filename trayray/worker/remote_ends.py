"""Waiting until something of other processes is gone: an actor that is ended for good, what a dead process has left.

Questions may come from any thread; ``done`` is called in the loop's, or at once where nobody will answer any more. Not
here: the node's side (``node.remains``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trayray.wire.actor_messages import ActorEnded, AwaitRemains, EndActor, RemainsEnded
from trayray.wire.peer_messages import ChildrenEnd
from trayray.worker.current import running

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.pending_task import PendingTask


class RemoteEnds:
    """What this process waits for to be gone. Where the node itself is gone, so is everything."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._numbers = itertools.count(1)
        self._open: dict[int, Callable[[], object]] = {}
        #: How many waits of a running call are in `awaited`, by the call.
        self._waits: dict[bytes, int] = {}

    def end_actor(
        self, actor: bytes, seconds: float, reason: str, done: Callable[[], object], *, keep: bool = False
    ) -> None:
        """End an actor for good, and call ``done`` when its process is gone with all that it had running.

        Args:
            seconds: what it may take to clean up; 0 kills it at once.
            reason: a sentence for the user, without a stop: why the actor is dead.
            keep: only its process ends; for a supervised actor, which may be started again.
        """
        request = self._register(done)
        message = EndActor(request, actor, seconds, reason, keep)
        self._core.call_soon(self._core.nursery.start_soon, self._end_actor, message)

    async def _end_actor(self, message: EndActor) -> None:
        await self._core.creations.settled(message.actor)
        self._core.to_node_if_there([message])

    def when_gone(self, address: str, done: Callable[[], object]) -> None:
        """Call ``done`` when the process at ``address``, which has died, is gone with all that it had running."""
        self._core.call_soon(self._core.to_node_if_there, [AwaitRemains(self._register(done), address)])

    @contextmanager
    def awaited(self) -> Generator[None]:
        """Within the block, the running call, which is cancelled, waits until something that it has started is gone.

        Its caller is told, so that it is not killed for that. From any thread.
        """
        task = running.get()
        if task is None or not task.owner:
            yield
            return
        self._core.call_soon(self._count_wait, task.task_id, task.owner, 1)
        try:
            yield
        finally:
            self._core.call_soon(self._count_wait, task.task_id, task.owner, -1)

    def _count_wait(self, task_id: bytes, owner: str, change: int) -> None:
        before = self._waits.pop(task_id, 0)
        if before + change:
            self._waits[task_id] = before + change
        if not before or not before + change:
            self._core.peers.send(owner, [ChildrenEnd(task_id, waits=not before)])

    def after(self, call: PendingTask, done: Callable[[], object]) -> None:
        """Call ``done`` when nothing of a call that has its result is left; at once, mostly."""
        if not call.lost_at:
            done()
            return
        open_answers = list(range(len(call.lost_at)))

        def gone() -> None:
            if open_answers.pop() == 0:  # the last one
                done()

        for address in call.lost_at:
            self.when_gone(address, gone)

    def _register(self, done: Callable[[], object]) -> int:
        """Registered first, and then whether anybody will answer is looked at: one of both sees the other."""
        request = next(self._numbers)
        self._open[request] = done
        if self._core.closed is not None:
            self._answer(request)
        return request

    def _answer(self, request: int) -> None:
        done = self._open.pop(request, None)
        if done is not None:
            done()

    @contextmanager
    def when_over(self, done: Callable[[], object]) -> Generator[None]:
        """Within the block, ``done`` is called when nobody answers any more (`all_gone`)."""
        request = self._register(done)
        try:
            yield
        finally:
            self._open.pop(request, None)

    def answered(self, message: ActorEnded | RemainsEnded) -> None:
        """The node says that it is gone; in the loop's thread."""
        self._answer(message.request)

    def all_gone(self) -> None:
        """Nobody will answer any more, because the node is gone or this process has left it."""
        for request in list(self._open):
            self._answer(request)
