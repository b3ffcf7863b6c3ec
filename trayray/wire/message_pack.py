"""Values that other languages can read, as MessagePack: the type table of cross-language calls, both ways.

    MessagePack  nil    bool  int                   float  str  bin    array  ext 1
    Python       None   bool  int -2**63..2**64-1   float  str  bytes  list   one more type, the caller's

Exact types only, so that what is read is what was written: a tuple, a dict or a subclass is refused, not changed.
Not here: actor handles, the one more type (``cross_language``); pickling, for calls within Python (``serialization``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_ATOMS: Final = frozenset({type(None), bool, float, str, bytes})
#: Code of the extension type that the caller may have.
_EXTENSION = 1


def pack(value: Any, extension: Callable[[Any], bytes | None] | None = None) -> bytes:
    """Encode ``value``.

    Args:
        extension: encodes values of the caller's own type; None for any others.

    Raises:
        TypeError: a type that the table does not have.
        ValueError: an int outside of its limits, text that is not Unicode, lists inside themselves or nested too deep.
    """
    try:
        return msgspec.msgpack.encode(_checked(value, extension, "the value"))
    except RecursionError:
        raise ValueError("the value cannot be sent to another language: its lists are nested too deep") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"the value cannot be sent to another language: {error}") from error


def unpack(data: bytes | memoryview, extension: Callable[[bytes], Any] | None = None) -> Any:
    """Decode what `pack` or another language has encoded.

    Args:
        extension: decodes the caller's own type.

    Raises:
        ValueError: not one MessagePack value, or one of a type that the table does not have (a map, a timestamp).
    """

    def decode_extension(code: int, body: memoryview) -> Any:
        if code != _EXTENSION or extension is None:
            raise ValueError(f"MessagePack extension {code} is none of the types that languages share")
        return _Decoded(extension(bytes(body)))

    try:
        value = msgspec.msgpack.decode(data, ext_hook=decode_extension)
        return _received(value)
    except msgspec.DecodeError as error:
        raise ValueError(f"this is no value from another language: {error}") from error
    except RecursionError:
        raise ValueError("this is no value from another language: its arrays are nested too deep") from None


class _Decoded:
    """A value of the caller's own type, told from those of the table."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _checked(value: Any, extension: Callable[[Any], bytes | None] | None, where: str) -> Any:
    """``value`` if the table has its type; ``where`` is its path, for the error."""
    kind = cast("type[Any]", type(value))
    if kind in _ATOMS:
        return value
    if kind is int:
        if _SMALLEST <= value <= _LARGEST:
            return value
        raise ValueError(f"{where}, {value}, cannot be sent to another language: an int must be in -2**63..2**64-1")
    if kind is list:
        return [_checked(part, extension, f"{where}[{index}]") for index, part in enumerate(value)]
    body = extension(value) if extension is not None else None
    if body is not None:
        return msgspec.msgpack.Ext(_EXTENSION, body)
    raise TypeError(
        f"{where}, a {kind.__qualname__}, cannot be sent to another language: use None, bool, int, float, str, bytes, "
        "lists of them, or an actor handle"
    )


def _received(value: Any) -> Any:
    kind = cast("type[Any]", type(value))
    if kind is list:
        return [_received(part) for part in value]
    if kind is _Decoded:
        return value.value
    if kind in _ATOMS or kind is int:
        return value
    raise ValueError(f"a {kind.__qualname__} is none of the types that languages share")
