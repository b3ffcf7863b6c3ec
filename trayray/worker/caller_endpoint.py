"""The caller's end of a stream: it begins with the call, and ends with the call's result or error.

Not here: what it shares with the worker's end (``stream_endpoint``), the caller's block (``native.streams``).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from trayray.exceptions import RayTaskError, TaskCancelledError
from trayray.link.port import Link, LinkClosed
from trayray.wire.messages import ERROR, Push, TaskMessage, Value
from trayray.wire.serialization import deserialize
from trayray.worker.references import ObjectRef
from trayray.worker.stream_endpoint import Endpoint

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker


class CallerEndpoint(Endpoint):
    """This process's end of the stream of a call that it makes."""

    def __init__(self, core: CoreWorker, task_id: bytes, window: int, result: ObjectRef[Any]) -> None:
        """``result`` is what the call returns."""
        super().__init__(core, task_id, window, opened=False)
        self.result = result
        self._window = window
        self._raised = False
        self._link: Link[TaskMessage] | None = None

    def begin(self, push: Push, link: Link[TaskMessage], address: str) -> None:
        """The call is being sent over ``link`` to the process at ``address``."""
        push.window = self._window
        self._link = link
        self.other = address
        self.transmit = self._send

    def _send(self, messages: list[Any]) -> None:
        assert self._link is not None, "the call was sent"
        # A worker that is gone: the end of the call follows, and says why.
        with suppress(LinkClosed):
            self._link.send(messages)

    def call_ended(self) -> None:
        """The call has a result, or an error."""
        self.finish(self._reason_of_end)

    def _reason_of_end(self, sending: bool) -> BaseException:
        value = self.result._value
        assert value is not None, "a call that has ended has a result"
        if value.kind == ERROR:
            if not self._raised:
                self._raised = True
                return own_exception(value)
            return trio.BrokenResourceError("the method at the other end of the stream has failed, as was raised before")
        if sending:
            return trio.BrokenResourceError("the method at the other end of the stream has returned")
        return trio.EndOfChannel("the method at the other end of the stream has returned")

    def failure(self) -> BaseException | None:
        """What the method has raised, if nobody was told yet; a cancellation that this end has asked for is no failure.

        The call has ended.
        """
        value = self.result._value
        assert value is not None, "a call that has ended has a result"
        if value.kind != ERROR or self._raised:
            return None
        self._raised = True
        return own_exception(value)


def own_exception(value: Value) -> BaseException:
    """What an error value stands for, as the remote code raised it: with the remote traceback as a note."""
    error = deserialize(value.data)
    if not isinstance(error, RayTaskError) or not isinstance(error.cause, Exception):
        return error
    own = error.cause
    own.add_note(f"Raised in {str(error).rstrip()}")
    own.__cause__ = error
    return own


def is_cancellation(error: BaseException | None) -> bool:
    """Whether the call has ended because it was cancelled."""
    return isinstance(error, TaskCancelledError)
