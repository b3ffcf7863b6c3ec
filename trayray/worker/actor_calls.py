"""The caller's side of actor calls: queued until the actor runs, sent in submission order, resolved or failed.

Runs in the loop's thread. A caller sends its calls over one link, whose order is the order of execution for plain
actors; which may be sent is decided in ``core.call_order``.
Not here: creating actors (``actor_creation``), execution (``execution``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from trayray.core.call_ledger import CallLedger, Life
from trayray.core.call_order import Arguments
from trayray.core.cancellation import Step
from trayray.exceptions import (
    ActorDiedError,
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    ActorUnschedulableError,
    RayError,
    RayTaskError,
)
from trayray.link.port import Link, LinkClosed
from trayray.wire.actor_messages import ActorState, KillActor, WatchActor
from trayray.wire.peer_messages import Cancel, Reclaim
from trayray.wire.serialization import deserialize
from trayray.wire.task_messages import Closing, Done, Push, Started, StreamItem, StreamMessage, TaskMessage, Yielded
from trayray.wire.values import ERROR, Value
from trayray.worker.call_values import argument_values, arguments_ready, drop_results
from trayray.worker.cancel_ladder import cancelled_error
from trayray.worker.mailbox import Mailbox
from trayray.worker.pending_task import PendingTask, TaskTemplate, described_site
from trayray.worker.references import ObjectRef, error_value

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

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
        #: Templates of its methods' calls, by method and, where a call had options, everything that these can say.
        self.templates: dict[tuple[Any, ...], TaskTemplate] = {}
        #: Asynchronous and threaded actors have no order of execution that sending could keep.
        self.calls: CallLedger[ActorCall] = CallLedger(ordered=ordered)
        #: Cancelled calls that still run: the actor holds their references in this process's name until it replies.
        self._settled: dict[bytes, ActorCall] = {}
        self._progress = 0.0
        self._poked = False
        #: Who wants to hear of the actor's life.
        self._watching: list[Callable[[ActorState], None]] = []
        #: What this process may have there at a time.
        self.mailbox = Mailbox(core, actor_id, self.calls)

    def submit(self, call: ActorCall) -> None:
        if self.mailbox.handed_over:
            self.mailbox.handed_over -= 1
        self._core.actors.pending[call.task_id] = call
        if not self.calls.submit(call):
            self._fail(call, self._reason(call))
            return
        self._core.actors.dirty.add(self)
        if call.args:
            arguments_ready(self._core, call.args, lambda _: self._argument_came(), call)

    def _argument_came(self) -> None:
        self._core.actors.dirty.add(self)

    def changed(self, state: ActorState) -> None:
        """The GCS says what has become of the actor."""
        life = Life(state.state)
        left = self.address
        if life is Life.DEAD or self.calls.process_ended(state.incarnation):
            self.take_last_replies()
            for call in self.calls.in_flight.values() if left else ():  # those that are sent again too
                call.lost_at += (left,)
            self._disconnect()
            self._settled.clear()
        self._state = state
        for call in self.calls.changed(life, state.incarnation):
            if not (call.cancelled and self._core.cancellations.lost(call.task_id, ran=True)):
                self._fail(call, self._reason(call))
        self._core.actors.dirty.add(self)
        for watch in list(self._watching):
            watch(state)

    def watch(self, changed: Callable[[ActorState], None]) -> None:
        """Have ``changed`` called with the actor's state, if it is known, and at each change; in the loop's thread."""
        self._watching.append(changed)
        if self._state is not None:
            changed(self._state)

    def unwatch(self, changed: Callable[[ActorState], None]) -> None:
        """The end of `watch`; what is not watched is left alone."""
        if changed in self._watching:
            self._watching.remove(changed)

    def _reason(self, call: ActorCall) -> RayError:
        """Why a call fails, in the actor's present state."""
        state = self._state
        assert state is not None
        if self.calls.life is not Life.DEAD:
            return ActorUnavailableError(f"it restarts, because {state.cause}", self._actor_id)
        cause = deserialize(state.error) if state.error else None
        if isinstance(cause, ActorUnschedulableError | ActorPlacementGroupRemoved):
            return cause
        return ActorDiedError(
            cause if isinstance(cause, RayTaskError) else None,
            actor_id=self._actor_id.hex(),
            error_msg=f"{state.cause} The call {call.template.define.name}(){described_site(call)} failed with it.",
            actor_init_failed=bool(state.error),
        )

    def flush(self) -> None:
        """Send what can be sent."""
        calls, failed = self.calls.take_sendable(_arguments_of)
        for call in failed:
            error = _failed_argument(call)
            assert error is not None
            self._core.actors.pending.pop(call.task_id, None)
            call.fail(self._core, error)
        if failed:
            self.mailbox.freed()
        if not calls:
            return
        link = self._link
        if link is None or link.closed:
            assert self._state is not None
            link = self._connect(self._state.address)
            if link is None:  # just died; the state follows, and decides about these calls
                return
        self._send(link, calls)

    def push_directly(self, call: ActorCall) -> bool:
        """Send a call without arguments to wait for, if nothing is before it; under `CoreWorker.state_lock`."""
        link = self._link
        if not self.calls.idle or link is None or link.closed:
            return False
        if self.mailbox.handed_over:
            self.mailbox.handed_over -= 1
        self._core.actors.pending[call.task_id] = call
        self.calls.send_directly(call)
        self._send(link, (call,))
        return True

    def _send(self, link: Link[TaskMessage], calls: Sequence[ActorCall]) -> None:
        messages: list[Any] = []
        if len(self.calls.in_flight) == len(calls):
            self._progress = self._core.now()
        for call in calls:
            define = call.template.define
            if define.call not in self._defined:
                self._defined.add(define.call)
                messages.append(define)
            push = Push(call.task_id, define.call, call.payload, argument_values(self._core, call.args))
            if define.retry_on:
                push.repeats = call.retries
            if call.stream is not None:
                push.skip, push.taken = call.stream.received, call.stream.taken
            if call.deadline is not None:
                call.stamp(push, self._core.now())
                if call.conversation is not None:
                    assert self._state is not None
                    call.conversation.begin(push, link, self._state.address)
            messages.append(push)
        if self.is_pipelined:
            self._core.actors.pipelined.add(self)
        # A process that is gone may have answered calls before: its last replies are read when the GCS says so.
        with suppress(LinkClosed):
            link.send(messages)

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
                    self._take(messages)

    def _take(self, messages: list[TaskMessage]) -> None:
        for message in messages:
            if type(message) is Done:
                self._finished(message)
            elif type(message) is Yielded:
                call = self.calls.in_flight.get(message.task)
                if call is not None and call.stream is not None and self._state is not None:
                    call.stream.arrive(message.index, message.value, self._state.address)
                else:
                    drop_results(self._core, [message.value])
            elif type(message) is Started:
                call = self.calls.in_flight.get(message.task)
                if call is not None:
                    call.started(self._core, message.value)
                else:
                    drop_results(self._core, [message.value])
            elif type(message) is Closing:
                self._core.cancellations.closing(self.calls.in_flight.get(message.task))
            elif isinstance(message, StreamMessage):
                call = self.calls.in_flight.get(message.task)
                if call is not None and call.conversation is not None:
                    call.conversation.handle(message)
                elif type(message) is StreamItem:
                    drop_results(self._core, [message.value])

    @property
    def address(self) -> str:
        """Where the actor runs, empty for nowhere."""
        return "" if self._state is None else self._state.address

    def take_last_replies(self) -> None:
        """Replies sent before the end have arrived by now, though the news of the end came by another link."""
        while self._link is not None and (messages := self._link.receive_nowait()):
            self._take(messages)

    def _finished(self, message: Done) -> None:
        core = self._core
        call = self.calls.finished(message.task)
        if message.kept and self._state is not None:
            core.references.lend(message.kept, self._state.address)
        if call is None:
            self._settled.pop(message.task, None)
            drop_results(core, message.results)
            return
        core.actors.pending.pop(call.task_id, None)
        call.finish(core, message)
        if self.mailbox.waiting:
            self.mailbox.freed()

    def _fail(self, call: ActorCall, error: BaseException) -> None:
        self._core.actors.pending.pop(call.task_id, None)
        call.fail(self._core, error_value(error))
        self.mailbox.freed()

    def tick(self, now: float) -> None:
        """Ask a silent actor for replies that it may be holding back."""
        if self.is_pipelined and not self._poked and now - self._progress >= _STALL_SECONDS:
            self._poked = True
            if self._state is not None and self.calls.life is Life.ALIVE:
                self._core.peers.send(self._state.address, [Reclaim()])

    @property
    def is_pipelined(self) -> bool:
        """Whether several calls are in flight."""
        return len(self.calls.in_flight) > 1

    def next_deadline(self) -> float | None:
        if self.is_pipelined and not self._poked:
            return self._progress + _STALL_SECONDS
        return None

    def cancel(self, call: ActorCall, *, recursive: bool) -> None:
        """Cancel a call: one that was not sent never is, a sent one is the worker's to end."""
        if call.cancelled:
            return
        call.cancelled = True
        call.retries = 0
        if self.calls.withdraw(call):
            self.settle(call, Step.PENDING)
            self._core.actors.dirty.add(self)
        elif call.task_id in self.calls.in_flight:
            self._core.cancellations.begin(call, self, force=False, recursive=recursive)

    def settle(self, call: PendingTask, step: Step) -> None:
        """See `Carrier`."""
        in_flight = self.calls.finished(call.task_id)
        if in_flight is not None:
            self._settled[call.task_id] = in_flight
        self._core.actors.pending.pop(call.task_id, None)
        call.fail(self._core, error_value(cancelled_error(call.task_id, step)))
        self.mailbox.freed()

    def ask(self, call: PendingTask, message: Cancel) -> None:
        """See `Carrier`."""
        if self._state is not None and self.calls.life is Life.ALIVE:
            self._core.peers.send(self._state.address, [message])

    def runs(self, call: PendingTask) -> bool:
        """See `Carrier`. Calls without an order run whenever the actor has them."""
        return not self.calls.ordered or next(iter(self.calls.in_flight), None) == call.task_id

    def kill(self, call: PendingTask, reason: str) -> None:
        """See `Carrier`."""
        if self._state is not None and self.calls.life is Life.ALIVE:
            self._core.to_node([KillActor(self._actor_id, self._state.incarnation, reason)])


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

    def take_last_results(self, address: str) -> None:
        """Take in all that the actor at ``address``, whose process is gone, has sent."""
        for client in list(self._clients.values()):
            if client.address == address:
                client.take_last_replies()

    def nothing_comes(self) -> None:
        """No call will be answered any more: whoever waits for room is told."""
        for client in list(self._clients.values()):
            client.mailbox.freed()

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
