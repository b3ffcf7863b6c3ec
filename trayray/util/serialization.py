"""``register_serializer`` and ``deregister_serializer``: how this process pickles classes that it cannot change.

Not here: how the registered functions are used (``wire.custom_serializers``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
S = TypeVar("S")


def register_serializer(cls: type[T], *, serializer: Callable[[T], S], deserializer: Callable[[S], T]) -> None:
    """Serialize instances of ``cls`` with ``serializer``, in this process, from now on.

    It is used for ``put``, arguments, results and `trayray.cloudpickle`. The deserializer travels with each value, so
    the processes that read it need not register anything; those that send such values on must. Registering again
    replaces both functions at once. Instances of subclasses and of Python's own numbers, strings and containers are not
    concerned.

    Args:
        cls: the exact class.
        serializer: makes of an instance something that can be serialized.
        deserializer: makes an instance of that again.

    Raises:
        TypeError: ``cls`` is no class, or a function cannot be called.
    """
    from trayray.wire.custom_serializers import register

    if not isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise TypeError(f"register_serializer() takes a class, not {cls!r}")
    for name, function in (("serializer", serializer), ("deserializer", deserializer)):
        if not callable(function):
            raise TypeError(f"the {name} of {cls.__qualname__} must be a function of one argument, not {function!r}")
    register(cls, serializer, deserializer)


def deregister_serializer(cls: type[Any]) -> None:
    """Serialize instances of ``cls`` in the usual way again, in this process; nothing happens if they are already."""
    from trayray.wire.custom_serializers import deregister

    deregister(cls)


__all__ = ("deregister_serializer", "register_serializer")
