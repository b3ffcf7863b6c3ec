"""What the GCS decides about placement groups: names, the states of their lives, when they are placed, who ends them.

    PENDING -> PREPARED -> CREATED -> REMOVED          every state may go to REMOVED
       ^           |        |   ^
       +-----------+        v   |                      a node dies, its bundles are placed again
     (a node refuses)    RESCHEDULING

A group is reserved on all its nodes or on none: each node is asked for its bundles, and when one refuses, the others
give theirs back. Events in, actions out; no I/O. Not here: which node takes which bundle (``placement``).
"""

import enum
from collections.abc import Iterable, Sequence

import attrs

from trayray.core.node_choice import Node
from trayray.core.placement import MustWait, NeverFits, Placed, Wanted, plan
from trayray.model.resources import ResourceSet


class GroupState(enum.Enum):
    """Where a placement group is in its life."""

    PENDING = "PENDING"
    PREPARED = "PREPARED"
    CREATED = "CREATED"
    RESCHEDULING = "RESCHEDULING"
    REMOVED = "REMOVED"


_GS = GroupState
#: Legal transitions; whatever is absent is a bug.
TRANSITIONS: frozenset[tuple[GroupState, GroupState]] = frozenset(
    {
        (_GS.PENDING, _GS.PREPARED),
        (_GS.PREPARED, _GS.PENDING),
        (_GS.PREPARED, _GS.CREATED),
        (_GS.CREATED, _GS.RESCHEDULING),
        (_GS.RESCHEDULING, _GS.CREATED),
        *((state, _GS.REMOVED) for state in GroupState if state is not _GS.REMOVED),
    }
)


@attrs.define
class Bundle:
    """One bundle and the node that has it, or was asked to; empty for none."""

    wanted: Wanted
    node: bytes = b""


@attrs.define
class Group:
    """One placement group, from its registration on; removed ones are kept to be looked at."""

    group_id: bytes
    name: str
    namespace: str
    strategy: str
    bundles: list[Bundle]
    job: bytes
    #: Outlives its job.
    detached: bool = False
    #: The detached actor that created it, which it ends with instead of with the job; empty for none.
    actor: bytes = b""
    state: GroupState = GroupState.PENDING
    #: No set of nodes could hold it: not tried again before there are other nodes.
    infeasible: bool = False
    #: Nodes that were asked for bundles and have not answered, and the bundles that are being placed.
    asked: set[bytes] = attrs.field(factory=set[bytes])
    placing: tuple[int, ...] = ()
    #: Times in seconds: when it was requested, first tried, and created (0: not yet); how often it was tried.
    requested_at: float = 0.0
    tried_at: float = 0.0
    created_at: float = 0.0
    attempts: int = 0

    @property
    def waits(self) -> bool:
        """Whether it has bundles without a node and nobody is asked for them."""
        return self.state in (GroupState.PENDING, GroupState.RESCHEDULING) and not self.asked

    @property
    def progress(self) -> str:
        """What its placement has come to, in Ray's words."""
        if self.state is GroupState.CREATED:
            return "FINISHED"
        if self.state is GroupState.REMOVED:
            return "REMOVED"
        if self.infeasible:
            return "INFEASIBLE"
        if self.asked:
            return "SCHEDULING_STARTED"
        return "NO_RESOURCES" if self.attempts else "QUEUED"


# --- actions ---


@attrs.frozen
class Reserve:
    """Ask the node to set these resources aside, by the bundles' indices. It answers (`GroupTable.answered`)."""

    group_id: bytes
    node: bytes
    bundles: dict[int, ResourceSet]


@attrs.frozen
class Release:
    """The node gives these bundles back, reserved or not; what runs in them ends."""

    group_id: bytes
    node: bytes
    bundles: tuple[int, ...]


@attrs.frozen
class Announce:
    """Whoever watches the group must hear of its state."""

    group_id: bytes


GroupAction = Reserve | Release | Announce


class GroupNameTaken(Exception):
    """Another group that is not removed has the name in this namespace."""


