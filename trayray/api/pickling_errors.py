"""Says what in a value cannot be pickled: the path to the culprit, found by trying its parts.

Not here: pickling (``wire.serialization``).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

#: How deep the culprit is looked for.
_MAX_DEPTH = 8


def describe_failure(value: Any, name: str, error: BaseException) -> TypeError:
    """The error to raise instead of ``error``: it names ``name`` and the path to the part that does not pickle."""
    path = _culprit(value, "", _MAX_DEPTH, set()).strip()
    where = f" at {path}" if path else ""
    return TypeError(
        f"Could not serialize {name}{where}: {error}. Values that are sent to other processes must be picklable; "
        "keep locks, sockets, threads and open files out of them, or create them where they are used."
    )


def _culprit(value: Any, path: str, depth: int, seen: set[int]) -> str:
    if depth == 0 or id(value) in seen:
        return path
    seen.add(id(value))
    for step, part in _parts(value):
        if not _pickles(part):
            return _culprit(part, f"{path}{step}", depth - 1, seen)
    return path


def _pickles(value: Any) -> bool:
    from trayray.wire.serialization import serialize

    try:
        serialize(value)
    except Exception:  # noqa: BLE001 -- whatever a user's __reduce__ raises, it does not pickle
        return False
    return True


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value is made of, each with how to reach it."""
    if isinstance(value, Mapping):
        for key, part in cast("Mapping[Any, Any]", value).items():
            yield f" -> key {key!r}", key
            yield f"[{key!r}]", part
    elif isinstance(value, list | tuple | set | frozenset):
        for index, part in enumerate(cast("Iterable[Any]", value)):
            yield f"[{index}]", part
    elif inspect.isfunction(value):
        captured = inspect.getclosurevars(value)
        for variable, part in {**captured.nonlocals, **captured.globals}.items():
            yield f" -> variable {variable!r}", part
    elif inspect.isclass(value):
        for attribute, part in vars(value).items():
            if inspect.isfunction(part) or not attribute.startswith("__"):
                yield f".{attribute}", part
    else:
        for attribute, part in getattr(value, "__dict__", {}).items():
            yield f".{attribute}", part
        for slots in [vars(base).get("__slots__", ()) for base in type(value).__mro__]:
            for slot in (slots,) if isinstance(slots, str) else slots:
                if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                    yield f".{slot}", getattr(value, slot)
