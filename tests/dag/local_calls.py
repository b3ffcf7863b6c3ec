"""Functions and classes that a graph can run in this process, at once: graphs ask of what they run for a ``remote``."""

import inspect
from collections.abc import Callable
from typing import Any

import attrs

from trayray.dag import ClassNode, FunctionNode
from trayray.dag.dag_node import Shape


@attrs.frozen
class Parameters:
    """Parameters of a Python function, by name."""

    names: tuple[str, ...]

    def names_of(self, count: int) -> list[str]:
        return list(self.names[:count])


def shape_of(function: Callable[..., Any]) -> Shape:
    return Parameters(tuple(name for name in inspect.signature(function).parameters if name != "self"))


class LocalFunction:
    """Calls a Python function, and counts."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls = 0

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.function(*args, **kwargs)

    def bind(self, *args: Any, **kwargs: Any) -> FunctionNode[Any]:
        return FunctionNode(self, self.function.__name__, shape_of(self.function), args, kwargs, {})


class LocalHandle:
    """An object whose methods have a ``remote``."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def __getattr__(self, name: str) -> LocalFunction:
        return LocalFunction(getattr(self.instance, name))


@attrs.frozen
class LocalMethod:
    shape: Shape


class LocalClass:
    """Makes objects of a Python class, and keeps them."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.made: list[Any] = []

    def remote(self, *args: Any, **kwargs: Any) -> LocalHandle:
        self.made.append(self.cls(*args, **kwargs))
        return LocalHandle(self.made[-1])

    def bind(self, *args: Any, **kwargs: Any) -> ClassNode[Any]:
        methods = {
            name: LocalMethod(shape_of(function))
            for name, function in vars(self.cls).items()
            if inspect.isfunction(function)
        }
        return ClassNode(self, self.cls.__name__, shape_of(self.cls), methods, args, kwargs, {})
