"""What all nodes of a graph have in common: arguments, execution, copies, text.

Not here: the kinds of nodes (``function_node``, ``class_node``, ``input_node``, ``output_node``), pictures
(``picture``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from trayray.core.graph import topological
from trayray.dag.nested import Fill, search
from trayray.worker.generators import ObjectRefGenerator

Out_co = TypeVar("Out_co", covariant=True)
#: Gives what stands for a node: its result in an execution, a copy of it in a copy of the graph.
Lookup = Callable[["DAGNode[Any]"], Any]
#: Label of the way from an actor to the calls of its methods.
SELF = "self"


class Shape(Protocol):
    """What is known of the parameters of whatever a node calls."""

    def names_of(self, count: int) -> list[str]:
        """Names of the parameters that so many positional arguments fill."""
        ...


class Call(Protocol):
    """Whatever has a ``remote``: a remote function, an actor class, or either with options."""

    def remote(self, *args: Any, **kwargs: Any) -> Any: ...


class Edge:
    """``source`` is needed by a node: as an argument, named by ``label``, or only to come before it."""

    __slots__ = ("is_order", "label", "source")

    def __init__(self, source: DAGNode[Any], label: str, *, is_order: bool = False) -> None:
        self.source = source
        self.label = label
        self.is_order = is_order


class DAGNode(Generic[Out_co]):
    """A node of a lazy graph. ``bind`` makes nodes; ``execute`` runs the graph that ends in this one.

    A node compares by identity and never changes, so it may be used in any number of graphs and executions, from any
    thread, and be passed to tasks.
    """

    def __init__(self, args: Sequence[Any], kwargs: dict[str, Any], options: dict[str, Any]) -> None:
        self._args = tuple(args)
        self._kwargs = dict(kwargs)
        self._options = dict(options)
        self._uuid = uuid.uuid4().hex
        self._prepare()

    def _prepare(self) -> None:
        """Search the arguments for nodes."""
        self._filled_args: list[Fill] = []
        self._filled_kwargs: dict[str, Fill] = {}
        edges = self._own_edges()
        names = self._parameter_names()
        for index, value in enumerate(self._args):
            found, fill = search(value, DAGNode)
            name = names[index] if index < len(names) else str(index)
            edges += [Edge(node, name + path) for path, node in found]
            self._filled_args.append(fill)
        for name, value in self._kwargs.items():
            found, fill = search(value, DAGNode)
            edges += [Edge(node, name + path) for path, node in found]
            self._filled_kwargs[name] = fill
        self._edges = edges
        #: The nodes that this one needs, each once.
        self._inputs: list[DAGNode[Any]] = list(dict.fromkeys(edge.source for edge in edges))

    # --- what kinds of nodes say ---

    @property
    def _title(self) -> str:
        """What the node is called in texts and pictures."""
        raise NotImplementedError

    def _own_edges(self) -> list[Edge]:
        """Needs that are not arguments."""
        return []

    def _parameter_names(self) -> list[str]:
        """Names for the positional arguments; numbers stand for those that are missing."""
        return []

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> Any:
        """The node's result from its filled arguments; ``given`` is what ``execute`` was called with."""
        raise NotImplementedError

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> DAGNode[Any]:
        """The same node with other arguments, in a copy of the graph."""
        raise NotImplementedError

    # --- execution ---

    def execute(self, *args: Any, _ray_cache_refs: bool = False, **kwargs: Any) -> Out_co:
        """Run this node and all that it needs, each once, without waiting for results.

        Parameters: the values that the graph's ``InputNode`` stands for; ``_ray_cache_refs`` keeps the results of all
        nodes for ``get_object_refs_from_last_execute``.

        Returns the node's result: an ``ObjectRef`` (a list of them for several returns), an actor's handle for a bound
        class, a list for a ``MultiOutputNode``, an ``ObjectRefGenerator`` for a generator. Actors that the execution
        created end when no call of the graph needs them and no handle is held.

        Raises:
            AssertionError: several input nodes, or one that was not opened by ``with``.
            IndexError, KeyError, AttributeError, TypeError: what the graph asks of its input was not given.
            TypeError: arguments that do not fit, or the values of a generator as an argument.
        """
        from trayray.dag.execution import run

        results = run(self, args, kwargs)
        if _ray_cache_refs:
            self._last = {node._uuid: result for node, result in results.items()}
        return results[self]

    def _filled(self, of: Lookup) -> tuple[list[Any], dict[str, Any]]:
        return [fill(of) for fill in self._filled_args], {name: fill(of) for name, fill in self._filled_kwargs.items()}

    async def get_object_refs_from_last_execute(self) -> dict[str, Any]:
        """Results by node (``get_stable_uuid``) of the latest execution that was told to keep them."""
        return dict(self.__dict__.get("_last", {}))

    def clear_cache(self) -> None:
        """Forget what ``get_object_refs_from_last_execute`` returns."""
        self.__dict__.pop("_last", None)

    def experimental_compile(self, *_: Any, **__: Any) -> NoReturn:
        """Not there: raises NotImplementedError, as do all graphs' compilations."""
        raise NotImplementedError(f"{self!r} cannot be compiled: there are no compiled graphs. Use .execute().")

    # --- looking at the graph ---

    def get_args(self) -> tuple[Any, ...]:
        """The positional arguments as they were bound."""
        return self._args

    def get_kwargs(self) -> dict[str, Any]:
        """The keyword arguments as they were bound."""
        return dict(self._kwargs)

    def get_options(self) -> dict[str, Any]:
        """The options that the node runs with, as far as they were stated."""
        return dict(self._options)

    def get_stable_uuid(self) -> str:
        """32 hexadecimal digits that name the node, also in other processes."""
        return self._uuid

    def apply_recursive(self, fn: Callable[[DAGNode[Any]], Any]) -> Any:
        """Call ``fn`` with a copy of each node, once and inputs first, whose inputs are what ``fn`` made of them.

        Returns what ``fn`` made of this node.
        """
        made: dict[DAGNode[Any], Any] = {}
        for node in self._order():
            made[node] = fn(node._copy(*node._filled(made.__getitem__), made.__getitem__))
        return made[self]

    def _order(self) -> list[DAGNode[Any]]:
        """The graph that ends here, inputs first."""
        return topological(self, _inputs_of)

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flow chart, for Markdown."""
        from trayray.dag.picture import Picture, mermaid

        return mermaid(Picture(self))

    def to_graphviz(self) -> str:
        """The graph in Graphviz's language, for ``dot``."""
        from trayray.dag.picture import Picture, graphviz

        return graphviz(Picture(self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What notebooks show: the graph's picture."""
        from trayray.dag.picture import Picture
        from trayray.dag.svg import svg

        return {"image/svg+xml": svg(Picture(self)), "text/plain": str(self)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._title})"

    def __str__(self) -> str:
        """One line a node, inputs first; ``#2`` is the node of line 2."""
        order = self._order()
        numbers = {node: number for number, node in enumerate(order)}
        return "\n".join(f"#{number} {node._line(numbers)}" for node, number in numbers.items())

    def _line(self, numbers: dict[DAGNode[Any], int]) -> str:
        parts: list[str] = []
        for edge in self._edges:
            relation = "after " if edge.is_order else f"{edge.label}=" if edge.label else ""
            parts.append(f"{relation}#{numbers[edge.source]}")
        return f"{self!r}" + (f" <- {', '.join(parts)}" if parts else "")

    # --- what nodes are not ---

    if not TYPE_CHECKING:  # to checkers a class with __getattr__ has every attribute, misspelt ones included

        def __getattr__(self, name: str) -> Any:
            self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        kind = type(self).__name__
        if name == "remote":
            raise AttributeError(f".remote() cannot be used on a {kind}: run its graph with .execute() instead.")
        if name == "bind":
            raise AttributeError(
                f".bind() cannot be used again on a {kind}: pass it as an argument to another .bind()."
            )
        raise AttributeError(f"{kind!r} object has no attribute {name!r}")

    # --- travelling ---

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _MADE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()


#: Made again where a node arrives, or not for other processes.
_MADE = frozenset({"_filled_args", "_filled_kwargs", "_edges", "_inputs", "_last"})


def _inputs_of(node: DAGNode[Any]) -> list[DAGNode[Any]]:
    return node._inputs


def refuse_generator(value: Any, user: DAGNode[Any], source: DAGNode[Any]) -> Any:
    """``value``, the result of ``source``, unless it is a generator of references, which cannot be an argument."""
    if isinstance(value, ObjectRefGenerator):
        raise TypeError(
            f"{source!r} is a generator: its values come one by one and cannot be an argument of {user!r}. Execute it "
            "by itself and pass on the references that it yields."
        )
    return value
