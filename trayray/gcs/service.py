"""The GCS's gRPC service: requests translated to ``gcs.control`` and back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from trayray.core.actor_life import Actor, NameTaken
from trayray.core.placement_groups import Group
from trayray.gcs.control import Gcs
from trayray.model.scheduling import ANYWHERE, Scheduling
from trayray.wire.proto.trayray import v1

_decode_scheduling = msgspec.msgpack.Decoder(Scheduling)


class GcsService(v1.GcsBase):
    """What drivers, workers and the command line ask of the control plane."""

    def __init__(
        self,
        gcs: Gcs,
        info: v1.ClusterInfo,
        available: Callable[[], dict[str, float]],
        describe_tree: Callable[[], v1.Tree],
    ) -> None:
        super().__init__()
        self._describe_tree = describe_tree
        self._gcs = gcs
        self._info = info
        self._available = available

    async def get_cluster_info(self, message: v1.GetClusterInfoRequest) -> v1.ClusterInfo:
        return self._info

    async def list_nodes(self, message: v1.ListNodesRequest) -> v1.ListNodesReply:
        return v1.ListNodesReply(nodes=self._gcs.describe_nodes())

    async def get_available_resources(self, message: v1.GetAvailableResourcesRequest) -> v1.Resources:
        return v1.Resources(amounts=self._available())

    async def register_actors(self, message: v1.RegisterActorsRequest) -> v1.RegisterActorsReply:
        return v1.RegisterActorsReply(replies=[self._register(actor) for actor in message.actors])

    def _register(self, message: v1.RegisterActorRequest) -> v1.RegisterActorReply:
        actor = Actor(
            message.actor_id,
            message.name,
            message.namespace,
            message.class_name,
            message.job_id,
            message.owner,
            message.detached,
            message.max_restarts,
            message.handle,
            supervised=message.supervised,
        )
        try:
            found = self._gcs.register(actor, get_if_exists=message.get_if_exists)
        except NameTaken as error:
            return v1.RegisterActorReply(error=str(error))
        if found.actor_id != message.actor_id:
            return v1.RegisterActorReply(existing_handle=found.handle)
        if message.creation is not None:
            self._create(message.creation)
        return v1.RegisterActorReply()

    async def create_actor(self, message: v1.CreateActorRequest) -> v1.CreateActorReply:
        if message.actor_id not in self._gcs.actors.actors:
            return v1.CreateActorReply(error=f"actor {message.actor_id.hex()} was never registered")
        self._create(message)
        return v1.CreateActorReply()

    def _create(self, message: v1.CreateActorRequest) -> None:
        scheduling = _decode_scheduling.decode(message.scheduling) if message.scheduling else ANYWHERE
        self._gcs.create(message.actor_id, message.spec, message.resources, message.placement, scheduling)

    async def fail_actor(self, message: v1.FailActorRequest) -> v1.FailActorReply:
        self._gcs.actor_failed(message.actor_id, message.error)
        return v1.FailActorReply()

    async def get_named_actor(self, message: v1.GetNamedActorRequest) -> v1.GetNamedActorReply:
        actor = self._gcs.actors.find(message.namespace, message.name)
        return v1.GetNamedActorReply(handle=b"" if actor is None else actor.handle)

    async def list_named_actors(self, message: v1.ListNamedActorsRequest) -> v1.ListNamedActorsReply:
        names = [
            v1.NamedActor(name=name, namespace=namespace)
            for namespace, name in self._gcs.actors.names
            if message.namespace in ("", namespace)
        ]
        return v1.ListNamedActorsReply(actors=names)

    async def kill_actor(self, message: v1.KillActorRequest) -> v1.KillActorReply:
        known = message.actor_id in self._gcs.actors.actors
        self._gcs.kill_actor(message.actor_id, no_restart=message.no_restart)
        return v1.KillActorReply(killed=known)

    async def list_task_events(self, message: v1.ListTaskEventsRequest) -> v1.ListTaskEventsReply:
        return v1.ListTaskEventsReply(events=self._gcs.events())

    async def get_tree(self, message: v1.GetTreeRequest) -> v1.Tree:
        return self._describe_tree()

    # --- placement groups ---

    async def list_placement_groups(self, message: v1.ListPlacementGroupsRequest) -> v1.ListPlacementGroupsReply:
        table = self._gcs.groups.table
        if message.placement_group_id:
            found = [table.groups.get(message.placement_group_id)]
        elif message.name:
            found = [table.find(message.namespace, message.name)]
        else:
            found = list(table.groups.values())
        return v1.ListPlacementGroupsReply(groups=[_described(group) for group in found if group is not None])


def _described(group: Group) -> v1.PlacementGroup:
    created = group.created_at
    return v1.PlacementGroup(
        placement_group_id=group.group_id,
        name=group.name,
        namespace=group.namespace,
        strategy=group.strategy,
        bundles=[
            v1.Bundle(
                resources=bundle.wanted.resources.to_dict(),
                rules=[
                    v1.LabelRule(key=rule.key, operator=rule.operator, values=list(rule.values))
                    for rule in bundle.wanted.rules
                ],
                node_id=bundle.node,
            )
            for bundle in group.bundles
        ],
        job_id=group.job,
        detached=group.detached,
        actor_id=group.actor,
        state=group.state.value,
        progress=group.progress,
        attempts=group.attempts,
        creation_seconds=created - group.requested_at if created else 0.0,
        scheduling_seconds=created - group.tried_at if created else 0.0,
    )
