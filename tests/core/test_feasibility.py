"""Requests that cannot be met: which node is nearest, who holds what, when it is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.core.feasibility import (
    Holder,
    Patience,
    held_by,
    infeasible_text,
    nearest_node,
    shortage_text,
)
from trayray.model.resources import ResourceSet


def amounts(**values):
    return ResourceSet.of(values)


def test_a_request_that_a_node_can_meet_has_no_nearest():
    assert nearest_node(amounts(CPU=2), {"a": amounts(CPU=1), "b": amounts(CPU=2)}) is None
    assert nearest_node(amounts(CPU=2), {}) is None


def test_nearest_lacks_the_fewest_kinds_then_the_smallest_share():
    nodes = {"a": amounts(CPU=100), "b": amounts(CPU=3, GPU=1), "c": amounts(CPU=2, GPU=1)}

    nearest = nearest_node(amounts(CPU=4, GPU=1), nodes)

    assert nearest is not None
    assert (nearest.node, nearest.has, nearest.lacks) == ("b", amounts(CPU=3, GPU=1), amounts(CPU=1))
    assert nearest_node(amounts(CPU=4, GPU=1, x=1), nodes).node == "b"


sets = st.dictionaries(st.sampled_from(["CPU", "GPU", "x"]), st.integers(0, 3), max_size=3).map(ResourceSet.of)


@given(sets, st.dictionaries(st.sampled_from("abc"), sets))
def test_nearest_is_a_node_and_no_other_lacks_less(request_, nodes):
    nearest = nearest_node(request_, nodes)

    if nearest is None:
        assert not nodes or any(total.covers(request_) for total in nodes.values())
        return
    assert (nodes[nearest.node] + nearest.lacks).covers(request_)
    for total in nodes.values():
        short = [kind for kind in request_ if total.units(kind) < request_.units(kind)]
        assert len(short) >= len(nearest.lacks) >= 1


def test_text_of_an_infeasible_request():
    request = amounts(CPU=1.5, gadget=1)
    nearest = nearest_node(request, {"10.0.0.1": amounts(CPU=4)})
    assert nearest is not None

    assert infeasible_text("f()", request, nearest) == (
        'f() asks for {"CPU": 1.5, "gadget": 1}, which no node of the cluster has; the nearest, 10.0.0.1, has '
        '{"CPU": 4, "gadget": 0}: {"gadget": 1} too little.'
    )


def test_text_of_a_shortage_names_who_holds_what_is_asked_for():
    holders = [
        Holder("small", 1, amounts(CPU=1)),
        *(Holder("Big", pid, amounts(CPU=2, GPU=1)) for pid in (2, 3)),
        Holder("other", 4, amounts(GPU=1)),
        Holder("placement groups", 0, amounts(CPU=1)),
    ]

    assert shortage_text(amounts(CPU=3), amounts(CPU=1, GPU=5), holders) == (
        'It needs {"CPU": 3}, free is {"CPU": 1}. Held by 2 x Big (pids 2, 3): {"CPU": 2} each, '
        'placement groups: {"CPU": 1}, small (pid 1): {"CPU": 1}.'
    )
    assert shortage_text(amounts(CPU=1), amounts(CPU=1), holders).startswith('It needs {"CPU": 1}, which is free:')
    assert held_by([], amounts(CPU=1)) == "Nobody holds any of it."


def test_many_holders_are_counted():
    holders = [Holder(f"f{number}", number, amounts(CPU=1)) for number in range(9)]
    alike = [Holder("f", number, amounts(CPU=1)) for number in range(1, 9)]

    assert held_by(holders, amounts(CPU=1)).endswith("and 4 more.")
    assert held_by(alike, amounts(CPU=1)) == 'Held by 8 x f (pids 1, 2, 3, 4, 5, ...): {"CPU": 1} each.'


def test_patience_tells_late_and_ever_more_rarely():
    patience = Patience[str](10.0)
    told = [now for now in range(0, 1000, 2) if patience.look(float(now), {"a": 0})]

    assert told == [10, 60, 360]


@pytest.mark.parametrize("after", [{}, {"a": 1}])
def test_a_wait_that_ended_begins_anew(after):
    patience = Patience[str](10.0)
    patience.look(0.0, {"a": 0})
    patience.look(9.0, after)

    assert patience.look(10.0, {"a": 1}) == {}
    assert patience.look(18.0, {"a": 1}) == {}
    assert patience.look(20.0, {"a": 1}) != {}
