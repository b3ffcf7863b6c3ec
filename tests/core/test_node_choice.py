"""`trayray.core.node_choice` and the rules of ``model.scheduling``, one promise at a time."""

import pytest

from trayray.core.node_choice import Busy, Choice, Chosen, Impossible, Infeasible, Node, Request, choose_node
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import ANYWHERE, LabelRule, Scheduling, parse_selector, satisfies


def node(name: str, free: float = 4, *, labels: dict[str, str] | None = None, **more: float) -> Node:
    """A node of four CPUs, ``free`` of which are free, and of what else is named."""
    total = ResourceSet.of({"CPU": 4, **more})
    return Node(name.encode(), total, ResourceSet.of({"CPU": free, **more}), labels or {})


def choose(nodes: list[Node], scheduling: Scheduling = ANYWHERE, *, local: str = "", **needs: float) -> Choice:
    amounts = ResourceSet.of(needs or {"CPU": 1})
    return choose_node(Request(amounts, amounts, scheduling), nodes, local=local.encode())


def name(choice: Choice) -> str:
    assert isinstance(choice, Chosen)
    return choice.node_id.decode()


# --- DEFAULT ---


def test_the_local_node_is_taken_while_it_is_less_than_half_used() -> None:
    assert name(choose([node("a"), node("b", 3)], local="b")) == "a"  # with one more, b would be half used
    assert name(choose([node("a"), node("b", 4)], local="b")) == "b"


def test_the_least_used_node_is_taken_once_all_are_half_used() -> None:
    assert name(choose([node("a", 1), node("b", 2)], local="a")) == "b"


def test_one_of_the_best_fifth_is_drawn() -> None:
    nodes = [node(f"n{number}") for number in range(10)]
    amounts = ResourceSet.of({"CPU": 1})
    drawn = {
        choose_node(Request(amounts, amounts), nodes, draw=lambda count, turn=turn: turn % count) for turn in range(10)
    }
    assert drawn == {Chosen(b"n0"), Chosen(b"n1")}


def test_full_nodes_are_waited_for_and_missing_resources_too() -> None:
    assert choose([node("a", 0), node("b", 0.5)]) == Busy((b"a", b"b"))
    assert choose([node("a")], GPU=1) == Infeasible(by_labels=False)
    assert choose([]) == Infeasible(by_labels=False)


def test_what_is_needed_but_not_held_must_only_be_there() -> None:
    request = Request(ResourceSet(), ResourceSet.of({"CPU": 1}))
    assert choose_node(request, [node("a", 0)]) == Chosen(b"a")
    assert choose_node(request, [Node(b"a", ResourceSet(), ResourceSet())]) == Infeasible(by_labels=False)


def test_the_node_with_most_argument_bytes_comes_first_if_it_has_room() -> None:
    amounts = ResourceSet.of({"CPU": 1})
    request = Request(amounts, amounts, argument_bytes={b"b": 10, b"c": 20})
    assert choose_node(request, [node("a"), node("b", 1), node("c", 1)], local=b"a") == Chosen(b"c")
    assert choose_node(request, [node("a"), node("b", 1), node("c", 0)], local=b"a") == Chosen(b"b")
    assert choose_node(request, [node("a"), node("b", 0), node("c", 0)], local=b"a") == Chosen(b"a")


# --- SPREAD ---


def test_spread_takes_the_nodes_in_turn() -> None:
    nodes = [node("a"), node("b"), node("c", 0)]
    amounts = ResourceSet.of({"CPU": 1})
    request = Request(amounts, amounts, Scheduling(spread=True))
    first = choose_node(request, nodes)
    second = choose_node(request, nodes, after=b"a")
    assert (first, second, choose_node(request, nodes, after=b"b")) == (Chosen(b"a"), Chosen(b"b"), Chosen(b"a"))


# --- affinity ---


