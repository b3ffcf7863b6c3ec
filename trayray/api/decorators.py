"""``@remote``, ``@method`` and ``@task``.

Not here: what they make (``remote_function``, ``actor_class``), and its types (``shapes``).
"""

# Overloads overlap on purpose: the first that fits wins.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, Unpack, cast, overload

from trayray.api.actor_class import ActorClass, ActorMethod
from trayray.api.remote_function import RemoteFunction
from trayray.api.submission import generates, number_of_returns
from trayray.model.options import built_in, validate_method_options

if TYPE_CHECKING:
    from trayray.api.shapes import actors, calls, decorating
    from trayray.api.shapes.actors import Method
    from trayray.api.shapes.calls import ObjectRefGenerator
    from trayray.api.shapes.options import FunctionOptions, MethodOptions, RemoteOptions
    from trayray.worker.references import ObjectRef

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")
Out = TypeVar("Out")

_USAGE = (
    "The @ray.remote decorator must be applied either with no arguments and no parentheses, for example '@ray.remote', "
    "or with keyword arguments only, for example '@ray.remote(num_returns=2, resources={\"GPU\": 1})'."
)


@overload
def remote(target: actors.ClassWith[P, C], /) -> actors.ActorClassWith[P, C]: ...
@overload
def remote(target: type[C], /) -> actors.ActorClass[C]: ...
@overload
def remote(target: actors.ActorMethod[P, Out], /) -> actors.ActorMethod[P, Out]: ...
@overload
def remote(target: Callable[P, Coroutine[Any, Any, R]], /) -> calls.RemoteFunction[P, ObjectRef[R]]: ...
@overload
def remote(target: Callable[P, Iterator[T]], /) -> calls.RemoteFunction[P, ObjectRefGenerator[T]]: ...
@overload
def remote(target: Callable[P, AsyncIterator[T]], /) -> calls.RemoteFunction[P, ObjectRefGenerator[T]]: ...
@overload
def remote(target: Callable[P, R], /) -> calls.RemoteFunction[P, ObjectRef[R]]: ...
@overload
def remote(
    *, num_returns: Literal[1, "streaming"] | None = None, **options: Unpack[RemoteOptions]
) -> decorating.RemoteDecorator: ...
@overload
def remote(*, num_returns: Literal[0], **options: Unpack[RemoteOptions]) -> decorating.RemoteDecorator0: ...
@overload
def remote(*, num_returns: Literal[2], **options: Unpack[RemoteOptions]) -> decorating.RemoteDecorator2: ...
@overload
def remote(*, num_returns: Literal[3], **options: Unpack[RemoteOptions]) -> decorating.RemoteDecorator3: ...
@overload
def remote(
    *, num_returns: Literal["dynamic"], **options: Unpack[RemoteOptions]
) -> decorating.RemoteDecoratorDynamic: ...
@overload
def remote(*, num_returns: int, **options: Unpack[RemoteOptions]) -> decorating.RemoteDecoratorN: ...
def remote(*args: Any, **options: Any) -> Any:
    """Make a remote function of a function, or an actor class of a class; ``@remote`` or ``@remote(num_cpus=2)``.

    Raises:
        TypeError, ValueError: an option of the wrong type, with an impossible value, or unknown.
        ValueError: an ``async def`` function (use `task` for it).
    """
    if len(args) == 1 and not options:
        return _make(args[0], {})
    if args or not options:
        raise TypeError(_USAGE)

    def decorate(target: Any) -> Any:
        return _make(target, options)

    return decorate


def _make(target: Any, options: dict[str, Any]) -> Any:
    if isinstance(target, ActorMethod):
        return target
    if inspect.isclass(target):
        return ActorClass(target, options)
    if not callable(target) or isinstance(target, RemoteFunction | ActorClass):
        raise TypeError(f"{_USAGE} It was applied to {target!r}.")
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        raise ValueError(
            f"'async def' should not be used for remote tasks: {target.__name__}. Wrap it in a plain function that "
            "calls asyncio.run(...), use an actor with async methods, or decorate it with @trayray.task."
        )
    return RemoteFunction(target, options)


