"""Creating actors: registration with the GCS, arguments awaited, and what their owner holds until they run.

Runs in the loop's thread. Not here: the actor's life after that (``gcs.actors``), calls (``actor_calls``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from trayray.exceptions import RayError
from trayray.wire.messages import ERROR, ActorSpec, ActorState, ActorUnreachable
from trayray.worker.references import ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker


@attrs.define(eq=False)
class Creation:
    """An actor whose constructor has not finished; holds the constructor's arguments."""

    spec: ActorSpec
    resources: dict[str, float]
    placement: dict[str, float]
    detached: bool
    get_if_exists: bool
    args: list[ObjectRef[Any]] | None
    refs: list[ObjectRef[Any]] | None


class ActorGuard:
    """Held by the reference that stands for an owned actor; its end means that no handle is left anywhere."""

    __slots__ = ("_core", "actor_id")

    def __init__(self, core: CoreWorker, actor_id: bytes) -> None:
        self._core = core
        self.actor_id = actor_id

    def __del__(self) -> None:
        self._core.dropped.add(self._core.creations.unreachable, self.actor_id)


class Creations:
    """The actors that this process creates."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._creating: dict[bytes, Creation] = {}

    async def register(self, creation: Creation) -> bytes:
        """Make the actor known; the handle of an existing one when ``get_if_exists`` found it, else empty.

        Raises:
            ActorAlreadyExistsError: the name is taken.
        """
        existing = await self._core.gcs.register_actor(creation)
        if existing:
            return existing
        spec = creation.spec
        self._creating[spec.actor] = creation
        if not creation.args or self._core.arguments_ready(creation.args, self._ready, creation):
            self._ready(creation)
        return b""

    def start(self, creation: Creation) -> None:
        """`register` an actor without a name, for which nobody has to wait; in the loop's thread."""
        self._core.nursery.start_soon(self._register_anonymous, creation)

    async def _register_anonymous(self, creation: Creation) -> None:
        try:
            await self.register(creation)
        except (RayError, OSError, TimeoutError) as error:
            state = ActorState(creation.spec.actor, "DEAD", "", f"The actor could not be registered: {error}")
            self._core.actors.changed(state)
            self._core.actors.flush()

    def _ready(self, creation: Creation) -> None:
        self._core.nursery.start_soon(self._create, creation)

    async def _create(self, creation: Creation) -> None:
        failed = next((a._value for a in creation.args or () if a._value and a._value.kind == ERROR), None)
        spec = creation.spec
        try:
            if failed is not None:
                await self._core.gcs.actor_failed(spec.actor, failed.data)
                return
            spec.values = self._core.argument_values(creation.args) or []
            await self._core.gcs.create_actor(creation)
        except (RayError, OSError, TimeoutError) as error:
            self._core.actors.changed(ActorState(spec.actor, "DEAD", "", f"The actor could not be created: {error}"))

    def changed(self, state: ActorState) -> None:
        """The constructor has finished, or never will: its arguments are needed no longer, but for a restart."""
        creation = self._creating.get(state.actor)
        if creation is not None and (state.state == "DEAD" or creation.spec.max_restarts == 0):
            del self._creating[state.actor]

    def unreachable(self, actor_id: bytes) -> None:
        """No handle is left."""
        self._core.to_node_if_there([ActorUnreachable(actor_id)])
