"""Actor classes, handles and methods as checkers see them.

A handle is typed as the user's own class: that alone gives it the class's methods, since no type maps the members of a
class onto something else. So a method is marked with ``method`` to have a ``.remote``; or is given to ``remote``, as in
``remote(handle.name).remote()``; or mypy's plugin or pyright's stub gives every bound method one.

Not here: remote functions (``calls``), decorators with options (``decorating``).
"""

# Overloads overlap on purpose: the first that fits wins, and the later ones are for calls with references.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Concatenate, Generic, Literal, Protocol, TypeAlias, TypeVar, Unpack, overload

from trayray.api.shapes.calls import (
    T1,
    T2,
    T3,
    T4,
    T5,
    T6,
    A,
    Arg,
    B,
    Callee,
    D,
    F_co,
    ObjectRefGenerator,
    Out,
    P,
    T_co,
)
from trayray.api.shapes.options import ActorOptions, CallOptions
from trayray.dag.class_node import ClassMethodNode, ClassNode
from trayray.worker.generators import DynamicObjectRefGenerator
from trayray.worker.references import ObjectRef

C = TypeVar("C")
R = TypeVar("R")

ActorHandle: TypeAlias = Annotated[C, "actor handle"]
ActorProxy: TypeAlias = Annotated[C, "actor handle"]


# ---------------------------------------------------------------- methods


class MethodWithOptions(Callee[P, Out]):
    """A method of an actor for one use: what its ``.options`` returns."""

    @overload
    def bind(
        self: MethodWithOptions[P, tuple[ObjectRef[A], ObjectRef[B]]], *args: Any, **kwargs: Any
    ) -> tuple[ClassMethodNode[ObjectRef[A]], ClassMethodNode[ObjectRef[B]]]: ...
    @overload
    def bind(
        self: MethodWithOptions[P, tuple[ObjectRef[A], ObjectRef[B], ObjectRef[D]]], *args: Any, **kwargs: Any
    ) -> tuple[ClassMethodNode[ObjectRef[A]], ClassMethodNode[ObjectRef[B]], ClassMethodNode[ObjectRef[D]]]: ...
    @overload
    def bind(
        self: MethodWithOptions[P, list[ObjectRef[Any]]], *args: Any, **kwargs: Any
    ) -> tuple[ClassMethodNode[ObjectRef[Any]], ...]: ...
    @overload
    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode[Out]: ...
    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a lazy graph that calls the method; a tuple of nodes for several returns."""
        raise NotImplementedError


class ActorMethod(MethodWithOptions[P, Out]):
    """A method of an actor: what ``handle.name`` is."""

    @overload
    def options(
        self: ActorMethod[P, ObjectRef[tuple[A, B]]], *, num_returns: Literal[2], **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, tuple[ObjectRef[A], ObjectRef[B]]]: ...
    @overload
    def options(
        self: ActorMethod[P, ObjectRef[tuple[A, B, D]]], *, num_returns: Literal[3], **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, tuple[ObjectRef[A], ObjectRef[B], ObjectRef[D]]]: ...
    @overload
    def options(
        self: ActorMethod[P, ObjectRefGenerator[A]], *, num_returns: Literal[2], **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, tuple[ObjectRef[A], ObjectRef[A]]]: ...
    @overload
    def options(
        self: ActorMethod[P, ObjectRefGenerator[A]], *, num_returns: Literal[3], **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, tuple[ObjectRef[A], ObjectRef[A], ObjectRef[A]]]: ...
    @overload
    def options(self, *, num_returns: Literal[0], **options: Unpack[CallOptions]) -> MethodWithOptions[P, None]: ...
    @overload
    def options(
        self: ActorMethod[P, ObjectRefGenerator[A]], *, num_returns: Literal["dynamic"], **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, ObjectRef[DynamicObjectRefGenerator[A]]]: ...
    @overload
    def options(
        self, *, num_returns: Literal["dynamic"], **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, ObjectRef[Any]]: ...
    @overload
    def options(
        self, *, num_returns: Literal[1, "streaming"] | None = None, **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, Out]: ...
    @overload
    def options(
        self: ActorMethod[P, ObjectRefGenerator[A]], *, num_returns: int, **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, list[ObjectRef[A]]]: ...
    @overload
    def options(
        self, *, num_returns: int, **options: Unpack[CallOptions]
    ) -> MethodWithOptions[P, list[ObjectRef[Any]]]: ...
    def options(self, *, num_returns: Any = None, **options: Any) -> Any:
        """The same with other options, for one use."""
        raise NotImplementedError


class BoundMethod(ActorMethod[P, Out], Generic[P, R, Out]):
    """A method made with ``method``: on a handle it has a ``.remote``, inside the class it is called plainly."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        raise NotImplementedError


class Method(Generic[C, P, R, Out]):
    """The descriptor that ``method`` makes for checkers; at run time ``method`` returns the function itself."""

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Callable[Concatenate[C, P], R]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> BoundMethod[P, R, Out]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        raise NotImplementedError


