"""One end of a bidirectional stream: items on their way, credit, and whoever waits, in a thread or an event loop.

The same at the caller and in the worker. An item that has come is held like a result that nobody has asked for yet: by
a reference without a name, whose end frees what was stored and returns what was lent.
Not here: what users hold (``streams``), which call a message belongs to (``stream_calls``, ``actor_calls``), credit
(``core.stream_flow``).
"""

from __future__ import annotations

import select
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from trayray.core.stream_flow import Receiving, Sending, StreamFlow
from trayray.wire.serialization import Serialized, serialize
from trayray.wire.task_messages import StreamCredit, StreamEof, StreamItem, StreamMessage
from trayray.wire.values import INLINE, STORED, Value
from trayray.worker.awaiting import bring
from trayray.worker.call_values import take_result
from trayray.worker.cancelling import may_be_interrupted
from trayray.worker.objects import INLINE_BYTES
from trayray.worker.parking import Loop
from trayray.worker.references import AnyRef, ObjectRef
from trayray.worker.returns import lend_to

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

#: The id of items, which nobody refers to.
_ITEM = bytes(ObjectRef.size())

#: Whoever waits is told by a call of this: once, from any thread.
_Wake = Callable[[], object]


class Endpoint:
    """One end of the stream of one call. Any thread may use it."""

    def __init__(self, core: CoreWorker, task_id: bytes, window: int, *, opened: bool) -> None:
        """See `StreamFlow` for ``window`` and ``opened``."""
        self._core = core
        self._task_id = task_id
        self._flow = StreamFlow(window, opened=opened)
        self._lock = threading.Lock()
        self._inbox: deque[ObjectRef[Any]] = deque()
        self._receivers: list[_Wake] = []
        self._senders: list[_Wake] = []
        #: Nobody takes what comes any more: it is dropped.
        self._drops = False
        #: Makes the exception for those who use the stream when it is over; told whether they want to send.
        self._why: Callable[[bool], BaseException] | None = None
        #: The address of the other end's process, and how to send there; set before anything may be sent.
        self.other = ""
        self.transmit: Callable[[list[Any]], None]

    def check(self) -> None:
        """Raise AssertionError when the state is impossible; for tests."""
        with self._lock:
            self._flow.check_invariants()
            assert self._drops or len(self._inbox) == self._flow.waiting, "items were lost"

    # --- from the link ---

    def handle(self, message: StreamMessage) -> None:
        """The other end has sent something."""
        match message:
            case StreamItem(_, value, taken):
                self._arrive(value, taken)
            case StreamCredit(_, taken):
                self._credit(taken)
            case StreamEof(_, total):
                with self._lock:
                    self._flow.other_ended(total)
                    woken = self._take_waiters(self._receivers)
                _call_all(woken)

    def _arrive(self, value: Value, taken: int) -> None:
        item = AnyRef(_ITEM)
        take_result(self._core, item, value)
        report: int | None = None
        with self._lock:
            self._flow.credit(taken)
            self._flow.arrive()
            if self._drops:
                report = self._flow.report() if self._flow.take() else None
            else:
                self._inbox.append(item)
            woken = self._take_waiters(self._receivers) + self._take_waiters(self._senders)
        _call_all(woken)
        if report is not None:
            self.transmit([StreamCredit(self._task_id, report)])

    def _credit(self, taken: int) -> None:
        with self._lock:
            opens = not self._flow.is_open
            self._flow.credit(taken)
            woken = self._take_waiters(self._senders)
            total = self._flow.end() if opens and self._flow.has_ended else None
        _call_all(woken)
        if total is not None:  # that was said before anybody was there to hear it
            self.transmit([StreamEof(self._task_id, total)])

    def finish(self, why: Callable[[bool], BaseException]) -> None:
        """The call or its caller has ended: ``why`` makes the exception for those who still use the stream.

        Those who receive get it when they have taken what is there; it is told whether they want to send.
        """
        self._finish(why, at_once=False)

    def break_off(self, why: Callable[[bool], BaseException]) -> None:
        """As `finish`, at once: what is there is dropped."""
        self._finish(why, at_once=True)

    def _finish(self, why: Callable[[bool], BaseException], *, at_once: bool) -> None:
        with self._lock:
            self._flow.finish()
            self._why = self._why or why
            if at_once:
                self._drop_inbox()
            woken = self._take_waiters(self._receivers) + self._take_waiters(self._senders)
        _call_all(woken)

    def drop(self) -> None:
        """Nobody receives any more: what is there and what comes is dropped, so that the other end is not held up."""
        report: int | None = None
        with self._lock:
            if self._drop_inbox() and not self._flow.is_over:
                report = self._flow.report()
        if report is not None:
            self.transmit([StreamCredit(self._task_id, report)])

    def _drop_inbox(self) -> int:
        """Under the lock; how many items that were."""
        self._drops = True
        dropped = len(self._inbox)
        self._inbox.clear()
        for _ in range(dropped):
            self._flow.take()
        return dropped

    @staticmethod
    def _take_waiters(waiters: list[_Wake]) -> list[_Wake]:
        taken = waiters.copy()
        waiters.clear()
        return taken

    # --- what may be done now; raises if it never can ---

    def _may_send(self) -> bool:
        """Whether an item may go, which is counted."""
        with self._lock:
            match self._flow.sending():
                case Sending.GO:
                    self._flow.send()
                    return True
                case Sending.WAIT:
                    return False
                case Sending.ENDED:
                    raise trio.ClosedResourceError("send_eof() was called on this end of the stream")
                case Sending.OVER:
                    raise self._reason(sending=True)

    def _next(self) -> ObjectRef[Any] | None:
        """The next item, which stays where it is; None while there is none."""
        with self._lock:
            match self._flow.receiving():
                case Receiving.TAKE:
                    return self._inbox[0]
                case Receiving.WAIT:
                    return None
                case Receiving.ENDED:
                    raise trio.EndOfChannel("the other end of the stream sends no more")
                case Receiving.OVER:
                    raise self._reason(sending=False)

    def _take(self, item: ObjectRef[Any]) -> bool:
        """Take the next item; False when somebody else has."""
        report: int | None = None
        with self._lock:
            if not self._inbox or self._inbox[0] is not item:
                return False
            self._inbox.popleft()
            if self._flow.take() and not self._flow.is_over:
                report = self._flow.report()
        if report is not None:
            self.transmit([StreamCredit(self._task_id, report)])
        return True

    def _reason(self, *, sending: bool) -> BaseException:
        why = self._why
        assert why is not None, "a stream that is over knows why"
        return why(sending)

    # --- sending ---

    async def send(self, value: Any) -> None:
        """Send ``value`` when the other end has room for it; in an event loop, asyncio's or Trio's."""
        serialized = serialize(value)
        loop = Loop.here()
        await loop.may_begin()
        waited = False
        while not self._may_send():
            await self._park(loop, self._senders, self._cannot_send)
            waited = True
        if serialized.size > INLINE_BYTES or serialized.refs:
            # Room in the arena, and answers of owners, are waited for.
            await loop.in_thread(partial(self._pack_and_transmit, serialized))
            return
        self._transmit_item(Value(INLINE, serialized.to_bytes()))
        if not waited:
            await loop.has_not_waited()

    def send_blocking(self, value: Any) -> None:
        """Send ``value`` when the other end has room for it; blocks the calling thread."""
        serialized = serialize(value)
        while not self._may_send():
            self._block(self._senders, self._cannot_send)
        self._pack_and_transmit(serialized)

    def _pack_and_transmit(self, serialized: Serialized) -> None:
        try:
            value = self._packed(serialized)
        except BaseException:
            self._take_back()
            raise
        self._transmit_item(value)

    def _packed(self, serialized: Serialized) -> Value:
        core = self._core
        if serialized.size <= INLINE_BYTES:
            value = Value(INLINE, serialized.to_bytes())
        else:
            value = Value(STORED, b"", core.objects.write(serialized))
        if serialized.refs:
            value.refs = lend_to(core, serialized.refs, self.other)
        if value.place is not None:
            core.objects.seal([value.place], self.other)
        return value

    def _transmit_item(self, value: Value) -> None:
        with self._lock:
            taken = self._flow.report()
        self.transmit([StreamItem(self._task_id, value, taken)])

    def _take_back(self) -> None:
        """What was to be sent cannot be: somebody else may."""
        with self._lock:
            self._flow.take_back()
            ended = self._flow.has_ended and not self._flow.is_over
            total = self._flow.end() if ended else 0
            woken = self._take_waiters(self._senders)
        _call_all(woken)
        if ended:  # the other end waits for one item more than will come
            self.transmit([StreamEof(self._task_id, total)])

    def send_eof(self) -> None:
        """Say that this end sends no more. Does not wait; does nothing the second time, or when the stream is over."""
        with self._lock:
            if self._flow.has_ended or self._flow.is_over:
                return
            total = self._flow.end()
            opened = self._flow.is_open
            woken = self._take_waiters(self._senders)
        _call_all(woken)
        if opened:
            self.transmit([StreamEof(self._task_id, total)])

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._flow.is_over

    @property
    def has_sent_eof(self) -> bool:
        """Whether `send_eof` was called in time."""
        return self._flow.has_ended

    # --- receiving ---

    async def receive(self) -> Any:
        """The next item; in an event loop, asyncio's or Trio's."""
        loop = Loop.here()
        await loop.may_begin()
        waited = False
        while True:
            item = self._next()
            if item is None:
                await self._park(loop, self._receivers, self._cannot_receive)
                waited = True
                continue
            pin = self._core.objects.pin_if_away(item._value, item)
            if pin is not None:  # it was spilled; a cancellation meanwhile leaves it where it is
                await bring(self._core, pin)
            if self._take(item):
                if not waited:
                    await loop.has_not_waited()
                return self._core.objects.load(item)

    def receive_blocking(self) -> Any:
        """The next item; blocks the calling thread."""
        while True:
            item = self._next()
            if item is None:
                self._block(self._receivers, self._cannot_receive)
            elif self._take(item):
                return self._core.objects.load(item)

    # --- waiting ---

    def _cannot_send(self) -> bool:
        return self._flow.sending() is Sending.WAIT

    def _cannot_receive(self) -> bool:
        return self._flow.receiving() is Receiving.WAIT

    async def _park(self, loop: Loop, waiters: list[_Wake], blocked: Callable[[], bool]) -> None:
        """Wait in an event loop until something has changed."""
        parking = loop.parking()
        wake = parking.wake
        if not self._register(waiters, wake, blocked):
            return
        try:
            await parking.wait()
        finally:
            self._forget(waiters, wake)

    def _register(self, waiters: list[_Wake], wake: _Wake, blocked: Callable[[], bool]) -> bool:
        """Have ``wake`` called when something has changed; False when there is no need to wait."""
        with self._lock:
            waits = blocked()
            if waits:
                waiters.append(wake)
            return waits

    def _forget(self, waiters: list[_Wake], wake: _Wake) -> None:
        with self._lock:
            if wake in waiters:
                waiters.remove(wake)

    def _block(self, waiters: list[_Wake], blocked: Callable[[], bool]) -> None:
        executor = self._core.executor
        assert executor is not None, "only methods and tasks block"
        if executor.is_main_thread():  # which reads the links itself
            while blocked():
                executor.flush_all()
                executor._read_ready(_await_readable(executor._poller))
            return
        changed = threading.Event()
        if self._register(waiters, changed.set, blocked):
            try:
                _wait(changed)
            finally:
                self._forget(waiters, changed.set)


@may_be_interrupted
def _await_readable(poller: select.epoll) -> list[tuple[int, int]]:
    return poller.poll()


@may_be_interrupted
def _wait(changed: threading.Event) -> None:
    changed.wait()


def _call_all(woken: list[_Wake]) -> None:
    for wake in woken:
        wake()
