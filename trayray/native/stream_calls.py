"""A call with a stream at its caller: this end of the stream begins when the call is sent, and ends with its result.

Not here: the block (``streams``), what the stream's ends have in common (``worker.stream_endpoint``).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from trayray.link.port import Link, LinkClosed
from trayray.native.calls import RemoteCall, seconds_left
from trayray.native.failures import failure_of
from trayray.wire.task_messages import Push, TaskMessage
from trayray.wire.values import ERROR
from trayray.worker.stream_endpoint import Endpoint

if TYPE_CHECKING:
    from trayray.api.submission import CallShape
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.pending_task import PendingTask


class CallerEndpoint(Endpoint):
    """This process's end of the stream of a call that it makes. A `Conversation`."""

    def __init__(self, core: CoreWorker, call: PendingTask) -> None:
        window = call.template.define.window
        super().__init__(core, call.task_id, window, opened=False)
        self._call = call
        self._window = window
        self._link: Link[TaskMessage] | None = None
        #: The failure of the method was raised to somebody who uses the stream.
        self.has_told = False

    def begin(self, push: Push, link: Link[TaskMessage], address: str) -> None:
        """See `Conversation`."""
        push.window = self._window
        self._link = link
        self.other = address
        self.transmit = self._send

    def _send(self, messages: list[Any]) -> None:
        assert self._link is not None, "the call was sent"
        with suppress(LinkClosed):  # the process is gone: the end of the call follows, and says why
            self._link.send(messages)

    def call_ended(self) -> None:
        """The call has its result."""
        self.finish(self._reason_of_end)

    def _reason_of_end(self, sending: bool) -> BaseException:
        name = self._call.template.define.name
        failure = self.failure()
        if failure is not None:
            return failure
        if self.has_told:
            return trio.BrokenResourceError(f"{name}() has failed, which was raised before")
        if sending:
            return trio.BrokenResourceError(f"{name}() has returned, so that nobody receives this")
        return trio.EndOfChannel(f"{name}() has returned")

    def failure(self) -> BaseException | None:
        """What the method has raised, in a call that has ended; to be raised, for this tells it once."""
        value = self._call.returns[0]._value
        assert value is not None, "a call that has ended has its value"
        if value.kind != ERROR or self.has_told:
            return None
        self.has_told = True
        return failure_of(value)[0]


class StreamedCall(RemoteCall):
    """A call with a stream that this Trio task answers for."""

    def __init__(self) -> None:
        super().__init__(seconds_left())
        self.endpoint: CallerEndpoint

    def check(self, shape: CallShape, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        shape.check_stream()
        shape.check((None, *args), kwargs)

    def made(self, call: PendingTask) -> None:
        super().made(call)
        call.retries = 0  # what was sent and received cannot be repeated
        self.endpoint = CallerEndpoint(self._core, call)
        call.conversation = self.endpoint

    def ended(self, call: PendingTask) -> None:
        self.endpoint.call_ended()
        super().ended(call)

    async def end(self) -> None:
        """Cancel the call and wait until it has ended with all that it has started."""
        with trio.CancelScope() as scope:
            scope.cancel()
            await self.gone()

    async def result(self) -> Any:
        """What a call returned that has ended without an error; a tuple of values for several returns."""
        refs = self._call.returns
        if self._call.template.define.num_returns == 0:
            return None
        return await refs[0] if len(refs) == 1 else tuple([await ref for ref in refs])
