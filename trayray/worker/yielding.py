"""Running a generator in a worker: its values sent as they come, not too far ahead of their consumer.

Not here: what arrives at the caller (``generators``), one value's layout (``calls``).
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakValueDictionary

import trio

from trayray.wire.task_messages import Done, Yielded
from trayray.worker.calls import Call
from trayray.worker.closing_async import closing_async

Send = Callable[[list[Any]], None]

#: More values than any generator yields: one that waits for its consumer goes on when it is told of so many.
EVERYTHING = 1 << 62


class Flow:
    """How far one generator may run ahead of its consumer (``_generator_backpressure_num_objects``)."""

    def __init__(self, limit: int, taken: int) -> None:
        self._limit = limit
        self._taken = taken
        self._lock = threading.Lock()
        self._go_on: Callable[[], object] | None = None

    def consumed(self, taken: int) -> None:
        """The consumer has taken so many values in all; from any thread."""
        with self._lock:
            self._taken = max(self._taken, taken)
            go_on, self._go_on = self._go_on, None
        if go_on is not None:
            go_on()

    def must_wait(self, produced: int, go_on: Callable[[], object]) -> bool:
        """Whether the next value has to wait after ``produced``; ``go_on`` is called when things have changed."""
        with self._lock:
            if not self._limit or produced - self._taken < self._limit:
                return False
            self._go_on = go_on
            return True


class Flows:
    """The generators that run in this worker and may have to wait."""

    def __init__(self) -> None:
        #: Held by their calls: what a consumer has taken counts when the generator is repeated, too.
        self._flows: WeakValueDictionary[bytes, Flow] = WeakValueDictionary()

    def consumed(self, task: bytes, taken: int) -> None:
        """A consumer has taken values; of a generator that has ended since, perhaps."""
        flow = self._flows.get(task)
        if flow is not None:
            flow.consumed(taken)

    def let_all_go(self) -> None:
        """Nobody consumes anything any more: generators that wait shall notice."""
        for flow in list(self._flows.values()):
            flow.consumed(EVERYTHING)

    def open(self, call: Call) -> Flow:
        """How far the generator of ``call`` may run ahead; the same each time that it is repeated."""
        flow = call.flow
        if flow is None:
            flow = call.flow = self._flows[call.push.task] = Flow(call.target.define.ahead, call.push.taken)
        return flow


def run_generator(
    call: Call,
    result: Any,
    send: Send,
    flows: Flows,
    pausing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Done:
    """Send what a generator yields; the reply that ends it. ``pausing`` surrounds waits for the consumer.

    Raises:
        Exception: what the generator raised, or why a value could not be packed.
    """
    call.begin_stream()
    flow = flows.open(call)
    try:
        for item in result:
            message = call.yielded(item)
            del item
            if message is not None:
                send([message])
            _pause(flow, call.produced or 0, pausing)
        return call.end_stream()
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()


def _pause(flow: Flow, produced: int, pausing: Callable[[], AbstractContextManager[None]]) -> None:
    changed = threading.Event()
    while flow.must_wait(produced, changed.set):
        with pausing():
            changed.wait()
        changed = threading.Event()


async def stepped(items: Iterator[Any]) -> AsyncGenerator[Any]:
    """A plain generator's values in an event loop, whose other tasks get their turns at each ``yield``."""
    try:
        for item in items:
            yield item
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


async def run_async_generator(call: Call, result: Any, send: Send, flows: Flows) -> Done:
    """`run_generator` for an async generator. The loop's other tasks run after each value, whatever it awaits."""
    call.begin_stream()
    flow = flows.open(call)
    async with closing_async(result):
        async for item in result:
            message: Yielded | None = call.yielded(item)
            del item
            if message is not None:
                send([message])
            await trio.lowlevel.checkpoint()
            await _pause_async(flow, call.produced or 0)
        return call.end_stream()


async def _pause_async(flow: Flow, produced: int) -> None:
    token = trio.lowlevel.current_trio_token()
    changed = trio.Event()
    while flow.must_wait(produced, lambda event=changed: token.run_sync_soon(event.set)):
        await changed.wait()
        changed = trio.Event()
