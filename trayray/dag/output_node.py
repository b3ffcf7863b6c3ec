"""Several outputs of one graph: ``MultiOutputNode``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from trayray.dag.dag_node import DAGNode, Lookup

Out = TypeVar("Out")


class MultiOutputNode(DAGNode[list[Out]]):
    """Ends a graph that has several results: ``execute`` returns the list of them.

    Parameters: ``args``, a list or tuple of nodes; what is no node is in the result as it is.

    Raises:
        ValueError: no list or tuple.
    """

    @overload
    def __init__(self, args: Sequence[DAGNode[Out]], other_args_to_resolve: dict[str, Any] | None = None) -> None: ...
    @overload
    def __init__(
        self: MultiOutputNode[Any],
        args: list[Any] | tuple[Any, ...],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None: ...
    def __init__(self, args: Sequence[Any], other_args_to_resolve: dict[str, Any] | None = None) -> None:
        if not isinstance(args, list | tuple):
            raise ValueError(f"MultiOutputNode takes a list or tuple of nodes, not {args!r}.")
        super().__init__(args, {}, {})

    @property
    def _title(self) -> str:
        return "output"

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> list[Out]:
        return args

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> MultiOutputNode[Any]:
        return MultiOutputNode(args)
