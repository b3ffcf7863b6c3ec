"""Actors as children of a supervisor: the same actor over all restarts, with its id and handles.

The GCS parks the actor when its process has ended and says how; this resumes it, or ends it for good.
Not here: actors that live as long as a block (``actors``), the GCS's side (``core.actor_life``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from trayray.api.actor_class import SUPERVISED, ActorClass, ActorHandle, BoundActorClass
from trayray.core.call_ledger import Life
from trayray.core.supervised_children import Exit, ExitKind
from trayray.exceptions import ActorDiedError
from trayray.native.actors import create
from trayray.native.failures import as_raised
from trayray.native.supervision.child_runs import STOPPED, ChildRun, described
from trayray.wire.actor_messages import ActorState, ResumeActor
from trayray.wire.serialization import deserialize
from trayray.worker.wake import Wake

if TYPE_CHECKING:
    from trayray.native.supervision.child_spec import ChildSpec
    from trayray.worker.actor_calls import ActorClient
    from trayray.worker.core_worker import CoreWorker


class SupervisedActor:
    """A `Supervised` actor."""

    def __init__(self, core: CoreWorker, spec: ChildSpec) -> None:
        self._core = core
        self._spec = spec
        self.handle: ActorHandle | None = None
        self._client: ActorClient
        #: Its states that have not been looked at.
        self._states: deque[ActorState] = deque()
        self._news = Wake()
        self._dead = False

    @property
    def actor_id(self) -> bytes:
        """Empty before its first start."""
        return b"" if self.handle is None else self.handle._ray_info.actor_id

    async def live(self, run: ChildRun) -> Exit:
        await self._begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wake_when, run.stopping)
            try:
                return await self._follow(run)
            finally:
                nursery.cancel_scope.cancel()

    async def _begin(self) -> None:
        self._states.clear()
        if self.handle is not None and not self._dead:
            self._core.call_soon(self._core.to_node_if_there, [ResumeActor(self.actor_id)])
            return
        target = self._spec.target
        bound = target if isinstance(target, BoundActorClass) else _bound(target)
        supervised = BoundActorClass(bound._cls, {**bound._options, SUPERVISED: True})
        self._unwatch()
        self.handle = None  # of an actor that is dead, even if no other one can be made
        self.handle = await create(self._core, supervised, self._spec.args, dict(self._spec.kwargs))
        self._dead = False
        self._client = self._core.actors.client(self.actor_id, ordered=self.handle._ray_info.ordered)
        self._core.call_soon(self._client.watch, self._changed)

    async def _follow(self, run: ChildRun) -> Exit:
        while True:
            self._news = Wake()
            if run.stopping.is_set():
                return await self._stop(run)
            if not self._states:
                await self._news.wait()
                continue
            state = self._states.popleft()
            if state.parked or Life(state.state) is Life.DEAD:
                return self._exit(state)
            if Life(state.state) is Life.ALIVE:
                run.started()

    async def _wake_when(self, event: trio.Event) -> None:
        await event.wait()
        self._news.set()

    def _changed(self, state: ActorState) -> None:
        """In the core worker's thread."""
        self._states.append(state)
        self._news.set()

    def _exit(self, state: ActorState) -> Exit:
        """How it has ended."""
        if state.parked == "normal":
            return Exit(ExitKind.NORMAL, state.cause)
        self._dead = not state.parked
        if state.error:
            error = as_raised(deserialize(state.error))
            return Exit(ExitKind.ABNORMAL, f"its constructor raised {described(error)}", error)
        died = ActorDiedError(actor_id=self.actor_id.hex(), error_msg=state.cause)
        return Exit(ExitKind.ABNORMAL, state.cause.removesuffix("."), died)

    async def _stop(self, run: ChildRun) -> Exit:
        """See its process gone, with all that it had running."""
        gone = Wake()
        reason = f"its supervisor has stopped it: {run.reason}"
        self._end(run.seconds, reason, gone, keep=True)
        if not run.killed.is_set():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._kill_when, run.killed, reason)
                await gone.wait()
                nursery.cancel_scope.cancel()
        await gone.wait()
        return STOPPED

    async def _kill_when(self, killed: trio.Event, reason: str) -> None:
        await killed.wait()
        self._end(0.0, reason, Wake(), keep=True)

    def _end(self, seconds: float, reason: str, gone: Wake, *, keep: bool) -> None:
        self._core.ends.end_actor(self.actor_id, seconds, reason, gone.set, keep=keep)

    def _unwatch(self) -> None:
        if self.handle is not None:
            self._core.call_soon(self._client.unwatch, self._changed)

    async def close(self) -> None:
        if self.handle is None:
            return
        gone = Wake()
        self._end(0.0, "its supervisor has ended", gone, keep=False)
        await gone.wait()
        self._dead = True
        self._unwatch()


def _bound(target: Any) -> BoundActorClass:
    assert isinstance(target, ActorClass), "it was checked when it was specified"
    return BoundActorClass(target, target._default_options)
