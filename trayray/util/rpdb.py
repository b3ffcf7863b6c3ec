"""Ray's ``ray.util.rpdb``: breakpoints in tasks, actors and drivers, reached by ``trayray debug``.

Not here: waiting and connecting (``worker.breakpoints``), the debugger (``worker.remote_pdb``).
"""

from __future__ import annotations

import sys
from types import TracebackType

from trayray.worker.breakpoints import examine, stop_at


def set_trace(breakpoint_uuid: str | bytes | None = None) -> None:
    """Stop here and wait until ``trayray debug`` connects a terminal; then it is Python's debugger.

    The program goes on when the debugger is left or its connection breaks. In a process that belongs to no cluster it
    is an ordinary ``pdb.set_trace()``.

    Args:
        breakpoint_uuid: Ray's; without effect: every stop gets an id of its own.
    """
    del breakpoint_uuid
    # Nothing may follow: the debugger would stop in it.
    return stop_at(sys._getframe(1))


def post_mortem(error: BaseException | TracebackType | None = None) -> None:
    """Wait until ``trayray debug`` connects, and let it look at where an exception was raised.

    Args:
        error: the exception, or its traceback; the one that is being handled when nothing is said.

    Raises:
        ValueError: there is no exception, or it was never raised.
    """
    exception = error if isinstance(error, BaseException) else sys.exception()
    traceback = error if isinstance(error, TracebackType) else exception and exception.__traceback__
    if traceback is None:
        raise ValueError("post_mortem() needs an exception that was raised: call it in an `except` block, or pass one")
    examine(exception or RuntimeError("an exception whose traceback was given"), traceback)


__all__ = ("post_mortem", "set_trace")