class UntypedRemote(Protocol):
    """``.remote`` of bound methods in pyright's stub: takes anything."""

    def __call__(self, *args: Any, **kwargs: Any) -> ObjectRef[Any]: ...


class UntypedOptions(Protocol):
    """``.options`` of bound methods in pyright's stub."""

    def __call__(self, *, num_returns: Any = None, **options: Unpack[CallOptions]) -> ActorMethod[..., Any]: ...


class UntypedBind(Protocol):
    """``.bind`` of bound methods in pyright's stub."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


# ---------------------------------------------------------------- classes


class HasFactory(Protocol[F_co]):
    """Something whose ``.remote`` takes the arguments of this class."""

    @property
    def _factory(self) -> F_co: ...


class MypyOnly(Protocol):
    """Everything matches it under mypy, which leaves ``__abstractmethods__`` out of protocols; nothing under pyright.

    For overloads that only mypy needs: it cannot read the parameters of ``__init__`` off a ``type[C]``.
    """

    __abstractmethods__: Literal["only mypy matches this protocol"]


class ClassWith(MypyOnly, Protocol[P, T_co]):
    """A class whose constructor takes P, for mypy."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...
    def mro(self) -> list[type]: ...


class ActorCreator(Generic[C]):
    """Creates actors of class C; what an actor class's ``.options`` returns."""

    @property
    def _factory(self) -> type[C]:
        raise NotImplementedError

    @overload
    def remote(self: HasFactory[Callable[P, Any]], *args: P.args, **kwargs: P.kwargs) -> ActorHandle[C]: ...
    @overload
    def remote(self: HasFactory[Callable[[T1], Any]], a: Arg[T1], /, **refs: ObjectRef[Any]) -> ActorHandle[C]: ...
    @overload
    def remote(
        self: HasFactory[Callable[[T1, T2], Any]], a: Arg[T1], b: Arg[T2], /, **refs: ObjectRef[Any]
    ) -> ActorHandle[C]: ...
    @overload
    def remote(
        self: HasFactory[Callable[[T1, T2, T3], Any]], a: Arg[T1], b: Arg[T2], c: Arg[T3], /, **refs: ObjectRef[Any]
    ) -> ActorHandle[C]: ...
    @overload
    def remote(
        self: HasFactory[Callable[[T1, T2, T3, T4], Any]],
        a: Arg[T1],
        b: Arg[T2],
        c: Arg[T3],
        d: Arg[T4],
        /,
        **refs: ObjectRef[Any],
    ) -> ActorHandle[C]: ...
    @overload
    def remote(
        self: HasFactory[Callable[[T1, T2, T3, T4, T5], Any]],
        a: Arg[T1],
        b: Arg[T2],
        c: Arg[T3],
        d: Arg[T4],
        e: Arg[T5],
        /,
        **refs: ObjectRef[Any],
    ) -> ActorHandle[C]: ...
    @overload
    def remote(
        self: HasFactory[Callable[[T1, T2, T3, T4, T5, T6], Any]],
        a: Arg[T1],
        b: Arg[T2],
        c: Arg[T3],
        d: Arg[T4],
        e: Arg[T5],
        f: Arg[T6],
        /,
        **refs: ObjectRef[Any],
    ) -> ActorHandle[C]: ...
    @overload
    def remote(self: HasFactory[Callable[[], Any]], /, **refs: ObjectRef[Any]) -> ActorHandle[C]: ...
    @overload
    def remote(self: MypyOnly, *args: Any, **kwargs: Any) -> ActorHandle[C]: ...
    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Create an actor; its handle, at once. A reference may stand for any argument."""
        raise NotImplementedError

    def bind(self, *args: Any, **kwargs: Any) -> ClassNode[ActorHandle[C]]:
        """A node of a lazy graph that creates an actor at each ``execute``."""
        raise NotImplementedError


class ActorClass(ActorCreator[C]):
    """A class whose instances are actors: what ``remote`` makes of a class."""

    def options(self, **options: Unpack[ActorOptions]) -> ActorCreator[C]:
        """The same class with other options, for one use."""
        raise NotImplementedError


class CreatorWith(Callee[P, C]):
    """Creates actors of class C with the arguments P, for mypy."""

    def bind(self, *args: Any, **kwargs: Any) -> ClassNode[C]:
        """See `ActorCreator.bind`."""
        raise NotImplementedError


class ActorClassWith(CreatorWith[P, C]):
    """``remote(C)`` as mypy sees it."""

    def options(self, **options: Unpack[ActorOptions]) -> CreatorWith[P, C]:
        """The same class with other options, for one use."""
        raise NotImplementedError


class GivenByPlugin:
    """Marks the attributes of a remote class that mypy's plugin has added; it computes their types on access."""


class BindCall(Protocol[C]):
    """``.bind`` of a remote class, for mypy's plugin."""

    def __call__(self, *args: Any, **kwargs: Any) -> ClassNode[C]: ...


class OptionsCall(Protocol[P, C]):
    """``.options`` of a remote class, for mypy's plugin."""

    def __call__(self, **options: Unpack[ActorOptions]) -> CreatorWith[P, C]: ...
