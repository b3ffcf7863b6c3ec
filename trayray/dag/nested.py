"""Nodes inside the arguments of other nodes: found at ``bind``, replaced by values at ``execute``.

They may be anywhere: in lists, tuples, dicts, sets, and also in objects of users' classes, which are then rebuilt as
pickling would. What has no node inside is passed as it is. Not here: what nodes are (``dag_node``).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, cast

import cloudpickle

from trayray.worker.references import ObjectRef

#: Makes the value out of what nodes stand for.
Fill = Callable[[Callable[[Any], Any]], Any]
#: A node and the way to it inside the value, such as ``[0]['a']``.
Found = tuple[str, Any]

_PLAIN: frozenset[type] = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None), type(Ellipsis)})
#: Left alone by the search: a node that a function or class mentions is used there, not an argument.
_CLOSED = (ObjectRef, FunctionType, BuiltinFunctionType, ModuleType, type)


def search(value: Any, node_type: type) -> tuple[list[Found], Fill]:
    """The nodes inside ``value``, in order, and how to make the value again with others in their places."""
    try:
        return _find(value, node_type)
    except RecursionError:  # a container that holds itself: pickling knows how
        return _object(value, node_type)


def _find(value: Any, node_type: type) -> tuple[list[Found], Fill]:
    kind = cast("type[Any]", type(value))
    if isinstance(value, node_type):
        return [("", value)], lambda of: of(value)
    if kind in _PLAIN or isinstance(value, _CLOSED):
        return _without(value)
    if kind is list or kind is tuple:
        return _items(value, kind, node_type)
    if kind is dict:
        return _mapping(cast("dict[Any, Any]", value), node_type)
    if isinstance(value, tuple) and hasattr(kind, "_make"):  # a named tuple
        return _items(cast("tuple[Any, ...]", value), kind._make, node_type)
    return _object(value, node_type)


def _without(value: Any) -> tuple[list[Found], Fill]:
    return [], lambda of: value


def _items(
    value: list[Any] | tuple[Any, ...], make: Callable[[Iterable[Any]], Any], node_type: type
) -> tuple[list[Found], Fill]:
    if all(type(item) in _PLAIN for item in value):
        return _without(value)
    found: list[Found] = []
    fills: list[Fill] = []
    for index, item in enumerate(value):
        inside, fill = _find(item, node_type)
        found += [(f"[{index}]{path}", node) for path, node in inside]
        fills.append(fill)
    if not found:
        return _without(value)
    return found, lambda of: make([fill(of) for fill in fills])


def _mapping(value: dict[Any, Any], node_type: type) -> tuple[list[Found], Fill]:
    found: list[Found] = []
    fills: list[tuple[Fill, Fill]] = []
    for key, item in value.items():
        keys, fill_key = _find(key, node_type)
        inside, fill = _find(item, node_type)
        shown = "key" if keys else repr(key)
        found += [*((f"[{shown}]{path}", node) for path, node in [*keys, *inside])]
        fills.append((fill_key, fill))
    if not found:
        return _without(value)
    return found, lambda of: {fill_key(of): fill(of) for fill_key, fill in fills}


class _Searcher(cloudpickle.Pickler):
    """Sets nodes aside while it pickles the objects around them."""

    def __init__(self, file: io.BytesIO, node_type: type) -> None:
        super().__init__(file, buffer_callback=self._keep_buffer)  # pyright: ignore[reportUnknownMemberType]: untyped
        self._node_type = node_type
        self.aside: list[Any] = []
        self.nodes: list[Any] = []
        self.buffers: list[pickle.PickleBuffer] = []

    def _keep_buffer(self, buffer: pickle.PickleBuffer) -> None:
        self.buffers.append(buffer)

    def persistent_id(self, obj: Any) -> int | None:
        if isinstance(obj, self._node_type):
            self.nodes.append(obj)
        elif not isinstance(obj, _CLOSED):
            return None
        self.aside.append(obj)
        return len(self.aside) - 1


class _Filler(pickle.Unpickler):
    """Puts values where nodes were."""

    def __init__(self, body: bytes, buffers: list[pickle.PickleBuffer], values: list[Any]) -> None:
        super().__init__(io.BytesIO(body), buffers=buffers)
        self._values = values

    def persistent_load(self, pid: int) -> Any:
        return self._values[pid]


def _object(value: Any, node_type: type) -> tuple[list[Found], Fill]:
    file = io.BytesIO()
    searcher = _Searcher(file, node_type)
    try:
        searcher.dump(value)  # pyright: ignore[reportUnknownMemberType]: untyped
    except Exception:  # noqa: BLE001 -- user code; what cannot be pickled is an error of `execute`, which names it
        return _without(value)
    if not searcher.nodes:
        return _without(value)
    body, buffers, aside = file.getvalue(), searcher.buffers, searcher.aside

    def fill(of: Callable[[Any], Any]) -> Any:
        return _Filler(body, buffers, [of(item) if isinstance(item, node_type) else item for item in aside]).load()

    return [(f" in {type(value).__name__}", node) for node in dict.fromkeys(searcher.nodes)], fill
