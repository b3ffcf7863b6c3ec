"""Any graph gives what evaluating it naively gives, and runs each of its nodes once."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dag.local_calls import LocalClass, LocalFunction
from trayray.dag import DAGNode, InputNode, MultiOutputNode
from trayray.dag.picture import Picture, graphviz, mermaid
from trayray.dag.svg import svg


@dataclass(frozen=True)
class Node:
    """Stands for a node of the graph in a specification, by its index."""

    index: int


@dataclass(frozen=True)
class Part:
    """Stands for a part of the input."""

    key: str


@dataclass
class Wrapped:
    """An object of a user's class."""

    inside: Any


#: A node of a specification: its positional and its keyword arguments.
Spec = tuple[list[Any], dict[str, Any]]
KEYS = ["x", "y"]


def arguments(earlier: int) -> st.SearchStrategy[Any]:
    """Values with nodes anywhere inside them."""
    leaves = st.integers(0, 9) | st.sampled_from([Part(key) for key in KEYS])
    if earlier:
        leaves |= st.integers(0, earlier - 1).map(Node)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(st.sampled_from("kl"), inner, max_size=2)
            | inner.map(Wrapped)
        ),
        max_leaves=4,
    )


@st.composite
def specifications(draw: st.DrawFn) -> list[Spec]:
    """Each node may use those before it."""
    count = draw(st.integers(1, 6))
    return [
        (draw(st.lists(arguments(index), max_size=3)), draw(st.dictionaries(st.sampled_from("pq"), arguments(index))))
        for index in range(count)
    ]


def replaced(value: Any, of_node: Any, of_part: Any) -> Any:
    """``value`` with what its nodes and parts stand for."""
    match value:
        case Node(index):
            return of_node(index)
        case Part(key):
            return of_part(key)
        case Wrapped(inside):
            return Wrapped(replaced(inside, of_node, of_part))
        case list() | tuple():
            return type(value)([replaced(item, of_node, of_part) for item in value])
        case dict():
            return {key: replaced(item, of_node, of_part) for key, item in value.items()}
        case _:
            return value


def naive(specs: list[Spec], index: int, given_input: dict[str, Any]) -> Any:
    """The value of a node, every input evaluated again wherever it is used."""
    args, kwargs = replaced(specs[index], lambda i: naive(specs, i, given_input), given_input.__getitem__)
    return index, tuple(args), kwargs


def reachable(specs: list[Spec], index: int) -> set[int]:
    found = {index}
    replaced(specs[index], lambda i: found.update(reachable(specs, i)), lambda _: None)
    return found


def build(specs: list[Spec]) -> tuple[list[LocalFunction], list[DAGNode[Any]]]:
    functions: list[LocalFunction] = []
    nodes: list[DAGNode[Any]] = []
    with InputNode() as graph_input:
        for index, spec in enumerate(specs):

            def step(*args: Any, _index: int = index, **kwargs: Any) -> Any:
                return _index, args, kwargs

            args, kwargs = replaced(spec, nodes.__getitem__, graph_input.__getitem__)
            functions.append(LocalFunction(step))
            nodes.append(functions[-1].bind(*args, **kwargs))
    return functions, nodes


@given(specifications(), st.data())
def test_execution_agrees_with_naive_evaluation_and_runs_each_node_once(specs: list[Spec], data: st.DataObject) -> None:
    functions, nodes = build(specs)
    root = data.draw(st.integers(0, len(specs) - 1))
    given_input = {"x": 10, "y": 20}

    result = nodes[root].execute(**given_input)

    assert result == naive(specs, root, given_input)
    ran = {index for index, function in enumerate(functions) if function.calls}
    assert ran == reachable(specs, root)
    assert all(function.calls <= 1 for function in functions)
    assert nodes[root].execute(given_input) == result  # keys select from a dictionary as from keywords
    assert {functions[index].calls for index in ran} == {2}


@given(specifications())
@settings(max_examples=50)
def test_a_copy_of_a_graph_gives_the_same(specs: list[Spec]) -> None:
    _, nodes = build(specs)
    root = MultiOutputNode(nodes)
    visited: list[DAGNode[Any]] = []

    def visit(node: DAGNode[Any]) -> DAGNode[Any]:
        visited.append(node)
        return node

    copy = root.apply_recursive(visit)

    assert copy is not root
    assert (
        copy.execute(x=1, y=2)
        == root.execute(x=1, y=2)
        == [naive(specs, i, {"x": 1, "y": 2}) for i in range(len(specs))]
    )
    assert str(copy) == str(root)
    assert len(visited) == len(set(visited)) == len(str(root).splitlines())


@given(specifications())
@settings(max_examples=50)
def test_pictures_show_every_node_and_arrows_lead_downwards(specs: list[Spec]) -> None:
    _, nodes = build(specs)
    root = MultiOutputNode(nodes)
    picture = Picture(root)

    assert Counter(box.kind for box in picture.boxes)["task"] == len(specs)
    assert all(arrow.source < arrow.target for arrow in picture.arrows)
    pairs = {(arrow.source, arrow.target) for arrow in picture.arrows}
    assert len(pairs) == len(picture.arrows) == sum(len(node._inputs) for node in root._order())
    drawn = ET.fromstring(svg(picture))
    assert len(drawn.findall("{*}rect")) == len(picture.boxes)
    assert len(drawn.findall("{*}path")) == len(picture.arrows)
    assert mermaid(picture).count("-->") == graphviz(picture).count("->") == len(picture.arrows)
    _assert_apart(
        [(float(r.attrib["x"]), float(r.attrib["y"]), float(r.attrib["width"])) for r in drawn.findall("{*}rect")]
    )


def _assert_apart(boxes: list[tuple[float, float, float]]) -> None:
    ordered = sorted((y, x, width) for x, y, width in boxes)
    for (y, x, width), (below, right, _) in pairwise(ordered):
        assert y < below or x + width < right


class Journal:
    def __init__(self, *_: Any) -> None:
        self.words: list[Any] = []

    def add(self, word: Any, *_: Any) -> Any:
        self.words.append(word)
        return list(self.words)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=10), st.data())
def test_calls_of_each_bound_class_run_in_binding_order(calls: list[tuple[bool, int]], data: st.DataObject) -> None:
    """Two actors; each call may use the results of any earlier calls, of either actor."""
    classes = LocalClass(Journal), LocalClass(Journal)
    actors = [cls.bind() for cls in classes]
    nodes: list[DAGNode[Any]] = []
    for word, (which, uses) in enumerate(calls):
        nodes.append(actors[which].add.bind(word, nodes[uses] if uses < len(nodes) else None))
    root = data.draw(st.integers(0, len(calls) - 1))

    nodes[root].execute()

    for which, cls in enumerate(classes):
        for journal in cls.made:
            words = journal.words
            bound = [word for word, (whose, _) in enumerate(calls) if whose == which]
            assert words == bound[: len(words)], "a prefix, in binding order"
        assert len(cls.made) <= 1
    assert classes[calls[root][0]].made[0].words[-1] >= root
