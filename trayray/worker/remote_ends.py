"""Waiting until something of other processes is gone: an actor that is ended for good, what a dead process has left.

Runs in the loop's thread, but for what says otherwise. Not here: the node's side (``node.remains``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trayray.wire.messages import ActorEnded, AwaitRemains, EndActor, RemainsEnded

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.pending_task import PendingTask


class RemoteEnds:
    """What this process waits for to be gone. Where the node itself is gone, so is everything."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._numbers = itertools.count(1)
        self._open: dict[int, Callable[[], object]] = {}

    def end_actor(
        self, actor: bytes, seconds: float, reason: str, done: Callable[[], object], *, keep: bool = False
    ) -> None:
        """End an actor for good, and call ``done`` when its process is gone with all that it had running.

        Args:
            seconds: what it may take to clean up; 0 kills it at once.
            reason: a sentence for the user, without a stop: why the actor is dead.
            keep: only its process ends; for a supervised actor, which may be started again.
        """
        self._core.nursery.start_soon(self._end_actor, actor, seconds, reason, keep, done)

    async def _end_actor(
        self, actor: bytes, seconds: float, reason: str, keep: bool, done: Callable[[], object]
    ) -> None:
        await self._core.creations.settled(actor)
        self._ask(lambda request: EndActor(request, actor, seconds, reason, keep), done)

    def when_gone(self, address: str, done: Callable[[], object]) -> None:
        """Call ``done`` when the process at ``address``, which has died, is gone with all that it had running."""
        self._ask(lambda request: AwaitRemains(request, address), done)

    def after(self, call: PendingTask, done: Callable[[], object]) -> None:
        """Call ``done`` when nothing of a call that has its result is left; at once, mostly. From any thread."""
        if call.lost_at:
            self._core.call_soon(self.when_gone, call.lost_at, done)
        else:
            done()

    def _ask(self, question: Callable[[int], Any], done: Callable[[], object]) -> None:
        if self._core.closed is not None:
            done()
            return
        request = next(self._numbers)
        self._open[request] = done
        self._core.to_node_if_there([question(request)])

    def answered(self, message: ActorEnded | RemainsEnded) -> None:
        """The node says that it is gone."""
        done = self._open.pop(message.request, None)
        if done is not None:
            done()

    def all_gone(self) -> None:
        """Nobody will answer any more, because the node is gone or this process has left it."""
        waiting, self._open = list(self._open.values()), {}
        for done in waiting:
            done()
