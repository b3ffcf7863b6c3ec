"""What a value is made of, as pickling meets it: elements, attributes, captured variables, class bodies.

For telling which part of a value does not pickle (``pickling_errors``, ``util.check_serialize``).
Not here: pickling (``wire.serialization``).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any, NamedTuple, cast

#: Kinds of parts that make up a container: being inside one of them is no level of its own.
CONTAINED = frozenset({"keys", "values", "elements"})


class Part(NamedTuple):
    """One part of a value."""

    #: Plural, for people: "elements", "global variables", "attributes"...
    kind: str
    name: str
    #: How it is reached from the whole, to be appended to the path of that.
    step: str
    value: Any


def pickling_error(value: Any) -> Exception | None:
    """What pickling ``value`` raises; None when it pickles."""
    from trayray.wire.serialization import serialize

    try:
        serialize(value)
    except Exception as error:  # noqa: BLE001 -- whatever a user's __reduce__ raises, it does not pickle
        return error
    return None


def parts(value: Any) -> Iterator[Part]:
    """The parts of ``value``, those of a kind together; none of a value that is one piece to pickle."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        for key in mapping:
            yield Part("keys", f"key {key!r}", f" -> key {key!r}", key)
        for key, part in mapping.items():
            yield Part("values", f"[{key!r}]", f"[{key!r}]", part)
    elif isinstance(value, list | tuple | set | frozenset):
        for index, part in enumerate(cast("Iterable[Any]", value)):
            yield Part("elements", f"[{index}]", f"[{index}]", part)
    elif isinstance(value, FunctionType):
        yield from _captured(value)
    elif inspect.ismethod(value):
        yield _attribute("__func__", value.__func__)
        yield _attribute("__self__", value.__self__)
    elif isinstance(value, functools.partial):
        for name in ("func", "args", "keywords"):
            yield _attribute(name, getattr(cast("Any", value), name))
    elif inspect.isclass(value):
        yield from _class_parts(value)
    else:
        yield from _instance_parts(value)


def _attribute(name: str, value: Any) -> Part:
    return Part("attributes", name, f".{name}", value)


def _captured(function: FunctionType) -> Iterator[Part]:
    """What a function brings along: variables of enclosing functions, globals that it mentions, default values."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        yield Part("nonlocal variables", name, f" -> variable {name!r}", value)
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        yield Part("global variables", name, f" -> variable {name!r}", function.__globals__[name])
    parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    by_name = dict(zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True))
    for name, value in {**by_name, **(function.__kwdefaults__ or {})}.items():
        yield Part("default values", name, f" -> default of {name!r}", value)


def _names(code: CodeType) -> set[str]:
    """Names of globals (and of attributes, which look the same) in a function and in those that it defines."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _class_parts(cls: type) -> Iterator[Part]:
    for name, member in vars(cls).items():
        part: Any = member
        if isinstance(member, staticmethod | classmethod):
            part = cast("Any", member).__func__
        elif isinstance(member, property):
            part = member.fget
        if inspect.isfunction(part) or not name.startswith("__"):
            yield Part("members", name, f".{name}", part)
    for base in cls.__bases__:
        if base is not object:
            yield Part("bases", base.__name__, f" -> base {base.__name__}", base)


def _instance_parts(value: Any) -> Iterator[Part]:
    for name, part in getattr(value, "__dict__", {}).items():
        yield _attribute(name, part)
    for slots in [vars(base).get("__slots__", ()) for base in type(value).__mro__]:
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                yield _attribute(slot, getattr(value, slot))
    cls = cast("type[Any]", type(value))
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:  # it travels with its instances
        yield _attribute("__class__", cls)
