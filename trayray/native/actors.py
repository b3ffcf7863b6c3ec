"""``open_actor``: an actor that lives as long as a block.

Not here: calls (``calls``), actors that are restarted by rules (``supervisor``).
"""

# Overloads overlap on purpose: the first that fits wins.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

import trio

from trayray.api.actor_class import ActorClass, ActorHandle, BoundActorClass
from trayray.core.call_ledger import Life
from trayray.exceptions import ActorDiedError, RaySystemError
from trayray.native.calls import connected
from trayray.native.failures import as_raised
from trayray.native.serving import serving
from trayray.wire.serialization import deserialize
from trayray.worker.wake import Wake

if TYPE_CHECKING:
    from trayray.api.shapes.actors import HasFactory
    from trayray.api.shapes.calls import Callee
    from trayray.wire.actor_messages import ActorState
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.references import ObjectRef

P = ParamSpec("P")
C = TypeVar("C")

#: A process is killed when its time to clean up is over, and so is what it has running. After so long (seconds,
#: besides) something is broken.
_BROKEN_AFTER: Final = 60.0
_REASON: Final = "its open_actor() block was left"


class ActorWatch:
    """The life of one actor, for tasks of this loop."""

    def __init__(self, core: CoreWorker, handle: ActorHandle) -> None:
        self._core = core
        info = handle._ray_info
        self._client = core.actors.client(info.actor_id, ordered=info.ordered)
        self.actor_id = info.actor_id
        self.class_name = info.class_name
        #: Its constructor has returned, or it is dead; it is dead.
        self.settled, self.dead = Wake(), Wake()
        #: It is being ended by those who watch.
        self.ends = False
        self.state: ActorState | None = None
        core.call_soon(self._client.watch, self._changed)

    def _changed(self, state: ActorState) -> None:
        self.state = state
        life = Life(state.state)
        if life is Life.DEAD:
            self.dead.set()
        if life in (Life.ALIVE, Life.DEAD):  # second: whoever waits for it looks whether it is dead
            self.settled.set()

    async def until_death(self, *, task_status: trio.TaskStatus[None]) -> None:
        """A `Service` of the actor's block.

        Raises:
            Exception: the actor has died by itself: see `failure`.
        """
        task_status.started()
        await self.dead.wait()
        if not self.ends:
            raise self.failure()

    def cut_off(self) -> None:
        """Nobody will tell of its life any more."""
        self.dead.set()
        self.settled.set()

    def close(self) -> None:
        """Nobody looks any more."""
        self._core.call_soon(self._client.unwatch, self._changed)

    def failure(self) -> BaseException:
        """Why a dead actor is dead, as it is raised in a Trio program."""
        state = self.state
        if state is None or Life(state.state) is not Life.DEAD:  # its end was not told: the node has died
            return self._core.lost or RaySystemError("this process has left the cluster, and the actor ended with that")
        if state.error:
            return as_raised(deserialize(state.error))
        return ActorDiedError(actor_id=self.actor_id.hex(), error_msg=state.cause)


# A class's own constructor; the same for mypy, which leaves decorated classes as they are; references for arguments.
@overload
def open_actor(
    cls: HasFactory[Callable[P, C]], /, *args: P.args, **kwargs: P.kwargs
) -> AbstractAsyncContextManager[C]: ...
@overload
def open_actor(cls: Callee[P, C], /, *args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[C]: ...
@overload
def open_actor(cls: Callable[P, C], /, *args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[C]: ...
@overload
def open_actor(
    cls: HasFactory[Callable[..., C]], /, *args: ObjectRef[Any], **kwargs: ObjectRef[Any]
) -> AbstractAsyncContextManager[C]: ...
def open_actor(cls: Any, /, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Any]:
    """Create an actor that lives as long as the block; it begins when the constructor has returned.

    When the block is left, calls in progress are cancelled and the actor cleans up (``__trayray_shutdown__``, exit
    handlers); the block ends when its process is gone, with all that it has started. When the actor dies by itself, and
    is not restarted, the block is cancelled and raises the reason: nobody has to call it to learn that.

    Args:
        cls: an actor class, with or without ``.options``.
        args, kwargs: of its constructor.

    Returns:
        The handle. It may be passed anywhere, and is of no use when the block has been left.

    Raises:
        Exception: what the constructor raised, of its own type; the remote traceback is a note.
        ActorDiedError: the actor has died.
        ActorUnschedulableError: no node will ever be right for it.
        TypeError: not an actor class, or arguments that do not fit.
        ValueError: a detached actor, which outlives any block.
    """
    return _open_actor(connected(), cls, args, kwargs)


@asynccontextmanager
async def _open_actor(core: CoreWorker, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[Any]:
    handle = await create(core, cls, args, kwargs)
    watch = ActorWatch(core, handle)

    async def leave() -> None:
        watch.ends = True
        await end_actor(core, watch.actor_id, core.cleanup_seconds, _REASON)

    with core.ends.when_over(watch.cut_off):
        try:
            try:
                await watch.settled.wait()
                if watch.dead.is_set():
                    raise watch.failure()
            except BaseException:
                await leave()
                raise
            async with serving(watch.until_death, leave):
                yield handle
        finally:
            watch.close()


async def create(core: CoreWorker, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle:
    """Create an actor of this process's, from any loop."""
    if not isinstance(cls, ActorClass | BoundActorClass):
        raise TypeError(f"an actor class is opened here, not {cls!r}; decorate a class with @trayray.remote")
    bound = cls if isinstance(cls, BoundActorClass) else BoundActorClass(cls, cls._default_options)
    if bound._options.get("lifetime") == "detached":
        raise ValueError("a detached actor outlives the block that opens it; create it with .remote() instead")
    if bound._options.get("get_if_exists"):
        raise ValueError("get_if_exists may find an actor of somebody else's, which must not end with this block")
    bound = BoundActorClass(bound._cls, {**bound._options, "lifetime": "non_detached"})  # whatever the job's default is
    if not bound._options.get("name"):
        return bound.remote(*args, **kwargs)
    # Registering a name waits for the answer, in a thread.
    return await trio.to_thread.run_sync(lambda: bound.remote(*args, **kwargs))


async def end_actor(core: CoreWorker, actor: bytes, seconds: float, reason: str) -> None:
    """End an actor for good, and wait until its process is gone with all that it had running; also when cancelled.

    Args:
        seconds: what it may take to clean up; 0 kills it at once.
        reason: a sentence for the user, without a stop.
    """
    gone = Wake()
    core.ends.end_actor(actor, seconds, reason, gone.set)
    # Nothing of the actor may be left when this returns. Its node kills what takes too long.
    limit = 3 * max(seconds, core.cleanup_seconds) + _BROKEN_AFTER
    with trio.CancelScope(shield=True, deadline=trio.current_time() + limit) as scope, core.ends.awaited():
        await gone.wait()
    if scope.cancelled_caught:
        raise RaySystemError(f"actor {actor.hex()} was ended, and its process is not gone after {limit:g} s")
