"""Actors in a graph: what ``bind`` makes of an actor class, of its methods, and of a live actor's methods."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeVar, cast

from trayray.dag.dag_node import SELF, Call, DAGNode, Edge, Lookup, Shape
from trayray.dag.input_node import InputNode
from trayray.model.options import validate_call_options

C = TypeVar("C")
Out_co = TypeVar("Out_co", covariant=True)


class Method(Protocol):
    """What is known of an actor's method."""

    @property
    def shape(self) -> Shape: ...


class ClassNode(DAGNode[C]):
    """An actor class with the arguments of its constructor; every execution creates an actor of its own.

    Made by ``Class.bind(...)``. ``node.method.bind(...)`` binds calls, which run in the order in which they were bound:
    executing one executes those before it. Attributes of nodes, like ``execute``, hide methods of the same name.

    Parameters: the actor class, its name, its constructor's parameters and its methods, the arguments, the options.

    Raises:
        ValueError: an ``InputNode`` is among the arguments.
    """

    def __init__(
        self,
        creator: Call,
        name: str,
        shape: Shape | None,
        methods: Mapping[str, Method],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        self._creator = creator
        self._name = name
        self._shape = shape
        self._methods = methods
        #: The call bound last, which the next one comes after.
        self._latest: ClassMethodNode[Any] | None = None
        super().__init__(args, kwargs, options)
        if any(isinstance(node, InputNode) for node in self._inputs):
            raise ValueError(
                f"An InputNode cannot be an argument of the constructor of {name}: what it stands for is known at "
                "execute() only. Pass it to a method, or a part of it (input[0], input.key) to the constructor."
            )

    @property
    def _title(self) -> str:
        return self._name

    def _parameter_names(self) -> list[str]:
        return [] if self._shape is None else self._shape.names_of(len(self._args))

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> Any:
        return self._creator.remote(*args, **kwargs)

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> ClassNode[Any]:
        return ClassNode(self._creator, self._name, self._shape, self._methods, args, kwargs, self._options)

    def _bind(
        self, name: str, args: Sequence[Any], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> ClassMethodNode[Any]:
        with _binding:
            shape = self._methods[name].shape
            call = ClassMethodNode[Any](self, self._name, name, shape, args, kwargs, options, self._latest)
            self._latest = call
        return call

    def __getattr__(self, name: str) -> UnboundMethod:
        # Without the table when pickle asks a half-made node for its hooks.
        methods = self.__dict__.get("_methods")
        if methods is not None and name in methods:
            return UnboundMethod(self, name, {})
        if name in ("bind", "remote") or methods is None or name.startswith("_"):
            self._refuse(name)
        own = ", ".join(sorted(method for method in methods or () if not method.startswith("_")))
        raise AttributeError(f"The class {self._name} has no method {name!r} to bind; it has {own or 'none'}.")


#: Chains of calls are short work: one lock for all of them, and nodes without locks can be pickled.
_binding = threading.Lock()


class UnboundMethod:
    """A method of a bound class: ``bind`` it."""

    __slots__ = ("_name", "_node", "_options")

    def __init__(self, node: ClassNode[Any], name: str, options: dict[str, Any]) -> None:
        self._node = node
        self._name = name
        self._options = options

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode[Any]:
        """A call of the method in the graph, after those that were bound before it."""
        return self._node._bind(self._name, args, kwargs, self._options)

    def options(self, **options: Any) -> UnboundMethod:
        """The same method with other options, for one use."""
        return UnboundMethod(self._node, self._name, {**self._options, **options})

    @property
    def remote(self) -> NoReturn:
        raise AttributeError(
            f".remote() cannot be used on {self!r}: its actor exists in executions only. Use .bind(), then .execute()."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self!r} cannot be called directly. Use .bind(), then .execute().")

    def __repr__(self) -> str:
        return f"{self._node!r}.{self._name}"


class ClassMethodNode(DAGNode[Out_co]):
    """A call of an actor's method, whose arguments may be nodes.

    Made by ``class_node.method.bind(...)`` and ``handle.method.bind(...)``. Parameters: the class node or the live
    actor's handle, the class's and the method's name, the method's parameters, arguments and options, and the call that
    has to come before.

    Raises:
        TypeError, ValueError: unknown options, or bad values of options.
    """

    def __init__(
        self,
        actor: Any,
        class_name: str,
        method: str,
        shape: Shape,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        previous: ClassMethodNode[Any] | None = None,
    ) -> None:
        validate_call_options(options)
        #: One of the two: the actor that the execution creates, or the one there is.
        self._parent: ClassNode[Any] | None = cast("Any", actor) if isinstance(actor, ClassNode) else None
        self._handle: Any = None if isinstance(actor, ClassNode) else actor
        self._class_name = class_name
        self._method = method
        self._shape = shape
        self._previous = previous
        super().__init__(args, kwargs, options)

    @property
    def _title(self) -> str:
        return f"{self._class_name}.{self._method}"

    def _own_edges(self) -> list[Edge]:
        edges: list[Edge] = []
        if self._parent is not None:
            edges.append(Edge(self._parent, SELF))
        if self._previous is not None:
            edges.append(Edge(self._previous, "", is_order=True))
        return edges

    def _parameter_names(self) -> list[str]:
        return self._shape.names_of(len(self._args))

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> Any:
        handle = self._handle if self._parent is None else of(self._parent)
        method = getattr(handle, self._method)
        return (method.options(**self._options) if self._options else method).remote(*args, **kwargs)

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> ClassMethodNode[Any]:
        actor = self._handle if self._parent is None else of(self._parent)
        made: Any = None if self._previous is None else of(self._previous)
        copy = ClassMethodNode[Any](
            actor,
            self._class_name,
            self._method,
            self._shape,
            args,
            kwargs,
            self._options,
            cast("ClassMethodNode[Any]", made) if isinstance(made, ClassMethodNode) else None,
        )
        if copy._parent is not None:
            copy._parent._latest = copy
        return copy

    def get_method_name(self) -> str:
        """The method's name."""
        return self._method


class ClassMethodOutputNode(ClassMethodNode[Out_co]):
    """One of several values that a live actor's method returns."""

    def __init__(self, call: ClassMethodNode[Any], index: int) -> None:
        self._call = call
        self._index = index
        super().__init__(None, call._class_name, call._method, call._shape, (), {}, {})

    @property
    def _title(self) -> str:
        return f"{super()._title}[{self._index}]"

    def _own_edges(self) -> list[Edge]:
        return [Edge(self._call, "")]

    def _run(self, args: list[Any], kwargs: dict[str, Any], of: Lookup, given: Any) -> Any:
        return of(self._call)[self._index]

    def _copy(self, args: list[Any], kwargs: dict[str, Any], of: Lookup) -> ClassMethodNode[Any]:
        return ClassMethodOutputNode[Any](of(self._call), self._index)


def bind_live(
    handle: Any,
    class_name: str,
    method: str,
    shape: Shape,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    num_returns: Any,
) -> ClassMethodNode[Any] | tuple[ClassMethodNode[Any], ...]:
    """A call of a live actor's method; one node for each value when it returns several."""
    call = ClassMethodNode[Any](handle, class_name, method, shape, args, kwargs, options)
    if not isinstance(num_returns, int) or num_returns <= 1:
        return call
    return tuple(ClassMethodOutputNode[Any](call, index) for index in range(num_returns))
