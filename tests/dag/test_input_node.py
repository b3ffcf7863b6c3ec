import re
from typing import Any

import pytest

from tests.dag.local_calls import LocalClass, LocalFunction
from trayray.dag import DAGInputData, InputAttributeNode, InputNode


def collect(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


class Account:
    def __init__(self, start: Any = 0) -> None:
        self.start = start

    def total(self) -> Any:
        return self.start


class Point:
    x = 5


def test_a_single_value_is_passed_as_it_is() -> None:
    with InputNode() as given:
        dag = LocalFunction(collect).bind(given, given[0], k=given[1])

    assert dag.execute([3, 4]) == (([3, 4], 3), {"k": 4})


def test_several_values_are_one_object_with_items() -> None:
    with InputNode() as given:
        dag = LocalFunction(collect).bind(given, given[1], given.key)
    (data, second, keyword), _ = dag.execute(1, 2, key=3)

    assert (second, keyword) == (2, 3)
    assert isinstance(data, DAGInputData)
    assert (data[0], data[-1], data["key"]) == (1, 2, 3)
    assert repr(data) == "DAGInputData(1, 2, key=3)"


def test_attributes_of_a_single_value() -> None:
    with InputNode() as given:
        dag = LocalFunction(collect).bind(given.x)

    assert dag.execute(Point()) == ((5,), {})


def test_values_that_a_graph_does_not_ask_for_are_ignored() -> None:
    assert LocalFunction(collect).bind(1).execute(2, k=3) == ((1,), {})


@pytest.mark.parametrize(
    ("key", "args", "kwargs", "error", "text"),
    [
        ("y", ({"x": 1},), {}, KeyError, "'y'"),
        ("y", (), {"x": 1}, KeyError, "no keyword argument 'y': execute() was called with the keywords x"),
        (1, (1,), {"x": 1}, IndexError, "no positional argument 1: execute() was called with 1"),
        (0, (), {}, IndexError, "execute() was called with 0"),
        (2, ([1, 2],), {}, IndexError, "list index out of range"),
        (0, (7,), {}, TypeError, "'int' object is not subscriptable"),
    ],
)
def test_what_is_not_given_is_an_error_before_anything_runs(
    key: Any, args: Any, kwargs: Any, error: type[Exception], text: str
) -> None:
    function = LocalFunction(collect)
    with InputNode() as given:
        dag = function.bind(function.bind(1), given[key])

    with pytest.raises(error, match=re.escape(text)) as caught:
        dag.execute(*args, **kwargs)

    assert function.calls == 0
    assert caught.value.__notes__[0].startswith(f"input[{key!r}] of a graph, whose execute() got the input")


def test_a_missing_attribute_is_an_error() -> None:
    with InputNode() as given:
        dag = LocalFunction(collect).bind(given.missing)

    with pytest.raises(AttributeError, match="missing"):
        dag.execute([1])
    with pytest.raises(KeyError, match="missing"):
        dag.execute(1, other=2)


def test_input_takes_no_arguments() -> None:
    with pytest.raises(ValueError, match="InputNode takes no arguments"):
        InputNode(1)
    with pytest.raises(ValueError, match="InputNode takes no arguments"):
        InputNode(key=1)


def test_input_has_to_be_opened() -> None:
    with pytest.raises(AssertionError, match="context manager"):
        LocalFunction(collect).bind(InputNode()).execute(1)
    with pytest.raises(AssertionError, match="context manager"):
        LocalFunction(collect).bind(InputNode()[0]).execute([1])


def test_a_graph_has_one_input() -> None:
    with InputNode() as one, InputNode() as other:
        dag = LocalFunction(collect).bind(one, other.x)

    with pytest.raises(AssertionError, match="has 2 InputNodes"):
        dag.execute(1)


def test_input_is_neither_sliced_nor_iterated() -> None:
    with InputNode() as given:
        for key in (1.5, slice(1), True, None):
            with pytest.raises(AssertionError, match="int or a string"):
                given[key]  # pyright: ignore[reportArgumentType]: what is refused
        with pytest.raises(TypeError, match="execute"):
            iter(given)
        with pytest.raises(AttributeError, match=re.escape("input['_x']")):
            _ = given._x
    assert isinstance(given["_x"], InputAttributeNode)


def test_parts_of_the_input_have_no_parts() -> None:
    with InputNode() as given:
        with pytest.raises(TypeError, match="not subscriptable"):
            given[0][0]  # pyright: ignore[reportIndexIssue]: what is refused
        with pytest.raises(AttributeError, match="has no attribute 'k'"):
            _ = given[0].k


@pytest.mark.parametrize("wrap", [lambda node: node, lambda node: [{"a": node}]])
def test_constructors_take_parts_of_the_input_only(wrap: Any) -> None:
    account = LocalClass(Account)
    with InputNode() as given:
        with pytest.raises(ValueError, match="InputNode cannot be an argument of the constructor of Account"):
            account.bind(wrap(given))
        dag = account.bind(given.start).total.bind()

    assert dag.execute(start=8) == 8


def test_an_input_is_a_graph_too() -> None:
    with InputNode() as given:
        assert given.execute(1) == 1
        assert given[1].execute(1, 2) == 2
        assert given.x.execute(x=3) == 3


def test_stated_types() -> None:
    assert InputNode().get_result_type() is None
    assert InputNode(input_type=int).get_result_type() == "int"
    given = InputNode(input_type={0: int, "p": Point})
    assert given.get_result_type() is None
    assert given[0].get_result_type() == "int"
    assert given["p"].get_result_type() == f"{__name__}.Point"
    assert given["q"].get_result_type() is None
