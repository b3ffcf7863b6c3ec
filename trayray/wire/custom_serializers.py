"""Serializers that a program registers for classes it cannot change: local to the process, in force at once.

The deserializer travels with the value, so whoever reads it needs no registration. Not here: pickling itself
(``serialization``), which uses `CustomPickler` only while something is registered.
"""

from __future__ import annotations

import pickle
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, cast

import cloudpickle

from trayray.wire import serialization

_Reducer = Callable[[Any], Any]

_CLOUDPICKLER = cast("type[pickle.Pickler]", cloudpickle.Pickler)  # it ships no types
#: What cloudpickle does with types that pickle does not know, and what ``copyreg`` was told.
_ITS_REDUCERS = cast("ChainMap[type, _Reducer]", vars(_CLOUDPICKLER)["dispatch_table"])

#: All registered classes, and how their instances are reduced.
_reducers: dict[type, _Reducer] = {}


class CustomPickler(_CLOUDPICKLER):
    """cloudpickle's pickler, which asks the registered serializers first."""

    dispatch_table: Mapping[type, Callable[[Any], Any]] = ChainMap(_reducers, *_ITS_REDUCERS.maps)


def register(cls: type, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """Pickle instances of ``cls`` (not of its subclasses) as ``serializer(instance)``, from now on."""

    def reduce(instance: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return deserializer, (serializer(instance),)

    _reducers[cls] = reduce
    serialization.use_pickler(CustomPickler)


def deregister(cls: type) -> None:
    """Pickle instances of ``cls`` as if nothing had been registered; nothing happens if nothing has."""
    _reducers.pop(cls, None)
    if not _reducers:
        serialization.use_pickler(None)
