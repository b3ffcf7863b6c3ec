"""The GCS's placement groups: carries out what ``core.placement_groups`` decides.

Called by `Gcs` and by the raylet of its own node; all methods are synchronous. Not here: what a node does with a
bundle (``core.leases``, ``node.raylet``), actors that live in a group (``gcs.control``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from trayray.core.node_choice import Node
from trayray.core.placement import Wanted
from trayray.core.placement_groups import Announce, Bundle, Group, GroupAction, GroupState, GroupTable, Release, Reserve
from trayray.model.resources import ResourceSet
from trayray.wire.lease_messages import CreateGroup, GroupNews

#: States in which a group's fate is known to whoever waits for it.
_SETTLED = (GroupState.CREATED, GroupState.REMOVED)


class GroupWatcher(Protocol):
    """A connected process that waits for a group."""

    @property
    def address(self) -> str: ...
    def send(self, messages: list[Any]) -> None: ...


class BundleHost(Protocol):
    """The node on which bundles are reserved."""

    def nodes(self) -> list[Node]: ...
    def reserve_bundles(self, group: bytes, bundles: dict[int, ResourceSet]) -> bool: ...
    def release_bundles(self, group: bytes, indices: tuple[int, ...], *, ended_job: bytes) -> None: ...
    def refuse_group(self, group: bytes) -> None: ...
    def schedule(self) -> None: ...


class PlacementGroups:
    """All placement groups of the cluster."""

    def __init__(self, host: BundleHost, clock: Callable[[], float], end_actors: Callable[[bytes], None]) -> None:
        self._host = host
        self._clock = clock
        self._end_actors = end_actors
        self.table = GroupTable()
        self._watchers: dict[bytes, list[GroupWatcher]] = {}
        #: What was free when the waiting groups were last tried in vain.
        self._tried: list[ResourceSet] | None = None

    @property
    def waiting(self) -> bool:
        """Whether a group waits for resources that are taken."""
        return self.table.waiting

    def is_removed(self, group_id: bytes) -> bool:
        """Whether the group is no more, or never was."""
        group = self.table.groups.get(group_id)
        return group is None or group.state is GroupState.REMOVED

    # --- events ---

    def create(self, group: Group) -> None:
        """Register a group and place it if that is possible now.

        Raises:
            GroupNameTaken: another one has the name.
        """
        self.table.register(group, self._clock())
        self._tried = None
        self._host.schedule()

    def place(self) -> None:
        """Try the groups that wait; nothing is done while nothing was freed since they were tried in vain."""
        nodes = self._host.nodes()
        if self._tried == [node.available for node in nodes]:
            return
        self._carry_out(self.table.place(nodes, self._clock()))
        self._tried = [node.available for node in self._host.nodes()]

    def remove(self, group_id: bytes) -> None:
        """Free what a group reserves, and end what runs in it. Idempotent."""
        self._ended(self.table.remove(group_id))

    def job_ended(self, job: bytes) -> None:
        """A driver has left: its groups end, but for detached ones."""
        self._ended(self.table.job_ended(job), ended_job=job)

    def actor_gone(self, actor_id: bytes) -> None:
        """A detached actor is dead: the groups that it created end, but for detached ones."""
        self._ended(self.table.actor_gone(actor_id))

    def _ended(self, actions: list[GroupAction], ended_job: bytes = b"") -> None:
        removed = [action.group_id for action in actions if isinstance(action, Announce)]
        for group_id in removed:  # first, so that nobody restarts what is ended for good
            self._end_actors(group_id)
            self._host.refuse_group(group_id)
        self._carry_out(actions, ended_job)
        if removed:
            self._host.schedule()

    def _carry_out(self, actions: Iterable[GroupAction], ended_job: bytes = b"") -> None:
        for action in actions:
            match action:
                case Reserve(group_id, node, bundles):
                    reserved = self._host.reserve_bundles(group_id, bundles)
                    self._carry_out(self.table.answered(group_id, node, reserved, self._clock()))
                case Release(group_id, _, bundles):
                    self._host.release_bundles(group_id, bundles, ended_job=ended_job)
                case Announce(group_id):
                    self._announce(self.table.groups[group_id])

    # --- watching ---

    def watch(self, client: GroupWatcher, group_id: bytes) -> None:
        """Tell ``client`` once, as soon as the group is created or removed, or now if it is unknown."""
        group = self.table.groups.get(group_id)
        if group is None:
            client.send([GroupNews(group_id, "")])
        elif group.state in _SETTLED:
            client.send([GroupNews(group_id, group.state.value)])
        else:
            watchers = self._watchers.setdefault(group_id, [])
            if client not in watchers:
                watchers.append(client)

    def process_gone(self, address: str) -> None:
        """A process died: it waits for nothing any more."""
        for watchers in self._watchers.values():
            watchers[:] = [client for client in watchers if client.address != address]

    def _announce(self, group: Group) -> None:
        if group.state in _SETTLED:
            for client in self._watchers.pop(group.group_id, ()):
                client.send([GroupNews(group.group_id, group.state.value)])


def requested(message: CreateGroup) -> Group:
    """The group that a process asks for."""
    return Group(
        message.group,
        message.name,
        message.namespace,
        message.strategy,
        [Bundle(Wanted(ResourceSet.of(resources), rules)) for resources, rules in message.bundles],
        message.job,
        message.detached,
        message.actor,
    )
