"""One execution of a graph: input resolved, then every node run once, inputs first. Nothing is waited for.

The results live as long as the execution's table. An actor that a bound class became is held by that table and by its
unfinished calls, so it ends with the last of them unless somebody took its handle.
"""

from __future__ import annotations

from typing import Any

from trayray.dag.dag_node import DAGNode, refuse_generator
from trayray.dag.input_node import DAGInputData, InputAttributeNode, InputNode
from trayray.dag.output_node import MultiOutputNode


def run(root: DAGNode[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[DAGNode[Any], Any]:
    """Results of all nodes that ``root`` reaches. Raises as `DAGNode.execute` says."""
    order = root._order()
    _check_input([node for node in order if isinstance(node, InputNode)])
    given = args[0] if len(args) == 1 and not kwargs else DAGInputData(*args, **kwargs)
    results: dict[DAGNode[Any], Any] = {}
    # What is not in the input is an error before anything runs.
    for node in order:
        if isinstance(node, InputNode | InputAttributeNode):
            results[node] = node._run([], {}, results.__getitem__, given)
    for node in order:
        if node not in results:
            results[node] = _run(node, results, given)
    return results


def _run(node: DAGNode[Any], results: dict[DAGNode[Any], Any], given: Any) -> Any:
    def of(source: DAGNode[Any]) -> Any:
        value = results[source]
        return value if isinstance(node, MultiOutputNode) else refuse_generator(value, node, source)

    arguments, keywords = node._filled(of)
    return node._run(arguments, keywords, of, given)


def _check_input(inputs: list[InputNode]) -> None:
    if len(inputs) > 1:
        raise AssertionError(
            f"The graph has {len(inputs)} InputNodes, it may have one: bind all its parts within one "
            "`with InputNode() as input:`."
        )
    if inputs and not inputs[0]._opened:
        raise AssertionError(
            "InputNode has to be opened as a context manager before its graph is executed: "
            "`with InputNode() as input: dag = f.bind(input)`."
        )
