"""Turning Python values into payloads and back: pickle protocol 5, cloudpickle, buffers out of band, references noted.

A payload is either one pickle (first byte 0x80) or, when the value has out-of-band buffers, a header (first byte 0x01),
the pickle and the buffers, each aligned to 64 bytes so that arrays can be used where they lie. The same layout serves
inline values and values in the arena. Not here: who owns a reference (``worker.references``), where payloads live.
"""

import pickle
import struct
import threading
from collections.abc import Callable
from typing import Any, Final, cast

ALIGNMENT: Final = 64
_PLAIN: Final = 0x80
_WITH_BUFFERS: Final = 1
_HEADER = struct.Struct("<BxxxIQ")  # kind, number of buffers, pickle length; then one u64 length a buffer
_LENGTH = struct.Struct("<Q")
_HEADER_SIZE, _unpack_header = _HEADER.size, _HEADER.unpack_from
_LENGTH_SIZE, _unpack_length = _LENGTH.size, _LENGTH.unpack_from
_PROTOCOL: Final = 5

#: Types whose pickle never refers to a module of the user's, so that the C pickler alone is right for them.
_SIMPLE: Final = frozenset({int, float, bool, str, bytes, type(None), complex})


class Noted(threading.local):
    """References met while this thread pickles; None outside `serialize`."""

    refs: list[Any] | None = None


noted = Noted()

#: The pickler in place of cloudpickle's own, while custom serializers are registered (``custom_serializers``).
_custom_pickler: type[pickle.Pickler] | None = None


def use_pickler(pickler: type[pickle.Pickler] | None) -> None:
    """Pickle with ``pickler`` from now on; None: with cloudpickle's."""
    global _custom_pickler
    _custom_pickler = pickler


class Serialized:
    """A pickled value before it is laid out: the pickle, its buffers and the references inside."""

    __slots__ = ("buffers", "pickled", "refs", "size")

    def __init__(self, pickled: bytes, buffers: list[memoryview], refs: list[Any]) -> None:
        self.pickled = pickled
        self.buffers = buffers
        self.refs = refs
        if buffers:
            size = _HEADER.size + _LENGTH.size * len(buffers) + len(pickled)
            for buffer in buffers:
                size = _aligned(size) + buffer.nbytes
            self.size = size
        else:
            self.size = len(pickled)

    def to_bytes(self) -> bytes:
        """The payload as one bytes object."""
        if not self.buffers:
            return self.pickled
        data = bytearray(self.size)
        self.write_into(memoryview(data))
        return bytes(data)

    def write_into(self, target: memoryview) -> None:
        """Lay the payload out in ``target``, which has room for `size` bytes."""
        if not self.buffers:
            target[: self.size] = self.pickled
            return
        _HEADER.pack_into(target, 0, _WITH_BUFFERS, len(self.buffers), len(self.pickled))
        position = _HEADER.size
        for buffer in self.buffers:
            _LENGTH.pack_into(target, position, buffer.nbytes)
            position += _LENGTH.size
        target[position : position + len(self.pickled)] = self.pickled
        position += len(self.pickled)
        for buffer in self.buffers:
            position = _aligned(position)
            target[position : position + buffer.nbytes] = buffer
            position += buffer.nbytes


class ArgumentSlot:
    """Stands in a call's pickled arguments for the value of a top-level reference, sent beside them."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[type["ArgumentSlot"], tuple[int]]:
        return ArgumentSlot, (self.index,)


def serialize(value: Any) -> Serialized:
    """Pickle ``value``, collecting its buffers and the references in it.

    Raises:
        TypeError, pickle.PicklingError and whatever a user's ``__reduce__`` raises.
    """
    if type(value) in _SIMPLE:
        return Serialized(pickle.dumps(value, _PROTOCOL), [], [])
    return _serialize_any(value)


def serialize_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Serialized:
    """`serialize` for the arguments of a call; quick when all of them are plain values."""
    if not kwargs:
        for value in args:
            if type(value) not in _SIMPLE:
                break
        else:
            return Serialized(pickle.dumps((args, kwargs), _PROTOCOL), [], [])
    return _serialize_any((args, kwargs))


def _serialize_any(value: Any) -> Serialized:
    import io

    import cloudpickle

    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: pickle copies it in band
            return True
        buffers.append(raw)
        return False

    outer = noted.refs
    refs: list[Any] = []
    noted.refs = refs
    try:
        with io.BytesIO() as file:
            pickler = _custom_pickler or cast("type[pickle.Pickler]", cloudpickle.Pickler)
            pickler(file, protocol=_PROTOCOL, buffer_callback=keep).dump(value)
            pickled = file.getvalue()
    finally:
        noted.refs = outer
    return Serialized(pickled, buffers, refs)


def deserialize(payload: bytes | memoryview) -> Any:
    """The value of a payload. Buffers are read-only views of ``payload``, which they keep alive."""
    if payload[0] == _PLAIN:
        return pickle.loads(payload)
    view = payload if type(payload) is memoryview and payload.readonly else memoryview(payload).toreadonly()
    kind, count, pickle_length = _unpack_header(view, 0)
    if kind != _WITH_BUFFERS:
        raise ValueError(f"not a payload: it starts with byte {kind:#x}")
    position = _HEADER_SIZE + _LENGTH_SIZE * count
    pickled = view[position : position + pickle_length]
    end = position + pickle_length
    buffers: list[memoryview] = []
    for index in range(count):
        (length,) = _unpack_length(view, _HEADER_SIZE + _LENGTH_SIZE * index)
        start = _aligned(end)
        buffers.append(view[start : start + length])
        end = start + length
    return pickle.loads(pickled, buffers=buffers)


def copied(value: Any) -> Any:
    """``value`` as somebody would receive it; references in it are not kept for this."""
    return deserialize(serialize(value).to_bytes())


def serialize_definition(definition: Callable[..., Any] | type) -> Serialized:
    """Pickle a function or class so that a worker can run it without importing the caller's script.

    The references that it captures are the result's: they must be held as long as anybody may load it.
    """
    return _serialize_any(definition)


def _aligned(position: int) -> int:
    return (position + ALIGNMENT - 1) & -ALIGNMENT
