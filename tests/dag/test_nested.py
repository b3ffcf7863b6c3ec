import collections
import enum
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

from trayray.dag.nested import search


class Mark:
    """What is looked for."""

    def __init__(self, name: str) -> None:
        self.name = name


class Pair(NamedTuple):
    left: Any
    right: Any


class Holder:
    def __init__(self, inside: Any) -> None:
        self.inside = inside


class Color(enum.Enum):
    RED = 1


def name_of(mark: Mark) -> str:
    return mark.name


A, B = Mark("a"), Mark("b")


@pytest.mark.parametrize(
    ("value", "paths", "filled"),
    [
        (A, [""], "a"),
        ([1, A, (B,)], ["[1]", "[2][0]"], [1, "a", ("b",)]),
        ({"x": A, "y": [B, A]}, ["['x']", "['y'][0]", "['y'][1]"], {"x": "a", "y": ["b", "a"]}),
        ({A: 1}, ["[key]"], {"a": 1}),
        (Pair(A, 2), ["[0]"], Pair("a", 2)),
        ({A}, [" in set"], {"a"}),
        (collections.deque([A]), [" in deque"], collections.deque(["a"])),
        (collections.OrderedDict(x=A), [" in OrderedDict"], collections.OrderedDict(x="a")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nodes_are_found_and_replaced(value: Any, paths: list[str], filled: Any) -> None:
    found, fill = search(value, Mark)

    assert [path for path, _ in found] == paths
    made = fill(name_of)
    assert made == filled
    assert type(made) is type(filled)


def test_objects_are_rebuilt_around_their_nodes() -> None:
    function, array = (lambda: A), np.arange(3)
    value = Holder([A, Holder(B), function, array])

    found, fill = search(value, Mark)
    made = fill(name_of)

    assert [node for _, node in found] == [A, B]
    assert made is not value
    assert made.inside[0] == "a"
    assert made.inside[1].inside == "b"
    assert made.inside[2] is function
    assert made.inside[3].tolist() == [0, 1, 2]
    assert value.inside[0] is A


@pytest.mark.parametrize(
    "value",
    [7, "text", [1, [2.0]], {"a": (None,)}, Holder(3), Color.RED, np.zeros(2), len, Mark, threading.Lock(), lambda: A],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_node_inside_is_passed_as_it_is(value: Any) -> None:
    found, fill = search(value, Mark)

    assert found == []
    assert fill(name_of) is value


def test_containers_that_hold_themselves() -> None:
    value: list[Any] = [A]
    value.append(value)

    found, fill = search(value, Mark)
    made = fill(name_of)

    assert [node for _, node in found] == [A]
    assert made[0] == "a"
    assert made[1] is made


def test_the_search_is_a_snapshot() -> None:
    value = [A]
    _, fill = search(value, Mark)

    value.append(B)

    assert fill(name_of) == ["a"]
