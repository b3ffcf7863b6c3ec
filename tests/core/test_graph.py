import pytest

from trayray.core.graph import levels, topological


def test_inputs_come_first_each_once_and_the_root_last() -> None:
    inputs = {"r": ["x", "y"], "x": ["s"], "y": ["s", "x"], "s": [], "elsewhere": ["r"]}

    assert topological("r", inputs.__getitem__) == ["s", "x", "y", "r"]


def test_independent_inputs_keep_their_order() -> None:
    inputs = {"root": ["c", "a", "b"], "a": [], "b": [], "c": []}

    assert topological("root", inputs.__getitem__) == ["c", "a", "b", "root"]


def test_depth_is_not_bounded_by_the_stack() -> None:
    order = topological(100_000, lambda node: [node - 1] if node else [])

    assert order == list(range(100_001))


@pytest.mark.parametrize("inputs", [{"a": ["a"]}, {"a": ["b"], "b": ["c"], "c": ["b"]}])
def test_a_cycle_is_an_error(inputs: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="cycle"):
        topological("a", inputs.__getitem__)


def test_levels_are_the_longest_ways() -> None:
    inputs = {"s": [], "x": ["s"], "y": ["x"], "r": ["s", "y"]}

    assert levels(["s", "x", "y", "r"], inputs.__getitem__) == {"s": 0, "x": 1, "y": 2, "r": 3}
