"""`trayray.core.placement_groups`, one promise at a time; arbitrary histories are in tests/property."""

import pytest

from trayray.core.node_choice import Node
from trayray.core.placement import Wanted
from trayray.core.placement_groups import (
    Announce,
    Bundle,
    Group,
    GroupNameTaken,
    GroupState,
    GroupTable,
    Release,
    Reserve,
)
from trayray.model.resources import ResourceSet

CPU = ResourceSet.of({"CPU": 1})


def node(name: bytes, cpus: float, total: float | None = None) -> Node:
    return Node(name, ResourceSet.of({"CPU": cpus if total is None else total}), ResourceSet.of({"CPU": cpus}))


def register(
    table: GroupTable,
    group_id: bytes = b"g",
    bundles: int = 2,
    strategy: str = "STRICT_SPREAD",
    *,
    name: str = "",
    namespace: str = "",
    job: bytes = b"job",
    detached: bool = False,
    actor: bytes = b"",
) -> Group:
    wanted = [Bundle(Wanted(CPU)) for _ in range(bundles)]
    group = Group(group_id, name, namespace, strategy, wanted, job, detached, actor)
    table.register(group, 1.0)
    return group


def created(table: GroupTable, nodes: list[Node], **options: object) -> Group:
    """A group that all nodes have reserved."""
    group = register(table, **options)  # type: ignore[arg-type]  # whatever `register` takes
    for action in table.place(nodes, 2.0):
        assert isinstance(action, Reserve)
        table.answered(group.group_id, action.node, True, 3.0)
    assert group.state is GroupState.CREATED
    return group


def test_a_group_is_created_when_every_node_has_reserved_its_bundles() -> None:
    table = GroupTable()
    group = register(table)
    assert table.waiting
    asked = table.place([node(b"a", 1), node(b"b", 1)], 2.0)
    assert asked == [Reserve(b"g", b"a", {0: CPU}), Reserve(b"g", b"b", {1: CPU})]
    assert (group.state, group.progress, table.waiting) == (GroupState.PREPARED, "SCHEDULING_STARTED", False)
    assert table.answered(b"g", b"a", True, 3.0) == []
    assert table.answered(b"g", b"b", True, 3.0) == [Announce(b"g")]
    assert (group.state, group.progress, group.created_at) == (GroupState.CREATED, "FINISHED", 3.0)
    table.check_invariants()


def test_a_node_that_refuses_has_the_others_give_back() -> None:
    table = GroupTable()
    group = register(table)
    nodes = [node(b"a", 1), node(b"b", 1)]
    table.place(nodes, 2.0)
    table.answered(b"g", b"a", True, 3.0)
    assert table.answered(b"g", b"b", False, 3.0) == [Release(b"g", b"a", (0,))]
    assert group.state is GroupState.PENDING
    table.check_invariants()
    assert table.answered(b"g", b"b", True, 3.0) == [], "a late answer"
    assert len(table.place(nodes, 4.0)) == 2


def test_a_group_that_fits_nowhere_is_left_alone_until_a_node_joins() -> None:
    table = GroupTable()
    group = register(table, bundles=2)
    assert table.place([node(b"a", 5)], 2.0) == []
    assert (group.progress, table.waiting) == ("INFEASIBLE", False)
    table.node_joined()
    assert table.waiting
    assert len(table.place([node(b"a", 5), node(b"b", 5)], 3.0)) == 2


def test_a_group_that_only_lacks_room_is_tried_again() -> None:
    table = GroupTable()
    group = register(table, bundles=1)
    assert table.place([node(b"a", 0, total=1)], 2.0) == []
    assert (group.progress, table.waiting, group.attempts) == ("NO_RESOURCES", True, 1)
    assert table.place([node(b"a", 1)], 3.0) == [Reserve(b"g", b"a", {0: CPU})]


def test_groups_planned_together_do_not_get_the_same() -> None:
    table = GroupTable()
    for group_id in (b"g", b"h", b"i"):
        register(table, group_id, 1)
    assert [action.group_id for action in table.place([node(b"a", 2)], 2.0)] == [b"g", b"h"]


def test_bundles_of_a_dead_node_are_placed_again_before_other_groups() -> None:
    table = GroupTable()
    group = created(table, [node(b"a", 1), node(b"b", 1)])
    register(table, b"h", 1)
    assert table.node_gone(b"b") == [Announce(b"g")]
    assert group.state is GroupState.RESCHEDULING
    table.check_invariants()
    assert table.place([node(b"a", 0, total=1), node(b"c", 1)], 4.0) == [Reserve(b"g", b"c", {1: CPU})]
    assert table.answered(b"g", b"c", True, 5.0) == [Announce(b"g")]
    assert [bundle.node for bundle in group.bundles] == [b"a", b"c"]
    assert (group.state, group.created_at) == (GroupState.CREATED, 3.0)


def test_a_node_that_dies_before_it_has_answered_begins_the_placement_anew() -> None:
    table = GroupTable()
    group = register(table)
    table.place([node(b"a", 1), node(b"b", 1)], 2.0)
    assert table.node_gone(b"b") == [Release(b"g", b"a", (0,))]
    assert group.state is GroupState.PENDING
    table.check_invariants()


def test_removal_gives_everything_back_and_frees_the_name() -> None:
    table = GroupTable()
    group = created(table, [node(b"a", 1), node(b"b", 1)], name="mine")
    actions = table.remove(b"g")
    assert actions == [Release(b"g", b"a", (0,)), Release(b"g", b"b", (1,)), Announce(b"g")]
    assert (group.state, group.progress) == (GroupState.REMOVED, "REMOVED")
    assert table.remove(b"g") == table.remove(b"never there") == []
    register(table, b"h", name="mine")
    table.check_invariants()


def test_removal_reaches_nodes_that_have_not_answered() -> None:
    table = GroupTable()
    register(table, bundles=1)
    table.place([node(b"a", 1)], 2.0)
    assert table.remove(b"g") == [Release(b"g", b"a", (0,)), Announce(b"g")]
    assert table.answered(b"g", b"a", True, 3.0) == []


def test_names_are_unique_in_a_namespace_and_found_from_others() -> None:
    table = GroupTable()
    group = register(table, name="n", namespace="one")
    with pytest.raises(GroupNameTaken, match="name 'n' already exists"):
        register(table, b"h", name="n", namespace="one")
    assert table.find("one", "n") is table.find("two", "n") is group
    other = register(table, b"i", name="n", namespace="two")
    assert table.find("two", "n") is other
    assert table.find("three", "n") is None, "which of the two?"


def test_groups_end_with_their_job_or_their_detached_actor() -> None:
    table = GroupTable()
    plain = register(table, b"a")
    lasting = register(table, b"b", detached=True)
    of_actor = register(table, b"c", actor=b"actor")
    table.job_ended(b"job")
    states = [group.state for group in (plain, lasting, of_actor)]
    assert states == [GroupState.REMOVED, GroupState.PENDING, GroupState.PENDING]
    table.actor_gone(b"actor")
    assert (lasting.state, of_actor.state) == (GroupState.PENDING, GroupState.REMOVED)


def test_registering_twice_changes_nothing() -> None:
    table = GroupTable()
    group = created(table, [node(b"a", 2)], strategy="PACK")
    table.register(group, 9.0)
    assert (group.state, group.requested_at, table.waiting) == (GroupState.CREATED, 1.0, False)
