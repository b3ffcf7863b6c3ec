"""Several outputs of one graph: ``MultiOutputNode``."""

from __future__ import annotations

from typing import Any

from trayray.dag.dag_node import DAGNode, Lookup


class MultiOutputNode(DAGNode[list[Any]]):
    """Ends a graph that has several results: ``execute`` returns the list of them.

    Parameters: ``args``, a list or tuple of nodes; what is no node is in the result as it is.

    Raises:
        ValueError: no list or tuple.
    """

    def __init__(self, args: list[Any] | tuple[Any, ...], other_args_to_resolve: dict[str, Any] | None = None) -> None:
        if not isinstance(args, list | tuple):  # pyright: ignore[reportUnnecessaryIsInstance]: callers may be untyped
            raise ValueError(f"MultiOutputNode takes a list or tuple of nodes, not {args!r}.")
        super().__init__(args, {}, {})

    @property
    def _title(self) -> str:
        return "output"

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> list[Any]:
        return args

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> MultiOutputNode:
        return MultiOutputNode(args)
