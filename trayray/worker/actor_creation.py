"""Creating actors: registration with the GCS, arguments awaited, and what their owner holds until they run.

Runs in the loop's thread. Not here: the actor's life after that (``gcs.actors``), calls (``actor_calls``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trayray.exceptions import RayError
from trayray.model.scheduling import Scheduling
from trayray.wire.actor_messages import ActorState, ActorUnreachable, WatchActor
from trayray.wire.specs import ActorSpec
from trayray.wire.values import ERROR
from trayray.worker.call_values import argument_values, arguments_ready
from trayray.worker.references import ObjectRef
from trayray.worker.thread_calls import let_the_end_arrive

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker


@attrs.define(eq=False)
class Creation:
    """An actor whose constructor has not finished; holds the constructor's arguments and what the class captures."""

    spec: ActorSpec
    resources: dict[str, float]
    placement: dict[str, float]
    detached: bool
    get_if_exists: bool
    args: list[ObjectRef[Any]] | None
    refs: list[ObjectRef[Any]] | None
    #: Where it may run; None for anywhere.
    scheduling: Scheduling | None = None
    #: What becomes of it when its process has ended is decided by its supervisor, in this process.
    supervised: bool = False
    #: The arguments have values: the constructor can be run.
    ready: bool = False


class Outcome:
    """What became of a registration, for whoever waits for it."""

    def __init__(self) -> None:
        self._value: bytes | Exception = b""
        self._done = trio.Event()

    def set(self, value: bytes | Exception) -> None:
        self._value = value
        self._done.set()

    async def get(self) -> bytes:
        await self._done.wait()
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


class ActorGuard:
    """Held by the reference that stands for an owned actor; its end means that no handle is left anywhere."""

    __slots__ = ("actor_id", "core")

    def __init__(self, core: CoreWorker, actor_id: bytes) -> None:
        self.core = core
        self.actor_id = actor_id

    def __del__(self) -> None:
        self.core.dropped.add(self.core.creations.unreachable, self.actor_id)


class Creations:
    """The actors that this process creates."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._creating: dict[bytes, Creation] = {}  # also read by `explaining`
        #: Living actors that end with this process.
        self.owned: set[bytes] = set()
        #: Not registered yet, in the order of their creation, with who waits for the outcome.
        self._queue: list[tuple[Creation, Outcome | None]] = []
        self._queued = trio.Event()
        self._registering: dict[bytes, trio.Event] = {}

    async def run(self) -> None:
        """Register actors in the order of their creation, all that wait at once."""
        while True:
            await self._queued.wait()
            self._queued = trio.Event()
            await self._register_queued()

    async def _register_queued(self) -> None:
        """Apart from `run`, whose variables would hold the last constructor's arguments until there is another."""
        queue, self._queue = self._queue, []
        batch = [(creation, self._take_over(creation)) for creation, _ in queue]
        try:
            outcomes: Sequence[bytes | Exception] = await self._core.gcs.register_actors(batch)
        except (RayError, OSError, TimeoutError) as error:
            if isinstance(error, ConnectionError):
                await let_the_end_arrive()
            outcomes = [error] * len(queue)
        with self._core.state_lock:
            for (creation, waiting), outcome in zip(queue, outcomes, strict=True):
                self._registered(creation, waiting, outcome)
            self._core.flush()

    def _take_over(self, creation: Creation) -> bool:
        """Hold a new creation; whether its arguments are ready."""
        self._creating[creation.spec.actor] = creation
        if not creation.detached:
            self.owned.add(creation.spec.actor)
        values = [ref._value for ref in creation.args or ()]
        creation.ready = all(value is not None and value.kind != ERROR for value in values)
        if creation.ready:
            creation.spec.values = argument_values(self._core, creation.args) or []
        return creation.ready

    def _registered(self, creation: Creation, waiting: Outcome | None, outcome: bytes | Exception) -> None:
        actor_id = creation.spec.actor
        self._registering.pop(actor_id).set()
        if isinstance(outcome, Exception):
            self._core.actors.changed(ActorState(actor_id, "DEAD", "", f"The actor could not be registered: {outcome}"))
        elif outcome:
            del self._creating[actor_id]
            self.owned.discard(actor_id)
        else:
            self._core.to_node_if_there([WatchActor(actor_id)])
        if not outcome and not creation.ready:
            assert creation.args is not None
            if arguments_ready(self._core, creation.args, self._ready, creation):
                self._ready(creation)
        if waiting is not None:
            waiting.set(outcome)

    def start(self, creation: Creation) -> None:
        """Register an actor for which nobody has to wait; in the loop's thread."""
        self._enqueue(creation, None)

    def _enqueue(self, creation: Creation, waiting: Outcome | None) -> None:
        self._registering[creation.spec.actor] = trio.Event()
        self._queue.append((creation, waiting))
        self._queued.set()

    async def settled(self, actor_id: bytes) -> None:
        """Wait until the GCS knows an actor that this process has just created; at once for any other."""
        registering = self._registering.get(actor_id)
        if registering is not None:
            await registering.wait()

    async def register(self, creation: Creation) -> bytes:
        """Make the actor known; the handle of an existing one when ``get_if_exists`` found it, else empty.

        Raises:
            ActorAlreadyExistsError: the name is taken.
        """
        waiting = Outcome()
        self._enqueue(creation, waiting)
        return await waiting.get()

    def _ready(self, creation: Creation) -> None:
        self._core.nursery.start_soon(self._create, creation)

    async def _create(self, creation: Creation) -> None:
        failed = next((a._value for a in creation.args or () if a._value and a._value.kind == ERROR), None)
        spec = creation.spec
        try:
            if failed is not None:
                await self._core.gcs.actor_failed(spec.actor, failed.data)
                return
            spec.values = argument_values(self._core, creation.args) or []
            await self._core.gcs.create_actor(creation)
        except (RayError, OSError, TimeoutError) as error:
            if isinstance(error, ConnectionError):
                await let_the_end_arrive()
            with self._core.state_lock:
                cause = f"The actor could not be created: {error}"
                self._core.actors.changed(ActorState(spec.actor, "DEAD", "", cause))

    def changed(self, state: ActorState) -> None:
        """Once the constructor has finished, or never will, its arguments are needed no longer, but for a restart."""
        if state.state == "DEAD":
            self.owned.discard(state.actor)
        creation = self._creating.get(state.actor)
        has_run = state.state == "ALIVE" and creation is not None and creation.spec.max_restarts == 0
        if has_run or state.state == "DEAD":
            self._creating.pop(state.actor, None)

    def unreachable(self, actor_id: bytes) -> None:
        """No handle is left."""
        self._core.to_node_if_there([ActorUnreachable(actor_id)])
