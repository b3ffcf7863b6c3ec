"""What ``remote``, ``task`` and ``method`` return when they are given options: the decorators proper.

One for each kind of ``num_returns``: with 2, a call of a function that returns a pair gives a pair of references.
Not here: the bare decorators (``decorators``).
"""

# Overloads overlap on purpose: the first that fits wins.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Protocol, TypeVar, overload

from trayray.api.shapes.actors import ActorClass, ActorClassWith, C, ClassWith, Method, R
from trayray.api.shapes.calls import A, B, D, ObjectRefGenerator, P, RemoteFunction
from trayray.worker.generators import DynamicObjectRefGenerator
from trayray.worker.references import ObjectRef

T = TypeVar("T")

# ---------------------------------------------------------------- remote and task


class TaskDecorator(Protocol):
    """``task(num_cpus=...)``"""

    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]], /) -> RemoteFunction[P, ObjectRef[R]]: ...
    @overload
    def __call__(self, target: Callable[P, Iterator[T]], /) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...
    @overload
    def __call__(self, target: Callable[P, AsyncIterator[T]], /) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> RemoteFunction[P, ObjectRef[R]]: ...


class RemoteDecorator(Protocol):
    """``remote(num_cpus=...)``"""

    @overload
    def __call__(self, target: ClassWith[P, C], /) -> ActorClassWith[P, C]: ...
    @overload
    def __call__(self, target: type[C], /) -> ActorClass[C]: ...
    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]], /) -> RemoteFunction[P, ObjectRef[R]]: ...
    @overload
    def __call__(self, target: Callable[P, Iterator[T]], /) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...
    @overload
    def __call__(self, target: Callable[P, AsyncIterator[T]], /) -> RemoteFunction[P, ObjectRefGenerator[T]]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> RemoteFunction[P, ObjectRef[R]]: ...


class RemoteDecorator0(Protocol):
    """``remote(num_returns=0)``"""

    def __call__(self, target: Callable[P, Any], /) -> RemoteFunction[P, None]: ...


class RemoteDecorator2(Protocol):
    """``remote(num_returns=2)``"""

    @overload
    def __call__(self, target: Callable[P, tuple[A, B]], /) -> RemoteFunction[P, tuple[ObjectRef[A], ObjectRef[B]]]: ...
    @overload
    def __call__(
        self, target: Callable[P, Coroutine[Any, Any, tuple[A, B]]], /
    ) -> RemoteFunction[P, tuple[ObjectRef[A], ObjectRef[B]]]: ...
    @overload
    def __call__(self, target: Callable[P, Iterator[T]], /) -> RemoteFunction[P, tuple[ObjectRef[T], ObjectRef[T]]]: ...
    @overload
    def __call__(
        self, target: Callable[P, AsyncIterator[T]], /
    ) -> RemoteFunction[P, tuple[ObjectRef[T], ObjectRef[T]]]: ...
    @overload
    def __call__(self, target: Callable[P, Any], /) -> RemoteFunction[P, list[ObjectRef[Any]]]: ...


class RemoteDecorator3(Protocol):
    """``remote(num_returns=3)``"""

    @overload
    def __call__(
        self, target: Callable[P, tuple[A, B, D]], /
    ) -> RemoteFunction[P, tuple[ObjectRef[A], ObjectRef[B], ObjectRef[D]]]: ...
    @overload
    def __call__(
        self, target: Callable[P, Coroutine[Any, Any, tuple[A, B, D]]], /
    ) -> RemoteFunction[P, tuple[ObjectRef[A], ObjectRef[B], ObjectRef[D]]]: ...
    @overload
    def __call__(
        self, target: Callable[P, Iterator[T]], /
    ) -> RemoteFunction[P, tuple[ObjectRef[T], ObjectRef[T], ObjectRef[T]]]: ...
    @overload
    def __call__(
        self, target: Callable[P, AsyncIterator[T]], /
    ) -> RemoteFunction[P, tuple[ObjectRef[T], ObjectRef[T], ObjectRef[T]]]: ...
    @overload
    def __call__(self, target: Callable[P, Any], /) -> RemoteFunction[P, list[ObjectRef[Any]]]: ...


