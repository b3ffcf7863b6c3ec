"""``inspect_serializability``: a report on why a value does not pickle, with every culprit inside of it.

Not here: what values are made of (``api.value_parts``), the error of a call (``api.pickling_errors``).
"""

from __future__ import annotations

import itertools
import reprlib
import sys
from typing import Any, TextIO

import attrs

from trayray.api.value_parts import CONTAINED, Part, parts, pickling_error

#: Containers in containers are looked into at no cost of ``depth``, but no deeper than this.
_MAX_NESTING = 30
_INDENT = "    "

_repr = reprlib.Repr()
_repr.maxother = _repr.maxstring = 200


@attrs.frozen(eq=False, repr=False)
class FailureTuple:
    """A part that does not pickle, and of which no smaller part is known that does not."""

    obj: Any
    #: The variable, attribute or key that holds it.
    name: str
    #: What it was found in; None when it is the inspected object itself.
    parent: Any
    #: Names from the inspected object down to it.
    path: tuple[str, ...] = ()

    def __repr__(self) -> str:
        where = " -> ".join(self.path)
        return f"FailTuple({self.name} [path={where}, obj={_shown(self.obj)}, parent={_shown(self.parent)}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Find what in ``base_obj`` does not pickle, and print how it was found.

    Args:
        base_obj: a function, class, instance, container, or anything else.
        name: what to call it in the report.
        depth: how many functions, classes and instances one inside the other are looked into; lists, tuples, sets and
            dicts do not count.
        print_file: where the report goes; standard output by default.

    Returns:
        Whether it pickles, and the culprits: each with ``obj``, ``name``, ``parent`` and ``path``.
    """
    inspection = _Inspection(print_file or sys.stdout)
    title = f"Checking Serializability of {_shown(base_obj)}"
    rule = "=" * min(len(title), 80)
    inspection.say(rule, title, rule)
    error = pickling_error(base_obj)
    if error is None:
        return True, set()
    inspection.fail(error)
    name = name or str(getattr(base_obj, "__name__", type(base_obj).__name__))
    inspection.look_into(base_obj, FailureTuple(base_obj, name, None), depth, _MAX_NESTING)
    variables = [f"\t{failure!r}" for failure in inspection.failures]
    inspection.say(
        rule,
        "Variable:" if len(variables) == 1 else "Variables:",
        "",
        *variables,
        "",
        f"{'was' if len(variables) == 1 else 'were'} found to be non-serializable. "
        "There may be multiple other undetected variables that were non-serializable.",
        "Consider either removing the instantiation/imports of these variables or moving the instantiation into the "
        "scope of the function/class.",
        rule,
        "docs/serialization.md of trayray says how such objects are serialized: __reduce__, register_serializer.",
        rule,
    )
    return False, set(inspection.failures)


class _Inspection:
    """One search: what was found, what was seen, and how far the report is indented."""

    def __init__(self, file: TextIO) -> None:
        self.failures: list[FailureTuple] = []
        #: By id: the value, held so that its id stays its own, and whether its culprits are known.
        self._seen: dict[int, tuple[Any, bool]] = {}
        self._file = file
        self._level = 0

    def say(self, *lines: str) -> None:
        for line in lines:
            self._file.write(f"{_INDENT * self._level}{line}\n")

    def fail(self, error: Exception) -> None:
        self.say(f"!!! FAIL serialization: {error}")

    def look_into(self, value: Any, found: FailureTuple, depth: int, nesting: int) -> bool:
        """``value``, which ``found`` describes, does not pickle: find out which of its parts is to blame.

        Returns:
            Whether anything is: False while the search inside of this very value is under way.
        """
        if id(value) in self._seen:
            return self._seen[id(value)][1]
        self._seen[id(value)] = value, False
        its_parts = list(parts(value))
        if its_parts and (depth <= 0 or nesting <= 0):
            self.say(f"WARNING: {_shown(value)} was not looked into: a larger depth= goes on there.")
            self.failures.append(found)
        else:
            groups = itertools.groupby(its_parts, key=lambda part: part.kind)
            blamed = [self._try_parts(kind, list(group), found, depth, nesting) for kind, group in groups]
            if not any(blamed):
                what = _shown(value)
                self.say(f"WARNING: Did not find non-serializable object in {what}. This may be an oversight.")
                self.failures.append(found)
        self._seen[id(value)] = value, True
        return True

    def _try_parts(self, kind: str, group: list[Part], whole: FailureTuple, depth: int, nesting: int) -> bool:
        self.say(f"Detected {len(group)} {kind}. Checking serializability...")
        self._level += 1
        blamed = False
        for part in group:
            error = pickling_error(part.value)
            if kind not in CONTAINED or error is not None:  # of a long list only the bad elements are news
                self.say(f"Serializing '{part.name}' {_shown(part.value)}...")
            if error is not None:
                self.fail(error)
                found = FailureTuple(part.value, part.name, whole.obj, (*whole.path, part.name))
                blamed |= self.look_into(part.value, found, depth - (kind not in CONTAINED), nesting - 1)
        self._level -= 1
        return blamed


def _shown(value: Any) -> str:
    try:
        return _repr.repr(value)
    except Exception as error:  # noqa: BLE001 -- a user's __repr__ may raise anything; the report goes on without it
        return f"<{type(value).__qualname__} whose repr raises {type(error).__name__}>"


__all__ = ("FailureTuple", "inspect_serializability")
