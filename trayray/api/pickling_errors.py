"""Says what in a value cannot be pickled: the path to the culprit, found by trying its parts.

Not here: pickling (``wire.serialization``), what the parts are (``value_parts``), a report for people who search
(``util.check_serialize``).
"""

from __future__ import annotations

from typing import Any

from trayray.api.value_parts import parts, pickling_error

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
    for part in parts(value):
        if pickling_error(part.value) is not None:
            return _culprit(part.value, path + part.step, depth - 1, seen)
    return path
