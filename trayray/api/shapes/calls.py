"""Remote functions as checkers see them, and whatever else has a ``.remote`` that takes a callable's arguments.

Not here: actors (``actors``), how a decorator arrives at these types (``decorators``, ``decorating``).
"""

# Overloads overlap on purpose: the first that fits wins, and the later ones are for calls with references.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, Unpack, overload

from trayray.api.shapes.options import TaskOptions
from trayray.dag.function_node import FunctionNode
from trayray.worker.generators import DynamicObjectRefGenerator
from trayray.worker.generators import ObjectRefGenerator as ObjectRefGenerator
from trayray.worker.references import ObjectRef

P = ParamSpec("P")
Out = TypeVar("Out")
F_co = TypeVar("F_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
D = TypeVar("D")
V_contra = TypeVar("V_contra", contravariant=True)
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")

#: A positional argument: the value, or a reference to it.
Arg: TypeAlias = T1 | ObjectRef[T1]


class TakesOne(Protocol[V_contra, T_co]):
    """Something whose ``.remote`` takes one value; T is what it returns."""

    def remote(self, value: V_contra, /) -> T_co: ...


class HasFunction(Protocol[F_co]):
    """Something whose ``.remote`` takes the arguments of this function."""

    @property
    def _function(self) -> F_co: ...


class Returning(Protocol[F_co, T_co]):
    """Something that is called with the arguments of this function, and whose ``.remote`` returns T."""

    @property
    def _function(self) -> F_co: ...
    @property
    def _out(self) -> T_co: ...


class Callee(Generic[P, Out]):
    """Takes the arguments P; ``.remote`` returns Out: a reference, a tuple of them, or a generator of them."""

    @property
    def _function(self) -> Callable[P, Any]:
        raise NotImplementedError

    @property
    def _out(self) -> Out:
        raise NotImplementedError

    # The exact signature comes first. The fixed arities let a reference stand for any positional argument. Keywords
    # beside them may only be references, and only for parameters that have defaults: the arity must be a complete call,
    # or a missing argument would go unseen.
    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> Out: ...
    @overload
    def remote(self: HasFunction[Callable[[T1], Any]], a: Arg[T1], /, **refs: ObjectRef[Any]) -> Out: ...
    @overload
    def remote(
        self: HasFunction[Callable[[T1, T2], Any]], a: Arg[T1], b: Arg[T2], /, **refs: ObjectRef[Any]
    ) -> Out: ...
    @overload
    def remote(
        self: HasFunction[Callable[[T1, T2, T3], Any]], a: Arg[T1], b: Arg[T2], c: Arg[T3], /, **refs: ObjectRef[Any]
    ) -> Out: ...
    @overload
    def remote(
        self: HasFunction[Callable[[T1, T2, T3, T4], Any]],
        a: Arg[T1],
        b: Arg[T2],
        c: Arg[T3],
        d: Arg[T4],
        /,
        **refs: ObjectRef[Any],
    ) -> Out: ...
    @overload
    def remote(
        self: HasFunction[Callable[[T1, T2, T3, T4, T5], Any]],
        a: Arg[T1],
        b: Arg[T2],
        c: Arg[T3],
        d: Arg[T4],
        e: Arg[T5],
        /,
        **refs: ObjectRef[Any],
    ) -> Out: ...
    @overload
    def remote(
        self: HasFunction[Callable[[T1, T2, T3, T4, T5, T6], Any]],
        a: Arg[T1],
        b: Arg[T2],
        c: Arg[T3],
        d: Arg[T4],
        e: Arg[T5],
        f: Arg[T6],
        /,
        **refs: ObjectRef[Any],
    ) -> Out: ...
    @overload
    def remote(self: HasFunction[Callable[[], Any]], /, **refs: ObjectRef[Any]) -> Out: ...
    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Run it; the references of the results, at once. A reference may stand for any argument."""
        raise NotImplementedError

    # Arguments are not checked: a node may stand for any of them and for any part of one. Functions have one node,
    # methods one for each value that they return.
    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a lazy graph that runs it at each ``execute``; for actors' methods one for each of its values."""
        raise NotImplementedError


class FunctionWithOptions(Callee[P, Out]):
    """A remote function for one use: what its ``.options`` returns."""

    def bind(self, *args: Any, **kwargs: Any) -> FunctionNode[Out]:
        """A node of a lazy graph that runs the function as a task at each ``execute``."""
        raise NotImplementedError


class RemoteFunction(FunctionWithOptions[P, Out]):
    """A function that runs as a task: what ``remote`` and ``task`` make of a function."""

    __name__: str

    @property
    def name(self) -> str:
        """The function's bare name."""
        raise NotImplementedError

    @overload
    def options(
        self: RemoteFunction[P, ObjectRef[tuple[A, B]]], *, num_returns: Literal[2], **options: Unpack[TaskOptions]
    ) -> FunctionWithOptions[P, tuple[ObjectRef[A], ObjectRef[B]]]: ...
    @overload
    def options(
        self: RemoteFunction[P, ObjectRef[tuple[A, B, D]]], *, num_returns: Literal[3], **options: Unpack[TaskOptions]
    ) -> FunctionWithOptions[P, tuple[ObjectRef[A], ObjectRef[B], ObjectRef[D]]]: ...
    @overload
    def options(
        self: RemoteFunction[P, ObjectRefGenerator[A]], *, num_returns: Literal[2], **options: Unpack[TaskOptions]
    ) -> FunctionWithOptions[P, tuple[ObjectRef[A], ObjectRef[A]]]: ...
    @overload
    def options(
        self: RemoteFunction[P, ObjectRefGenerator[A]], *, num_returns: Literal[3], **options: Unpack[TaskOptions]
    ) -> FunctionWithOptions[P, tuple[ObjectRef[A], ObjectRef[A], ObjectRef[A]]]: ...
    @overload
    def options(self, *, num_returns: Literal[0], **options: Unpack[TaskOptions]) -> FunctionWithOptions[P, None]: ...
    @overload
    def options(
        self: RemoteFunction[P, ObjectRefGenerator[A]],
        *,
        num_returns: Literal["dynamic"],
        **options: Unpack[TaskOptions],
    ) -> FunctionWithOptions[P, ObjectRef[DynamicObjectRefGenerator[A]]]: ...
    @overload
    def options(
        self, *, num_returns: Literal["dynamic"], **options: Unpack[TaskOptions]
    ) -> FunctionWithOptions[P, ObjectRef[Any]]: ...
    @overload
    def options(
        self, *, num_returns: Literal[1, "streaming"] | None = None, **options: Unpack[TaskOptions]
    ) -> FunctionWithOptions[P, Out]: ...
    @overload
    def options(
        self: RemoteFunction[P, ObjectRefGenerator[A]], *, num_returns: int, **options: Unpack[TaskOptions]
    ) -> FunctionWithOptions[P, list[ObjectRef[A]]]: ...
    @overload
    def options(
        self, *, num_returns: int, **options: Unpack[TaskOptions]
    ) -> FunctionWithOptions[P, list[ObjectRef[Any]]]: ...
    def options(self, *, num_returns: Any = None, **options: Any) -> Any:
        """The same with other options, for one use."""
        raise NotImplementedError