@pytest.mark.parametrize("soft", [False, True])
def test_affinity_takes_the_node_and_waits_for_it(soft: bool) -> None:
    there = Scheduling(node=b"b", soft=soft)
    assert name(choose([node("a"), node("b", 1)], there, local="a")) == "b"
    assert choose([node("a"), node("b", 0)], there) == Busy((b"b",))


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([node("a")], "no living node"),
        ([node("a"), node("b")], "asks for {'GPU': 1.0}, and the node has {'CPU': 4.0}"),
    ],
)
def test_hard_affinity_that_cannot_be_met_is_impossible(nodes: list[Node], why: str) -> None:
    choice = choose(nodes, Scheduling(node=b"b"), GPU=1)
    assert isinstance(choice, Impossible)
    assert why in choice.reason
    assert b"b".hex() in choice.reason
    assert "NodeAffinitySchedulingStrategy" in choice.reason
    assert "soft=False" in choice.reason


def test_hard_affinity_to_a_node_with_other_labels_is_impossible() -> None:
    there = Scheduling(node=b"b", rules=(LabelRule("zone", "in", ("x",)),))
    choice = choose([node("b", labels={"zone": "y"})], there)
    assert isinstance(choice, Impossible)
    assert "zone is x" in choice.reason


def test_soft_affinity_takes_another_node_when_that_one_can_never_do() -> None:
    there = Scheduling(node=b"b", soft=True)
    assert name(choose([node("a")], there)) == "a"
    assert name(choose([node("a", GPU=1), node("b")], there, GPU=1)) == "a"
    assert choose([node("b")], there, GPU=1) == Infeasible(by_labels=False)


# --- labels ---

X, Y = node("a", labels={"zone": "x"}), node("b", labels={"zone": "y", "disk": "ssd"})


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({"zone": "x"}, "a"),
        ({"zone": "in(y,z)"}, "b"),
        ({"zone": "!x"}, "b"),
        ({"zone": "!in(x, z)"}, "b"),
        ({"disk": "!ssd"}, "a"),
        ({"zone": "in(x,y)", "disk": "ssd"}, "b"),
    ],
)
def test_label_selectors_choose(selector: dict[str, str], chosen: str) -> None:
    assert name(choose([X, Y], Scheduling(rules=parse_selector(selector)))) == chosen


def test_labels_that_no_node_has_are_waited_for() -> None:
    assert choose([X, Y], Scheduling(rules=parse_selector({"zone": "z"}))) == Infeasible(by_labels=True)
    assert choose([X, Y], Scheduling(rules=parse_selector({"zone": "z"})), GPU=1) == Infeasible(by_labels=False)


def test_fallbacks_are_taken_in_their_order() -> None:
    rules, fallbacks = parse_selector({"zone": "z"}), ({"zone": "q"}, {"zone": "y"}, {"zone": "x"})
    scheduling = Scheduling(rules=rules, fallbacks=tuple(parse_selector(each) for each in fallbacks))
    assert name(choose([X, Y], scheduling)) == "b"


def test_preferred_labels_win_only_among_nodes_with_room() -> None:
    scheduling = Scheduling(preferred=(LabelRule("zone", "in", ("y",)),))
    assert name(choose([X, Y], scheduling)) == "b"
    assert name(choose([X, node("b", 0, labels={"zone": "y"})], scheduling)) == "a"


@pytest.mark.parametrize(
    ("rule", "without", "other", "same"),
    [
        (LabelRule("k", "in", ("v",)), False, False, True),
        (LabelRule("k", "!in", ("v",)), True, True, False),
        (LabelRule("k", "exists"), False, True, True),
        (LabelRule("k", "!exists"), True, False, False),
    ],
)
def test_rules(rule: LabelRule, without: bool, other: bool, same: bool) -> None:
    found = [satisfies(labels, [rule]) for labels in ({}, {"k": "w"}, {"k": "v"})]
    assert found == [without, other, same]


def test_rules_are_readable() -> None:
    rules = [LabelRule("k", "exists"), LabelRule("k", "!exists"), *parse_selector({"a": "in(x,y)", "b": "!z"})]
    assert list(map(str, rules)) == ["k exists", "k does not exist", "a is x or y", "b is not z"]
