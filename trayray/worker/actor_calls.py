"""The caller's side of actor calls: queued until the actor runs, sent in submission order, resolved or failed.

Runs in the loop's thread. A caller sends its calls over one link, whose order is the order of execution for plain
actors; which may be sent is decided in ``core.call_order``.
Not here: creating actors (``actor_creation``), execution (``execution``).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trayray.core.call_order import Arguments, CallOrder
from trayray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError, TaskCancelledError
from trayray.link.port import Link, LinkClosed
from trayray.model.ids import TaskID
from trayray.wire.messages import (
    ERROR,
    ActorState,
    Cancel,
    Done,
    Push,
    Reclaim,
    TaskMessage,
    Value,
    WatchActor,
)
from trayray.wire.serialization import deserialize
from trayray.worker.references import ObjectRef
from trayray.worker.tasks import PendingTask, TaskTemplate, described_site

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

#: States of an actor as the GCS announces them.
ALIVE, DEAD = "ALIVE", "DEAD"
#: Calls in flight that make no progress for so long: the actor is asked to send what replies it holds back.
_STALL_SECONDS = 0.005


class ActorCall(PendingTask):
    """A call of an actor's method that has not finished, at its caller."""

    __slots__ = ("client", "handle_ref")

    def __init__(
        self,
        task_id: bytes,
        template: TaskTemplate,
        payload: bytes,
        args: list[ObjectRef[Any]] | None,
        refs: list[ObjectRef[Any]] | None,
        returns: list[ObjectRef[Any]],
        handle_ref: ObjectRef[Any] | None,
        client: ActorClient,
    ) -> None:
        super().__init__(task_id, template, payload, args, refs, returns)
        self.client = client
        #: Keeps the actor alive until the call has finished.
        self.handle_ref = handle_ref

    def push_directly(self, core: CoreWorker) -> bool:
        return self.client.push_directly(self)


class ActorClient:
    """One actor as this process calls it."""

    def __init__(self, core: CoreWorker, actor_id: bytes, *, ordered: bool) -> None:
        self._core = core
        self._actor_id = actor_id
        self._state: ActorState | None = None
        self._link: Link[TaskMessage] | None = None
        self._defined: set[int] = set()
        #: Templates of its methods' calls, by method, shown name, number of returns, concurrency group and retries.
        self.templates: dict[tuple[str, str, int, str, int], TaskTemplate] = {}
        #: Not sent yet. Asynchronous and threaded actors have no order of execution that sending could keep.
        self._queue: CallOrder[ActorCall] = CallOrder(ordered=ordered)
        #: Sent and unanswered, in the order sent.
        self._in_flight: dict[bytes, ActorCall] = {}
        self._progress = 0.0
        self._poked = False

    def submit(self, call: ActorCall) -> None:
        self._core.actors.pending[call.task_id] = call
        if self._dead is not None:
            self._fail(call, self._death(call))
            return
        self._queue.submit(call)
        self._core.actors.dirty.add(self)
        if call.args:
            self._core.arguments_ready(call.args, lambda _: self._argument_came(), call)

    def _argument_came(self) -> None:
        self._core.actors.dirty.add(self)

    @property
    def _dead(self) -> ActorState | None:
        return self._state if self._state is not None and self._state.state == DEAD else None

    def changed(self, state: ActorState) -> None:
        """The GCS says what has become of the actor."""
        before = self._state
        self._state = state
        if before is not None and before.incarnation != state.incarnation:
            self._take_last_replies()
            self._disconnect()
            self._lost_with_process()
        if state.state == DEAD:
            self._take_last_replies()
            self._disconnect()
            waiting = [*self._in_flight.values(), *self._queue.take_all()]
            self._in_flight.clear()
            for call in waiting:
                self._fail(call, self._death(call))
        else:
            self._core.actors.dirty.add(self)

    def _lost_with_process(self) -> None:
        """The actor restarts: calls it had are sent again, in order, or fail because they may have run."""
        again: list[ActorCall] = []
        for call in self._in_flight.values():
            if call.retries:
                call.retries -= 1
                again.append(call)
            else:
                cause = self._state.cause if self._state is not None else "its process has ended"
                self._fail(call, ActorUnavailableError(cause, self._actor_id))
        self._in_flight.clear()
        self._queue.resubmit(again)

    def _death(self, call: ActorCall) -> ActorDiedError:
        state = self._dead
        assert state is not None
        cause = deserialize(state.error) if state.error else None
        return ActorDiedError(
            cause if isinstance(cause, RayTaskError) else None,
            actor_id=self._actor_id.hex(),
            error_msg=f"{state.cause} The call {call.template.define.name}(){described_site(call)} failed with it.",
            actor_init_failed=bool(state.error),
        )

    def flush(self) -> None:
        """Send what can be sent."""
        state = self._state
        if not self._queue or state is None or state.state != ALIVE:
            return
        calls = self._take_sendable()
        if not calls:
            return
        link = self._link
        if link is None or link.closed:
            link = self._connect(state.address)
            if link is None:  # just died; the state follows, and decides about these calls
                self._in_flight.update((call.task_id, call) for call in calls)
                return
        self._send(link, calls)

    def push_directly(self, call: ActorCall) -> bool:
        """Send a call without arguments to wait for, if nothing is before it; under `CoreWorker.state_lock`."""
        link, state = self._link, self._state
        if self._in_flight or self._queue or link is None or link.closed or state is None or state.state != ALIVE:
            return False
        self._core.actors.pending[call.task_id] = call
        self._send(link, (call,))
        return True

    def _send(self, link: Link[TaskMessage], calls: Sequence[ActorCall]) -> None:
        messages: list[Any] = []
        if not self._in_flight:
            self._progress = self._core.now()
        for call in calls:
            define = call.template.define
            if define.call not in self._defined:
                self._defined.add(define.call)
                messages.append(define)
            self._in_flight[call.task_id] = call
            messages.append(Push(call.task_id, define.call, call.payload, self._core.argument_values(call.args)))
        if self.is_pipelined:
            self._core.actors.pipelined.add(self)
        try:
            link.send(messages)
        except LinkClosed:
            link.close()

    def _take_sendable(self) -> list[ActorCall]:
        calls, failed = self._queue.take_sendable(_arguments_of)
        for call in failed:
            error = _failed_argument(call)
            assert error is not None
            self._core.actors.pending.pop(call.task_id, None)
            for ref in call.returns:
                self._core.references.complete(ref, error)
        return calls

    def _connect(self, address: str) -> Link[TaskMessage] | None:
        try:
            link: Link[TaskMessage] = self._core.network.connect(address, "task", TaskMessage)
        except OSError:
            return None
        self._link = link
        self._defined = set()
        self._core.nursery.start_soon(self._serve, link)
        return link

    def _disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    async def _serve(self, link: Link[TaskMessage]) -> None:
        async with self._core.link_scope(link):
            while messages := await link.receive():
                with self._core.state_lock:
                    self._progress = self._core.now()
                    self._poked = False
                    for message in messages:
                        if isinstance(message, Done):
                            self._finished(message)

    def _take_last_replies(self) -> None:
        """Replies sent before the end have arrived by now, though the news of the end came by another link."""
        while self._link is not None and not self._link.closed and (messages := self._link.receive_nowait()):
            for message in messages:
                if isinstance(message, Done):
                    self._finished(message)

    def _finished(self, message: Done) -> None:
        core = self._core
        call = self._in_flight.pop(message.task, None)
        if call is None:
            return
        core.actors.pending.pop(call.task_id, None)
        if message.kept and self._state is not None:
            core.references.lend(message.kept, self._state.address)
        for ref, value in zip(call.returns, message.results, strict=True):
            core.take_result(ref, value)

    def _fail(self, call: ActorCall, error: BaseException) -> None:
        self._core.actors.pending.pop(call.task_id, None)
        for ref in call.returns:
            self._core.references.fail(ref, error)

    def tick(self, now: float) -> None:
        """Ask a silent actor for replies that it may be holding back."""
        if self.is_pipelined and not self._poked and now - self._progress >= _STALL_SECONDS:
            self._poked = True
            if self._state is not None and self._state.state == ALIVE:
                self._core.peers.send(self._state.address, [Reclaim()])

    @property
    def is_pipelined(self) -> bool:
        """Whether several calls are in flight."""
        return len(self._in_flight) > 1

    def next_deadline(self) -> float | None:
        if self.is_pipelined and not self._poked:
            return self._progress + _STALL_SECONDS
        return None

    def cancel(self, call: ActorCall, *, recursive: bool) -> None:
        """Cancel a call: one that was not sent never is, a sent one is left to the actor."""
        if self._queue.withdraw(call):
            self._fail(call, TaskCancelledError(TaskID(call.task_id)))
            self._core.actors.dirty.add(self)
        elif call.task_id in self._in_flight and self._state is not None and self._state.state == ALIVE:
            self._core.peers.send(self._state.address, [Cancel(call.task_id, False, recursive)])