@overload
def task(target: Callable[P, Coroutine[Any, Any, R]], /) -> calls.RemoteFunction[P, ObjectRef[R]]: ...
@overload
def task(target: Callable[P, Iterator[T]], /) -> calls.RemoteFunction[P, ObjectRefGenerator[T]]: ...
@overload
def task(target: Callable[P, AsyncIterator[T]], /) -> calls.RemoteFunction[P, ObjectRefGenerator[T]]: ...
@overload
def task(target: Callable[P, R], /) -> calls.RemoteFunction[P, ObjectRef[R]]: ...
@overload
def task(
    *, num_returns: Literal[1, "streaming"] | None = None, **options: Unpack[FunctionOptions]
) -> decorating.TaskDecorator: ...
@overload
def task(*, num_returns: Literal[0], **options: Unpack[FunctionOptions]) -> decorating.RemoteDecorator0: ...
@overload
def task(*, num_returns: Literal[2], **options: Unpack[FunctionOptions]) -> decorating.RemoteDecorator2: ...
@overload
def task(*, num_returns: Literal[3], **options: Unpack[FunctionOptions]) -> decorating.RemoteDecorator3: ...
@overload
def task(
    *, num_returns: Literal["dynamic"], **options: Unpack[FunctionOptions]
) -> decorating.RemoteDecoratorDynamic: ...
@overload
def task(*, num_returns: int, **options: Unpack[FunctionOptions]) -> decorating.RemoteDecoratorN: ...
def task(*args: Any, **options: Any) -> Any:
    """`remote` for functions, ``async def`` ones included: their code may await asyncio and Trio.

    Raises:
        TypeError: applied to something else than a function.
    """
    if len(args) == 1 and not options:
        return _make_task(args[0], {})
    if args or not options:
        raise TypeError(_USAGE.replace("ray.remote", "trayray.task"))

    def decorate(function: Callable[..., Any]) -> RemoteFunction:
        return _make_task(function, options)

    return decorate


def _make_task(function: Callable[..., Any], options: dict[str, Any]) -> RemoteFunction:
    if inspect.isclass(function) or not callable(function):
        raise TypeError(f"@trayray.task is for functions; use @trayray.remote for {function!r}")
    return RemoteFunction(function, options)


@overload
def method(
    target: Callable[Concatenate[C, P], Coroutine[Any, Any, R]], /
) -> Method[C, P, Coroutine[Any, Any, R], ObjectRef[R]]: ...
@overload
def method(target: Callable[Concatenate[C, P], Iterator[T]], /) -> Method[C, P, Iterator[T], ObjectRefGenerator[T]]: ...
@overload
def method(
    target: Callable[Concatenate[C, P], AsyncIterator[T]], /
) -> Method[C, P, AsyncIterator[T], ObjectRefGenerator[T]]: ...
@overload
def method(target: Callable[Concatenate[C, P], R], /) -> Method[C, P, R, ObjectRef[R]]: ...
@overload
def method(
    *, num_returns: Literal[1, "streaming"] | None = None, **options: Unpack[MethodOptions]
) -> decorating.MethodDecorator: ...
@overload
def method(*, num_returns: Literal[0], **options: Unpack[MethodOptions]) -> decorating.MethodDecorator0: ...
@overload
def method(*, num_returns: Literal[2], **options: Unpack[MethodOptions]) -> decorating.MethodDecorator2: ...
@overload
def method(*, num_returns: Literal[3], **options: Unpack[MethodOptions]) -> decorating.MethodDecorator3: ...
@overload
def method(
    *, num_returns: Literal["dynamic"], **options: Unpack[MethodOptions]
) -> decorating.MethodDecoratorDynamic: ...
@overload
def method(*, num_returns: int, **options: Unpack[MethodOptions]) -> decorating.MethodDecoratorN: ...
def method(*args: Any, **options: Any) -> Any:
    """Options of an actor's method: ``@method(num_returns=2, concurrency_group="io")``, or bare for its types' sake.

    Raises:
        AssertionError: an unknown option.
    """
    target: Any = args[0] if len(args) == 1 and not options else None
    if callable(target) or isinstance(target, classmethod | property):
        return cast("Any", target)
    assert not args, "The @ray.method decorator takes keyword arguments only, for example '@ray.method(num_returns=2)'."
    validate_method_options(options)
    options = built_in(options)

    def annotate(function: Callable[..., Any]) -> Callable[..., Any]:
        number_of_returns(options.get("num_returns"), function.__name__, generates=generates(function))
        annotated: Any = function
        annotated.__ray_method_options__ = options
        return function

    return annotate