class RemoteDecoratorN(Protocol):
    """``remote(num_returns=n)``"""

    @overload
    def __call__(self, target: Callable[P, Iterator[T]], /) -> RemoteFunction[P, list[ObjectRef[T]]]: ...
    @overload
    def __call__(self, target: Callable[P, AsyncIterator[T]], /) -> RemoteFunction[P, list[ObjectRef[T]]]: ...
    @overload
    def __call__(self, target: Callable[P, Any], /) -> RemoteFunction[P, list[ObjectRef[Any]]]: ...


class RemoteDecoratorDynamic(Protocol):
    """``remote(num_returns="dynamic")``"""

    @overload
    def __call__(
        self, target: Callable[P, Iterator[T]], /
    ) -> RemoteFunction[P, ObjectRef[DynamicObjectRefGenerator[T]]]: ...
    @overload
    def __call__(
        self, target: Callable[P, AsyncIterator[T]], /
    ) -> RemoteFunction[P, ObjectRef[DynamicObjectRefGenerator[T]]]: ...
    @overload
    def __call__(self, target: Callable[P, Any], /) -> RemoteFunction[P, ObjectRef[Any]]: ...


# ---------------------------------------------------------------- method


class MethodDecorator(Protocol):
    """``method(concurrency_group=...)``"""

    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], Coroutine[Any, Any, R]], /
    ) -> Method[C, P, Coroutine[Any, Any, R], ObjectRef[R]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], Iterator[T]], /
    ) -> Method[C, P, Iterator[T], ObjectRefGenerator[T]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], AsyncIterator[T]], /
    ) -> Method[C, P, AsyncIterator[T], ObjectRefGenerator[T]]: ...
    @overload
    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Method[C, P, R, ObjectRef[R]]: ...


class MethodDecorator0(Protocol):
    """``method(num_returns=0)``"""

    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Method[C, P, R, None]: ...


class MethodDecorator2(Protocol):
    """``method(num_returns=2)``"""

    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], tuple[A, B]], /
    ) -> Method[C, P, tuple[A, B], tuple[ObjectRef[A], ObjectRef[B]]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], Coroutine[Any, Any, tuple[A, B]]], /
    ) -> Method[C, P, Coroutine[Any, Any, tuple[A, B]], tuple[ObjectRef[A], ObjectRef[B]]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], Iterator[T]], /
    ) -> Method[C, P, Iterator[T], tuple[ObjectRef[T], ObjectRef[T]]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], AsyncIterator[T]], /
    ) -> Method[C, P, AsyncIterator[T], tuple[ObjectRef[T], ObjectRef[T]]]: ...
    @overload
    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Method[C, P, R, list[ObjectRef[Any]]]: ...


class MethodDecorator3(Protocol):
    """``method(num_returns=3)``"""

    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], tuple[A, B, D]], /
    ) -> Method[C, P, tuple[A, B, D], tuple[ObjectRef[A], ObjectRef[B], ObjectRef[D]]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], Coroutine[Any, Any, tuple[A, B, D]]], /
    ) -> Method[C, P, Coroutine[Any, Any, tuple[A, B, D]], tuple[ObjectRef[A], ObjectRef[B], ObjectRef[D]]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], Iterator[T]], /
    ) -> Method[C, P, Iterator[T], tuple[ObjectRef[T], ObjectRef[T], ObjectRef[T]]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], AsyncIterator[T]], /
    ) -> Method[C, P, AsyncIterator[T], tuple[ObjectRef[T], ObjectRef[T], ObjectRef[T]]]: ...
    @overload
    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Method[C, P, R, list[ObjectRef[Any]]]: ...


class MethodDecoratorN(Protocol):
    """``method(num_returns=n)``"""

    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], Iterator[T]], /
    ) -> Method[C, P, Iterator[T], list[ObjectRef[T]]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], AsyncIterator[T]], /
    ) -> Method[C, P, AsyncIterator[T], list[ObjectRef[T]]]: ...
    @overload
    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Method[C, P, R, list[ObjectRef[Any]]]: ...


class MethodDecoratorDynamic(Protocol):
    """``method(num_returns="dynamic")``"""

    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], Iterator[T]], /
    ) -> Method[C, P, Iterator[T], ObjectRef[DynamicObjectRefGenerator[T]]]: ...
    @overload
    def __call__(
        self, target: Callable[Concatenate[C, P], AsyncIterator[T]], /
    ) -> Method[C, P, AsyncIterator[T], ObjectRef[DynamicObjectRefGenerator[T]]]: ...
    @overload
    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Method[C, P, R, ObjectRef[Any]]: ...