def _failed_argument(call: ActorCall) -> Value | None:
    return next((r._value for r in call.args or () if r._value is not None and r._value.kind == ERROR), None)


def _arguments_of(call: ActorCall) -> Arguments:
    if not call.args:
        return Arguments.READY
    if any(ref._value is None for ref in call.args):
        return Arguments.MISSING
    return Arguments.READY if _failed_argument(call) is None else Arguments.FAILED


class ActorCalls:
    """All actors that this process calls."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._clients: dict[bytes, ActorClient] = {}
        self._lock = threading.Lock()
        #: Clients that may have something to send.
        self.dirty: set[ActorClient] = set()
        #: Clients with several calls in flight, whose replies the actor may hold back.
        self.pipelined: set[ActorClient] = set()
        self.pending: dict[bytes, ActorCall] = {}

    def client(self, actor_id: bytes, *, ordered: bool) -> ActorClient:
        """The client of an actor, from any thread; the first use asks the node to report the actor's state."""
        client = self._clients.get(actor_id)
        if client is None:
            with self._lock:
                client = self._clients.setdefault(actor_id, ActorClient(self._core, actor_id, ordered=ordered))
            self._core.call_soon(self._core.to_node, [WatchActor(actor_id)])
        return client

    def changed(self, state: ActorState) -> None:
        client = self._clients.get(state.actor)
        if client is not None:
            client.changed(state)
        self._core.creations.changed(state)

    def flush(self) -> None:
        while self.dirty:
            self.dirty.pop().flush()

    def tick(self, now: float) -> None:
        for client in list(self.pipelined):
            client.tick(now)

    def next_deadline(self) -> float | None:
        self.pipelined = {client for client in self.pipelined if client.is_pipelined}
        deadlines = [d for d in (client.next_deadline() for client in self.pipelined) if d is not None]
        return min(deadlines, default=None)

    def cancel(self, call: ActorCall, *, recursive: bool) -> None:
        for client in list(self._clients.values()):
            client.cancel(call, recursive=recursive)
        self.flush()
