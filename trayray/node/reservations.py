"""Where work may run, on this node: classes of tasks and actors judged, bundles of placement groups set aside.

The ``BundleHost`` of the GCS. Not here: the decisions (``core.node_choice``, ``core.leases``), which node takes which
bundle (``core.placement``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trayray.core.node_choice import Impossible, Infeasible, Node, Request, choose_node
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import ANYWHERE, Scheduling
from trayray.wire.lease_messages import Refused

if TYPE_CHECKING:
    from trayray.node.raylet import Raylet

#: The lease client that stands for the GCS: actors' workers.
GCS_CLIENT = b"gcs"


class Reservations:
    """What one node has to do with strategies and placement groups."""

    def __init__(
        self,
        raylet: Raylet,
        labels: Mapping[str, str],
        send: Callable[[bytes, list[Any]], None],
        end: Callable[[bytes, str], None],
    ) -> None:
        self._raylet = raylet
        self._labels = labels
        self._send = send
        self._end = end

    def nodes(self) -> list[Node]:
        """What is known of the nodes: this one."""
        table = self._raylet.table
        return [Node(self._raylet.identity.node_id, table.total, table.available, self._labels)]

    def schedule(self) -> None:
        """Something has changed: see who can be served."""
        self._raylet.schedule()

    def place_groups(self) -> None:
        """Place the groups that wait, before anybody else gets what is free."""
        groups = self._raylet.gcs.groups
        if groups.waiting:
            groups.place()
        self._raylet.table.group_waits = groups.waiting

    def define(
        self,
        client: bytes,
        key: int,
        resources: ResourceSet,
        placement: ResourceSet,
        job: bytes,
        name: str,
        scheduling: Scheduling | None,
    ) -> Refused | None:
        """Enter a class of a client into the lease table; the reason why it will never be served, if there is one."""
        where = scheduling or ANYWHERE
        group, eligible, refused = where.group, True, None
        if group and self._raylet.gcs.groups.is_removed(group):
            refused = Refused(key, True, _group_gone(group))
        elif not group and where != ANYWHERE:
            choice = choose_node(Request(resources, placement, where), self.nodes())
            eligible = not isinstance(choice, Infeasible)
            if isinstance(choice, Impossible):
                refused = Refused(key, False, choice.reason)
        demand = self._raylet.table.define(
            client,
            key,
            resources,
            job,
            name,
            placement,
            lasting=client == GCS_CLIENT,
            group=group,
            bundle=where.bundle,
            eligible=eligible,
        )
        demand.refused = refused is not None
        return refused or self._raylet.waiting.declared(demand, where)

    # --- bundles ---

    def reserve_bundles(self, group: bytes, bundles: dict[int, ResourceSet]) -> bool:
        """Set resources aside for a placement group, all or (False) none."""
        return self._raylet.table.reserve(group, bundles)

    def release_bundles(self, group: bytes, indices: tuple[int, ...], *, ended_job: bytes) -> None:
        """Take bundles back and end the tasks in them; those of the job that has just ended are on their way out."""
        for lease in self._raylet.table.release(group, indices):
            if lease.demand.client not in (GCS_CLIENT, b"") and lease.demand.job != ended_job:
                self._end(lease.worker, _group_gone(group))

    def refuse_group(self, group: bytes) -> None:
        """The placement group is no more: whoever waits for it waits in vain. Its actors are the GCS's affair."""
        for demand in self._raylet.table.refuse(group):
            self._send(demand.client, [Refused(demand.key, True, _group_gone(group))])


def _group_gone(group: bytes) -> str:
    return f"its placement group {group.hex()} was removed"
