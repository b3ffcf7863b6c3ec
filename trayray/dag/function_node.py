"""Tasks in a graph: what ``bind`` makes of a remote function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from trayray.dag.dag_node import Call, DAGNode, Lookup, Shape

Out_co = TypeVar("Out_co", covariant=True)


class FunctionNode(DAGNode[Out_co]):
    """A remote function with arguments, which may be nodes; it runs as a task at each execution.

    Made by ``f.bind(...)`` and ``f.options(...).bind(...)``. Parameters: the remote function, its name and parameters,
    the arguments, the options.
    """

    def __init__(
        self,
        function: Call,
        name: str,
        shape: Shape,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        self._function = function
        self._name = name
        self._shape = shape
        super().__init__(args, kwargs, options)

    @property
    def _title(self) -> str:
        return self._name

    def _parameter_names(self) -> list[str]:
        return self._shape.names_of(len(self._args))

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> Any:
        return self._function.remote(*args, **kwargs)

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> FunctionNode[Any]:
        return FunctionNode(self._function, self._name, self._shape, args, kwargs, self._options)
