"""The order in which the nodes of a graph are worked through. Not here: what nodes are and do (``dag``)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def topological(root: Node, inputs: Callable[[Node], Iterable[Node]]) -> list[Node]:
    """``root`` and all that it reaches, each once, inputs before whatever uses them; ``root`` comes last.

    Inputs keep their order as far as they do not depend on each other, so equal graphs have equal orders. The depth of
    a graph is not bounded by Python's stack.

    Raises:
        ValueError: a node reaches itself.
    """
    order: dict[Node, None] = {}
    #: From the root to the node at hand, each with the inputs that it has yet to look at.
    path = [(root, iter(inputs(root)))]
    on_path = {root}
    while path:
        node, rest = path[-1]
        for needed in rest:
            if needed in on_path:
                raise ValueError(f"The graph has a cycle: {needed!r} is among its own inputs.")
            if needed not in order:
                path.append((needed, iter(inputs(needed))))
                on_path.add(needed)
                break
        else:
            path.pop()
            on_path.remove(node)
            order[node] = None
    return list(order)


def levels(order: Iterable[Node], inputs: Callable[[Node], Iterable[Node]]) -> dict[Node, int]:
    """The length of the longest way to each node from one without inputs; ``order`` is topological."""
    level: dict[Node, int] = {}
    for node in order:
        level[node] = max((level[needed] + 1 for needed in inputs(node)), default=0)
    return level
