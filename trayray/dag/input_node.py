"""The input of a graph: ``InputNode`` and its parts stand for what ``execute`` is called with."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from trayray.dag.dag_node import DAGNode, Edge, Lookup


class DAGInputData:
    """What ``execute`` was called with, when that is not a single value: ``data[0]``, ``data["keyword"]``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._args = args
        self._kwargs = kwargs

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            if not -len(self._args) <= key < len(self._args):
                raise IndexError(
                    f"the graph's input has no positional argument {key}: execute() was called with {len(self._args)}"
                )
            return self._args[key]
        if key not in self._kwargs:
            known = ", ".join(self._kwargs) or "none"
            raise KeyError(
                f"the graph's input has no keyword argument {key!r}: execute() was called with the keywords {known}"
            )
        return self._kwargs[key]

    def __repr__(self) -> str:
        shown = [*map(repr, self._args), *(f"{name}={value!r}" for name, value in self._kwargs.items())]
        return f"DAGInputData({', '.join(shown)})"


class InputNode(DAGNode[Any]):
    """Stands for what ``execute`` is called with; a graph has one.

    ``with InputNode() as input:`` opens it. ``input`` itself is the value when ``execute`` has a single positional
    argument, else a `DAGInputData`. ``input[0]`` is a positional argument or an item of the single value,
    ``input["key"]`` a keyword argument or an item, ``input.key`` a keyword argument or an attribute.

    Parameters: ``input_type``, of the value or by part, for whoever reads the graph.

    Raises:
        ValueError: other arguments.
    """

    def __init__(self, *args: Any, input_type: type | dict[int | str, type] | None = None, **kwargs: Any) -> None:
        if args or kwargs:
            raise ValueError("InputNode takes no arguments: values are given to execute().")
        self._opened = False
        self._input_type = input_type
        super().__init__((), {}, {})

    @property
    def _title(self) -> str:
        return "input"

    def __enter__(self) -> Self:
        self._opened = True
        return self

    def __exit__(self, *_: object) -> None: ...

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> Any:
        return given

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> InputNode:
        copy = InputNode(input_type=self._input_type)
        copy._opened = self._opened
        return copy

    def __getattr__(self, name: str) -> InputAttributeNode:
        # Underscored names are asked for by pickle, notebooks and the like.
        if name.startswith("_"):
            raise AttributeError(
                f"InputNode has no attribute {name!r}; for such a keyword argument use input[{name!r}]"
            )
        return InputAttributeNode(self, name, is_item=False)

    def __getitem__(self, key: int | str) -> InputAttributeNode:
        # Only exact types: True is no index, and slices are for the tasks that get the value.
        if type(key) not in (int, str):
            raise AssertionError(f"A part of the input is selected by an int or a string, not by {key!r}.")
        return InputAttributeNode(self, key, is_item=True)

    def __iter__(self) -> NoReturn:
        raise TypeError("InputNode cannot be iterated over: what it stands for is known at execute() only.")

    def get_result_type(self) -> str | None:
        """The name of the type that was stated, None without one."""
        return _type_name(self._input_type) if isinstance(self._input_type, type) else None

    def _part_type(self, key: int | str) -> str | None:
        types = self._input_type
        return _type_name(types[key]) if isinstance(types, dict) and key in types else None


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class InputAttributeNode(DAGNode[Any]):
    """A part of the input: ``input[0]``, ``input["key"]`` or ``input.key``."""

    def __init__(self, dag_input_node: InputNode, key: int | str, *, is_item: bool) -> None:
        self._input = dag_input_node
        self._key = key
        self._is_item = is_item
        super().__init__((), {}, {})

    @property
    def _title(self) -> str:
        return f"input[{self._key!r}]" if self._is_item else f"input.{self._key}"

    def _own_edges(self) -> list[Edge]:
        return [Edge(self._input, "")]

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> Any:
        value = of(self._input)
        try:
            if self._is_item or isinstance(value, DAGInputData):
                return value[self._key]
            return getattr(value, str(self._key))
        except (LookupError, TypeError, AttributeError) as error:
            error.add_note(f"{self._title} of a graph, whose execute() got the input {_shortened(value)}")
            raise

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> InputAttributeNode:
        return InputAttributeNode(of(self._input), self._key, is_item=self._is_item)

    def get_result_type(self) -> str | None:
        """The name of the type that was stated for this part of the input, None without one."""
        return self._input._part_type(self._key)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