class GroupTable:
    """All placement groups of the cluster."""

    def __init__(self) -> None:
        self.groups: dict[bytes, Group] = {}
        #: Groups with names that are not removed, by (namespace, name).
        self.names: dict[tuple[str, str], bytes] = {}
        #: Groups to be placed that the nodes could hold, those first that have lost bundles.
        self._waiting: list[bytes] = []

    @property
    def waiting(self) -> bool:
        """Whether a group waits for resources that are taken."""
        return bool(self._waiting)

    # --- registration and lookup ---

    def register(self, group: Group, now: float) -> None:
        """Add a group; it is placed by the next `place`. Registering twice changes nothing.

        Raises:
            GroupNameTaken: the name belongs to another one.
        """
        if group.group_id in self.groups:
            return
        if group.name:
            if (group.namespace, group.name) in self.names:
                raise GroupNameTaken(
                    f"Failed to create placement group '{group.group_id.hex()}' because name '{group.name}' already "
                    "exists. get_placement_group() finds the group that has it; remove that one, or take another name."
                )
            self.names[group.namespace, group.name] = group.group_id
        group.requested_at = now
        self.groups[group.group_id] = group
        self._queue(group)

    def find(self, namespace: str, name: str) -> Group | None:
        """The group of that name in the namespace, or else the only one that has it in any other."""
        found = self.names.get((namespace, name))
        if found is None:
            elsewhere = [group_id for (_, other), group_id in self.names.items() if other == name]
            found = elsewhere[0] if len(elsewhere) == 1 else None
        return None if found is None else self.groups[found]

    # --- placing ---

    def place(self, nodes: Sequence[Node], now: float) -> list[GroupAction]:
        """Plan every group that waits; ask for the bundles of those that can be placed."""
        actions: list[GroupAction] = []
        #: Groups that want the same cannot all fit better than the first.
        failed: set[tuple[object, ...]] = set()
        for group_id in list(self._waiting):
            group = self.groups[group_id]
            group.attempts += 1
            group.tried_at = group.tried_at or now
            lost = [index for index, bundle in enumerate(group.bundles) if not bundle.node]
            wanted = [group.bundles[index].wanted for index in lost]
            occupied: dict[bytes, int] = {}
            for bundle in group.bundles:
                if bundle.node:
                    occupied[bundle.node] = occupied.get(bundle.node, 0) + 1
            shape = (group.strategy, tuple(wanted), frozenset(occupied.items()))
            if shape in failed:
                continue
            match plan(wanted, group.strategy, nodes, occupied):
                case Placed(places):
                    nodes = _without(nodes, dict(zip(lost, places, strict=True)), group)
                    actions += self._ask(group, dict(zip(lost, places, strict=True)))
                case MustWait():
                    failed.add(shape)
                case NeverFits():
                    group.infeasible = True
                    self._waiting.remove(group_id)
        return actions

    def _ask(self, group: Group, places: dict[int, bytes]) -> list[GroupAction]:
        group.placing = tuple(places)
        by_node: dict[bytes, dict[int, ResourceSet]] = {}
        for index, node in places.items():
            group.bundles[index].node = node
            by_node.setdefault(node, {})[index] = group.bundles[index].wanted.resources
        group.asked = set(by_node)
        self._waiting.remove(group.group_id)
        if group.state is GroupState.PENDING:
            self._move(group, GroupState.PREPARED)
        return [Reserve(group.group_id, node, bundles) for node, bundles in by_node.items()]

    def answered(self, group_id: bytes, node: bytes, reserved: bool, now: float) -> list[GroupAction]:
        """A node has set its bundles aside, or cannot; late answers are ignored."""
        group = self.groups[group_id]
        if node not in group.asked:
            return []
        if not reserved:
            return self._give_up(group, node)
        group.asked.remove(node)
        if group.asked:
            return []
        group.placing = ()
        group.created_at = group.created_at or now
        self._move(group, GroupState.CREATED)
        return [Announce(group_id)]

    def _give_up(self, group: Group, refused: bytes) -> list[GroupAction]:
        """One node has nothing for the group: the others give back what they have just reserved for it."""
        actions = self._release(group, group.placing, but=refused)
        group.asked.clear()
        group.placing = ()
        if group.state is GroupState.PREPARED:
            self._move(group, GroupState.PENDING)
        self._queue(group)
        return actions

    def _release(self, group: Group, indices: Iterable[int], but: bytes = b"") -> list[GroupAction]:
        by_node: dict[bytes, list[int]] = {}
        for index in indices:
            bundle = group.bundles[index]
            if bundle.node and bundle.node != but:
                by_node.setdefault(bundle.node, []).append(index)
            bundle.node = b""
        return [Release(group.group_id, node, tuple(mine)) for node, mine in by_node.items()]

    def _queue(self, group: Group) -> None:
        if group.group_id in self._waiting:
            return
        if group.state is GroupState.RESCHEDULING:
            earlier = sum(self.groups[other].state is GroupState.RESCHEDULING for other in self._waiting)
            self._waiting.insert(earlier, group.group_id)
        else:
            self._waiting.append(group.group_id)

    # --- nodes ---

    def node_joined(self) -> None:
        """There is a further node: what fitted nowhere may fit now."""
        for group in self.groups.values():
            if group.infeasible and group.waits:
                group.infeasible = False
                self._queue(group)

    def node_gone(self, node: bytes) -> list[GroupAction]:
        """A node is dead: what it had of each group is placed again; what it was asked for, and with it the rest."""
        actions: list[GroupAction] = []
        for group in self.groups.values():
            if group.state is GroupState.REMOVED:
                continue
            was_created = group.state in (GroupState.CREATED, GroupState.RESCHEDULING)
            lost = [bundle for bundle in group.bundles if bundle.node == node]
            if node in group.asked or (group.placing and lost):
                actions += self._give_up(group, node)
            for bundle in lost:
                bundle.node = b""
            if lost and was_created:
                if group.state is GroupState.CREATED:
                    self._move(group, GroupState.RESCHEDULING)
                    actions.append(Announce(group.group_id))
                group.infeasible = False
                self._queue(group)
        return actions

    # --- ends ---

    def remove(self, group_id: bytes) -> list[GroupAction]:
        """Free what the group reserves; nothing happens when it is gone or was never there."""
        group = self.groups.get(group_id)
        if group is None or group.state is GroupState.REMOVED:
            return []
        places = [bundle.node for bundle in group.bundles]
        actions = self._release(group, range(len(group.bundles)))
        for bundle, node in zip(group.bundles, places, strict=True):  # to be looked at
            bundle.node = node
        group.asked.clear()
        group.placing = ()
        if group_id in self._waiting:
            self._waiting.remove(group_id)
        if group.name:
            del self.names[group.namespace, group.name]
        self._move(group, GroupState.REMOVED)
        return [*actions, Announce(group_id)]

    def job_ended(self, job: bytes) -> list[GroupAction]:
        """A driver has left: its job's groups end, but for detached ones and those of detached actors."""
        return self._remove_all(g for g in self.groups.values() if g.job == job and not g.detached and not g.actor)

    def actor_gone(self, actor: bytes) -> list[GroupAction]:
        """A detached actor is dead: the groups that it created end, but for detached ones."""
        return self._remove_all(g for g in self.groups.values() if g.actor == actor and not g.detached)

    def _remove_all(self, groups: Iterable[Group]) -> list[GroupAction]:
        return [action for group in list(groups) for action in self.remove(group.group_id)]

    @staticmethod
    def _move(group: Group, state: GroupState) -> None:
        if (group.state, state) not in TRANSITIONS:
            raise RuntimeError(f"group {group.group_id.hex()} cannot go from {group.state.value} to {state.value}")
        group.state = state

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        assert len(self._waiting) == len(set(self._waiting)), "a group waits twice"
        for group in self.groups.values():
            queued = group.group_id in self._waiting
            assert queued == (group.waits and not group.infeasible), "a group is overlooked, or tried in vain"
            missing = any(not bundle.node for bundle in group.bundles)
            match group.state:
                case GroupState.PENDING:
                    assert all(not bundle.node for bundle in group.bundles), "partly reserved"
                case GroupState.CREATED:
                    assert not missing
                case GroupState.PREPARED:
                    assert group.asked
                    assert not missing
                case _:
                    pass
            assert bool(group.asked) == bool(group.placing)
        for (namespace, name), group_id in self.names.items():
            group = self.groups[group_id]
            assert (group.namespace, group.name) == (namespace, name)
            assert group.state is not GroupState.REMOVED, "a removed group holds its name"


def _without(nodes: Sequence[Node], places: dict[int, bytes], group: Group) -> list[Node]:
    """The nodes as they are once they have set these bundles aside."""
    taken: dict[bytes, ResourceSet] = {}
    for index, node in places.items():
        taken[node] = taken.get(node, ResourceSet()) + group.bundles[index].wanted.resources
    return [
        attrs.evolve(node, available=node.available - taken[node.node_id]) if node.node_id in taken else node
        for node in nodes
    ]
