"""``@remote``, ``@method`` and ``@task``.

Not here: what they make (``remote_function``, ``actor_class``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from trayray.api.actor_class import ActorClass, ActorMethod
from trayray.api.remote_function import RemoteFunction
from trayray.model.options import validate_method_options

_USAGE = (
    "The @ray.remote decorator must be applied either with no arguments and no parentheses, for example '@ray.remote', "
    "or with keyword arguments only, for example '@ray.remote(num_returns=2, resources={\"GPU\": 1})'."
)


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
    return lambda target: _make(target, options)


def _make(target: Any, options: dict[str, Any]) -> Any:
    if isinstance(target, ActorMethod):
        return target
    if inspect.isclass(target):
        return ActorClass(target, options)
    if not callable(target) or isinstance(target, RemoteFunction | ActorClass):
        raise TypeError(f"{_USAGE} It was applied to {target!r}.")
    if inspect.iscoroutinefunction(target):
        raise ValueError(
            f"'async def' should not be used for remote tasks: {target.__name__}. Wrap it in a plain function that "
            "calls asyncio.run(...), use an actor with async methods, or decorate it with @trayray.task."
        )
    return RemoteFunction(target, options)


def task(*args: Any, **options: Any) -> Any:
    """`remote` for functions, ``async def`` ones included: their code may await asyncio and Trio.

    Raises:
        TypeError: applied to something else than a function.
    """
    if len(args) == 1 and not options:
        return _make_task(args[0], {})
    if args or not options:
        raise TypeError(_USAGE.replace("ray.remote", "trayray.task"))
    return lambda function: _make_task(function, options)


def _make_task(function: Callable[..., Any], options: dict[str, Any]) -> RemoteFunction:
    if inspect.isclass(function) or not callable(function):
        raise TypeError(f"@trayray.task is for functions; use @trayray.remote for {function!r}")
    return RemoteFunction(function, options)


def method(*args: Any, **options: Any) -> Any:
    """Options of an actor's method: ``@method(num_returns=2, concurrency_group="io")``, or bare for its types' sake.

    Raises:
        AssertionError: an unknown option.
    """
    if len(args) == 1 and not options:
        return args[0]
    assert not args, "The @ray.method decorator takes keyword arguments only."
    validate_method_options(options)

    def annotate(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__ray_method_options__ = options  # type: ignore[attr-defined]  # functions carry attributes
        return function

    return annotate
