"""Ray's ``ray.cloudpickle``: cloudpickle, with this process's custom serializers, references and actor handles.

A reference or handle that is pickled here stays valid as long as this process lives, wherever the pickle goes: its
object (or actor) is kept for good. Whoever loads it must belong to the same cluster. Prefer to pass references as
arguments and results, which frees objects in time.
Not here: how values of calls are pickled (``wire.serialization``).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pickle import PicklingError, load, loads
from types import ModuleType
from typing import IO, Any

import cloudpickle as _cloudpickle

from trayray.wire.custom_serializers import CustomPickler as Pickler

_untyped: Any = _cloudpickle  # it ships no types
#: cloudpickle's own: pickle a module's functions and classes by value.
register_pickle_by_value: Callable[[ModuleType], None] = _untyped.register_pickle_by_value
unregister_pickle_by_value: Callable[[ModuleType], None] = _untyped.unregister_pickle_by_value

CloudPickler = Pickler
DEFAULT_PROTOCOL = pickle.HIGHEST_PROTOCOL


def dump(
    obj: Any,
    file: IO[bytes],
    protocol: int | None = None,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
) -> None:
    """Pickle ``obj`` into a file; ``load`` of this module or of ``pickle`` reads it.

    Args:
        protocol: of pickle; the highest by default.
        buffer_callback: takes large buffers out of band, as in ``pickle.dump``.

    Raises:
        TypeError, pickle.PicklingError: something in it cannot be pickled.
        OufOfBandObjectRefSerializationException: it contains a reference, and the environment variable
            ``TRAYRAY_allow_out_of_band_object_ref_serialization`` (or ``RAY_...``) is 0.
    """
    Pickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(obj)


def dumps(
    obj: Any, protocol: int | None = None, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None
) -> bytes:
    """The pickle of ``obj``, see `dump`."""
    with io.BytesIO() as file:
        dump(obj, file, protocol, buffer_callback)
        return file.getvalue()


__all__ = (
    "DEFAULT_PROTOCOL",
    "CloudPickler",
    "Pickler",
    "PicklingError",
    "dump",
    "dumps",
    "load",
    "loads",
    "register_pickle_by_value",
    "unregister_pickle_by_value",
)
