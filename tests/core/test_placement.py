"""`trayray.core.placement`, one promise at a time; arbitrary bundles and nodes are in tests/property."""

import time

import pytest

from trayray.core.node_choice import Node
from trayray.core.placement import MustWait, NeverFits, Placed, Planned, Wanted, plan
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import LabelRule


def node(name: str, free: float | None = None, *, labels: dict[str, str] | None = None, **total: float) -> Node:
    """A node; ``free`` CPUs are free if not all are."""
    whole = ResourceSet.of(total)
    left = whole if free is None else ResourceSet.of({**total, "CPU": free})
    return Node(name.encode(), whole, left, labels or {})


#: As a small cluster has them.
SMALL, MEDIUM, LARGE = node("small", CPU=2), node("medium", CPU=2), node("large", CPU=4, GPU=1)
THREE = [SMALL, MEDIUM, LARGE]


def cpus(*amounts: float) -> list[Wanted]:
    return [Wanted(ResourceSet.of({"CPU": amount})) for amount in amounts]


def places(planned: Planned) -> list[str]:
    assert isinstance(planned, Placed)
    return [name.decode() for name in planned.nodes]


def test_pack_takes_one_node_if_it_can() -> None:
    assert places(plan(cpus(1, 1, 1, 1), "PACK", THREE)) == ["large"] * 4


def test_pack_prefers_the_tightest_fit() -> None:
    assert places(plan(cpus(1, 1), "PACK", THREE))[0] in ("small", "medium")


def test_pack_takes_further_nodes_when_one_is_not_enough() -> None:
    assert sorted(places(plan(cpus(2, 2, 2, 2), "PACK", THREE))) == ["large", "large", "medium", "small"]


def test_pack_finds_the_way_that_filling_the_largest_first_misses() -> None:
    nodes = [node("a", CPU=6), node("b", CPU=5)]
    # The largest bundles first into `a` would be 4 (and 2 stay), but 3 + 3 and 4 + 1 is the only way.
    assert isinstance(plan(cpus(4, 3, 3, 1), "PACK", nodes), Placed)


def test_strict_pack_is_all_on_one_node() -> None:
    assert places(plan(cpus(2, 2), "STRICT_PACK", THREE)) == ["large"] * 2
    assert plan(cpus(3, 3), "STRICT_PACK", THREE) == NeverFits()


def test_spread_takes_different_nodes() -> None:
    assert sorted(places(plan(cpus(1, 1, 1), "SPREAD", THREE))) == ["large", "medium", "small"]


def test_spread_takes_nodes_again_when_there_are_too_few() -> None:
    assert sorted(places(plan(cpus(2, 2, 2, 2), "SPREAD", THREE))) == ["large", "large", "medium", "small"]


def test_strict_spread_takes_a_node_for_each() -> None:
    assert sorted(places(plan(cpus(1, 1, 1), "STRICT_SPREAD", THREE))) == ["large", "medium", "small"]
    assert plan(cpus(0.1, 0.1, 0.1, 0.1), "STRICT_SPREAD", THREE) == NeverFits()


def test_strict_spread_moves_bundles_so_that_each_finds_a_node() -> None:
    gpu = Wanted(ResourceSet.of({"GPU": 1}))
    assert places(plan([*cpus(3), gpu], "STRICT_SPREAD", [node("a", CPU=4, GPU=1), node("b", CPU=4)])) == ["b", "a"]


def test_what_is_taken_is_waited_for_and_what_is_not_there_is_not() -> None:
    busy = [node("a", 1, CPU=4)]
    assert plan(cpus(2), "PACK", busy) == MustWait()
    assert plan(cpus(5), "PACK", busy) == NeverFits()
    assert plan([Wanted(ResourceSet.of({"GPU": 1}))], "SPREAD", busy) == NeverFits()
    assert plan(cpus(1), "PACK", []) == NeverFits()


@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"])
def test_labels_of_bundles_are_minded(strategy: str) -> None:
    nodes = [node("a", CPU=4, labels={"zone": "x"}), node("b", CPU=4, labels={"zone": "y"})]
    here = Wanted(ResourceSet.of({"CPU": 1}), (LabelRule("zone", "in", ("y",)),))
    assert places(plan([here], strategy, nodes)) == ["b"]
    nowhere = Wanted(ResourceSet.of({"CPU": 1}), (LabelRule("zone", "in", ("z",)),))
    assert plan([nowhere], strategy, nodes) == NeverFits()


def test_lost_bundles_keep_apart_from_those_that_are_left() -> None:
    assert places(plan(cpus(1), "STRICT_SPREAD", THREE, {b"small": 1, b"large": 1})) == ["medium"]
    assert places(plan(cpus(1), "SPREAD", THREE, {b"small": 1, b"large": 1})) == ["medium"]
    assert places(plan(cpus(1), "PACK", THREE, {b"large": 2})) == ["large"]


@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_SPREAD"])
def test_large_groups_on_many_nodes_are_planned_quickly(strategy: str) -> None:
    nodes = [node(f"n{number:03}", CPU=4) for number in range(300)]
    began = time.perf_counter()
    assert isinstance(plan(cpus(*[2] * 250), strategy, nodes), Placed)
    assert isinstance(plan(cpus(*[3] * 301), strategy, nodes), NeverFits if strategy == "STRICT_SPREAD" else MustWait)
    assert time.perf_counter() - began < 10
