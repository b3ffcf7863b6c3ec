"""What a driver or worker asks of the GCS: typed callers over the control channel.

Not here: the service (``gcs.service``), the wire (``link.grpc_edge``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trayray.exceptions import ActorAlreadyExistsError, RaySystemError
from trayray.wire.proto.trayray import v1

if TYPE_CHECKING:
    from betterproto2.grpclib import ServiceStub

    from trayray.gcs.service import GcsService
    from trayray.link.grpc_edge import ControlChannel
    from trayray.worker.actor_creation import Creation

_encoder = msgspec.msgpack.Encoder()

#: Many actors may be registered at once, with large definitions (seconds).
_REGISTER_SECONDS = 60.0


class GcsClient:
    """The GCS at ``host:port`` as one process sees it.

    Most workers never ask it anything, so the channel, and the loop that it needs, is opened by the first call.
    """

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port, self._token = host, port, token
        self._wanted = trio.Event()
        self._opened = trio.Event()
        self._channel: ControlChannel

    async def run(self) -> None:
        """Own the channel until cancelled; a child task of whoever uses the client."""
        await self._wanted.wait()
        from trayray.link.grpc_edge import open_channel

        async with open_channel(self._host, self._port, self._token) as self._channel:
            self._opened.set()
            await trio.sleep_forever()

    async def _call(self, stub: type[ServiceStub], method: str, request: Any, *, timeout: float = 10.0) -> Any:
        self._wanted.set()
        await self._opened.wait()
        return await self._channel.call(stub, method, request, timeout=timeout)

    async def register_actors(self, creations: list[tuple[Creation, bool]]) -> list[bytes | ActorAlreadyExistsError]:
        """Make actors known in order, and have those created that are flagged as ready.

        Returns:
            Per actor: the existing one's handle when ``get_if_exists`` found it, an error when the name is taken,
            else empty.
        """
        requests = [_registration(creation, ready) for creation, ready in creations]
        reply = await self._call(
            v1.GcsStub, "register_actors", v1.RegisterActorsRequest(actors=requests), timeout=_REGISTER_SECONDS
        )
        return [ActorAlreadyExistsError(r.error) if r.error else r.existing_handle for r in reply.replies]

    async def create_actor(self, creation: Creation) -> None:
        """The actor's arguments are ready: have its constructor run."""
        reply = await self._call(v1.GcsStub, "create_actor", _creation_request(creation), timeout=_REGISTER_SECONDS)
        if reply.error:
            raise RaySystemError(RuntimeError(reply.error))

    async def actor_failed(self, actor_id: bytes, error: bytes) -> None:
        """The actor's arguments failed: it dies of ``error`` before it lived."""
        await self._call(v1.GcsStub, "fail_actor", v1.FailActorRequest(actor_id=actor_id, error=error))

    async def get_named_actor(self, name: str, namespace: str) -> bytes:
        """The pickled handle description of a living actor, empty when there is none."""
        request = v1.GetNamedActorRequest(name=name, namespace=namespace)
        return (await self._call(v1.GcsStub, "get_named_actor", request)).handle

    async def list_named_actors(self, namespace: str) -> list[tuple[str, str]]:
        """(name, namespace) of living actors; of all namespaces when ``namespace`` is empty."""
        request = v1.ListNamedActorsRequest(namespace=namespace)
        reply = await self._call(v1.GcsStub, "list_named_actors", request)
        return [(actor.name, actor.namespace) for actor in reply.actors]

    async def kill_actor(self, actor_id: bytes, *, no_restart: bool) -> bool:
        """Kill an actor's process, if it has one; whether the actor is known."""
        request = v1.KillActorRequest(actor_id=actor_id, no_restart=no_restart)
        return (await self._call(v1.GcsStub, "kill_actor", request)).killed

    async def nodes(self) -> list[v1.Node]:
        """All nodes of the cluster."""
        return (await self._call(v1.GcsStub, "list_nodes", v1.ListNodesRequest())).nodes

    async def available_resources(self) -> dict[str, float]:
        """What is free in the whole cluster."""
        request = v1.GetAvailableResourcesRequest()
        return (await self._call(v1.GcsStub, "get_available_resources", request)).amounts

    async def placement_groups(
        self, group_id: bytes = b"", *, name: str = "", namespace: str = ""
    ) -> list[v1.PlacementGroup]:
        """All placement groups, removed ones included; or the one of this id or name, if there is one."""
        request = v1.ListPlacementGroupsRequest(placement_group_id=group_id, name=name, namespace=namespace)
        return (await self._call(v1.GcsStub, "list_placement_groups", request)).groups

    async def task_events(self) -> list[v1.TaskEvent]:
        """Executions for the timeline, oldest first."""
        return (await self._call(v1.GcsStub, "list_task_events", v1.ListTaskEventsRequest())).events


class LocalGcsClient(GcsClient):
    """A GCS that lives in this process, in the same loop: its methods are called, without a channel between."""

    def __init__(self, service: GcsService) -> None:
        super().__init__("", 0, "")
        self._service = service

    async def run(self) -> None:
        """There is no channel to own."""

    async def _call(self, stub: type[ServiceStub], method: str, request: Any, *, timeout: float = 10.0) -> Any:
        return await getattr(self._service, method)(request)


def _registration(creation: Creation, ready: bool) -> v1.RegisterActorRequest:
    spec = creation.spec
    return v1.RegisterActorRequest(
        actor_id=spec.actor,
        name=spec.name,
        namespace=spec.namespace,
        class_name=spec.class_name,
        job_id=spec.job,
        owner=spec.owner,
        detached=creation.detached,
        get_if_exists=creation.get_if_exists,
        max_restarts=spec.max_restarts,
        handle=spec.handle,
        supervised=creation.supervised,
        creation=_creation_request(creation) if ready else None,
    )


def _creation_request(creation: Creation) -> v1.CreateActorRequest:
    return v1.CreateActorRequest(
        actor_id=creation.spec.actor,
        spec=_encoder.encode(creation.spec),
        resources=creation.resources,
        placement=creation.placement,
        scheduling=b"" if creation.scheduling is None else _encoder.encode(creation.scheduling),
    )
