"""Where references were made, recorded while ``record_ref_creation_sites`` is on; else there is no `CallSites` at all.

Not here: telling it (``reference_report``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from trayray.model.settings import switch
from trayray.worker.current import actor_self, running

if TYPE_CHECKING:
    from trayray.worker.references import ObjectRef

#: What precedes the lines, as in Ray.
PUT, TASK_CALL, ACTOR_CALL = "(put object) ", "(task call) ", "(actor call) "
#: So many lines are recorded, the innermost first, as in Ray.
_MOST_LINES: Final = 3
#: What calls user code: nothing of the user's is beyond.
_MACHINERY: Final = frozenset({"trio", "asyncio", "concurrent", "threading", "runpy"})
#: Where this package's own code lies.
_PACKAGE: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


def recorder() -> CallSites | None:
    """A process's call sites, None unless ``TRAYRAY_record_ref_creation_sites=1`` (or ``RAY_...``) asks for them.

    Raises:
        ValueError: the variable is neither yes nor no.
    """
    return CallSites() if switch("record_ref_creation_sites", False) else None


class CallSites:
    """The call sites of one process's references, each kept as long as its reference; for any thread."""

    def __init__(self) -> None:
        self._sites: WeakKeyDictionary[ObjectRef[Any], str] = WeakKeyDictionary()

    def made(self, what: str, refs: Iterable[ObjectRef[Any]]) -> None:
        """The calling thread's user code has just made ``refs`` by ``what``."""
        site = sys.intern(f"{what} | {_lines(sys._getframe(1))}")  # a loop makes the same one again and again
        for ref in refs:
            self._sites[ref] = site

    def adopted(self, ref: ObjectRef[Any], *, argument: bool) -> None:
        """``ref`` has come from elsewhere, inside an argument of the call that runs or another value."""
        site = _of_argument() if argument else _lines(sys._getframe(1))
        if site:
            self._sites[ref] = sys.intern(site)

    def of(self, ref: ObjectRef[Any]) -> str:
        """Where ``ref`` was made; empty if no code of the user's was running then."""
        return self._sites.get(ref, "")


def _of_argument() -> str:
    task, actor = running.get(), actor_self()
    if task is None:
        return ""
    if actor is not None:
        cls: Any = actor.instance.__class__
        return f"(deserialize actor task arg) {cls.__module__}.{cls.__qualname__}.{task.function_name}"
    if task.function_name == "__init__":  # an actor's constructor; a task's name would have its module in it
        return f"(deserialize actor task arg) {task.name}"
    return f"(deserialize task arg) {task.function_name}"


def _lines(frame: FrameType | None) -> str:
    """The innermost lines of the user's code: ``file:function:line``, with bars between."""
    lines: list[str] = []
    while frame is not None and len(lines) < _MOST_LINES:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            if str(frame.f_globals.get("__name__")).partition(".")[0] in _MACHINERY:
                break
            lines.append(f"{code.co_filename}:{code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " | ".join(lines)
