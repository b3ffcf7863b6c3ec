"""The end of a call that somebody answers for: it says when it is ready, and ends after all that it has started.

Not here: what it has started (``child_scopes``), running its code (``execution``, ``async_execution``).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from trayray.wire.task_messages import METHOD, Closing
from trayray.worker.cancelling import may_be_interrupted
from trayray.worker.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from trayray.worker.calls import Call
    from trayray.worker.child_scopes import ChildScope
    from trayray.worker.yielding import Send


class RemoteTaskStatus:
    """What a function that was called by ``nursery.start`` gets as ``task_status``: it says that it is ready."""

    def __init__(self, call: Call, send: Send) -> None:
        self._call = call
        self._send = send
        self._said = False

    def started(self, value: Any = None) -> None:
        """The call is ready; ``value`` is what ``nursery.start`` returns.

        Raises:
            RuntimeError: it has said so before.
            TypeError: the value cannot be pickled.
        """
        if self._said:
            raise RuntimeError(f"{self._call.running.name}() has called task_status.started() before")
        message = self._call.started(value)
        self._said = True
        self._send([message])


def with_status(call: Call, kwargs: dict[str, Any], send: Send) -> dict[str, Any]:
    """The keyword arguments of a call whose caller waits until it is ready."""
    return {**kwargs, "task_status": RemoteTaskStatus(call, send)}


def open_children(call: Call, *, ok: bool) -> ChildScope | None:
    """What the call has to wait for now that its code has ended; None for nothing."""
    children = call.running.children
    if children is None or not children.is_open:
        return None
    if call.target.define.kind == METHOD:
        children.leave_actors()
        if ok:  # the actor goes on with what its method has started
            return None
    return children


def close_in_thread(call: Call, children: ChildScope, send: Send, *, ok: bool) -> None:
    """Wait in the calling thread until all that the call has started has ended."""
    over = threading.Event()
    send([Closing(call.push.task)])
    children.close(cancel=not ok, done=over.set)
    _wait(over.wait)


@may_be_interrupted
def _wait(wait: Callable[[], object]) -> None:
    """The process may be told to leave meanwhile."""
    wait()


async def close_in_loop(call: Call, children: ChildScope, send: Send, *, ok: bool) -> None:
    """The same in an event loop."""
    over = Wake()
    send([Closing(call.push.task)])
    children.close(cancel=not ok, done=over.set)
    await over.wait()
