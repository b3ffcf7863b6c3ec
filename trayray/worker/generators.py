"""Generators at the owner of their call: values as they arrive, and the iterator that hands their references out.

The reference of the value that comes next always exists, without a value: whoever waits for the next item waits for
that, in whatever way a reference can be waited for; the end of the stream is its value too.
Not here: running a generator (``yielding``).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar, final

from trayray.exceptions import RaySystemError
from trayray.model.ids import object_id
from trayray.wire.peer_messages import Consumed
from trayray.wire.serialization import serialize
from trayray.wire.values import END, ERROR, INLINE, Value
from trayray.worker.awaiting import await_ready
from trayray.worker.call_values import take_result
from trayray.worker.references import ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

T_co = TypeVar("T_co", covariant=True)

#: Index of the first value among a task's objects; before it comes the reference of the task's end.
_FIRST: Final = 2
_END_VALUE: Final = Value(END)
_NIL: Final = b"\xff" * ObjectRef.size()
#: Told to an executor whose consumer has gone: it need not wait for it any more.
_ALL: Final = 1 << 62


class Stream:
    """The values of one generator. The loop's thread adds them, any thread takes them; guarded by the table's lock."""

    def __init__(self, core: CoreWorker, task_id: bytes, *, limited: bool, gathered: bool) -> None:
        self.core = core
        self.task_id = task_id
        #: Values that have arrived, and how many of them were taken.
        self.received = 0
        self.taken = 0
        #: The process that runs the generator, once it has sent something.
        self.address = ""
        #: The executor waits for its consumer.
        self._limited = limited
        #: All references become the value of one (``num_returns="dynamic"``).
        self._gathered = gathered
        self._abandoned = False
        #: What the generator has raised, once it has.
        self.failure: Value | None = None
        #: References that nobody has taken; the last one stands for what comes next.
        self._items: deque[ObjectRef[Any]] = deque([self._placeholder()])

    def _placeholder(self) -> ObjectRef[Any]:
        return ObjectRef(object_id(self.task_id, _FIRST + self.received))

    # --- the loop's thread ---

    def arrive(self, index: int, value: Value, address: str) -> None:
        """The generator has yielded; a value that a repeated run yields again is dropped."""
        self.address = address
        with self.core.references.lock:
            dropped = index < self.received or self._abandoned
            self.received = max(self.received, index + 1)
            if dropped:
                ref = self._placeholder()  # held by nobody: what was stored is freed
            else:
                ref = self._items[-1]
                self._items.append(self._placeholder())
        take_result(self.core, ref, value)
        if dropped:
            self._report()  # the executor may wait for what was taken, or given up, before it was known where it is

    def finish(self, completed: ObjectRef[Any], result: Value, *, mid_stream: bool) -> None:
        """The call has ended, with an error perhaps: ``completed`` is its own reference.

        ``mid_stream`` tells an exception of the generator's body, which comes after the values that it has yielded;
        the call has then ended like one that returns.
        """
        failed = result.kind == ERROR
        if failed:
            self.failure = result
        if failed and (mid_stream or not self._gathered):
            self.arrive(self.received, result, self.address)
        if self._gathered and (mid_stream or not failed):
            result = self._gather(completed)
        elif failed and mid_stream:
            result = Value(INLINE, serialize(None).to_bytes())
        take_result(self.core, completed, result)
        self._limited = False  # nobody waits for what is taken from now on
        with self.core.references.lock:
            last = self._items[-1] if self._items else None
        if last is not None:
            self.core.references.complete(last, _END_VALUE)

    def _gather(self, completed: ObjectRef[Any]) -> Value:
        with self.core.references.lock:
            refs = list(self._items)[:-1]
            self._items.clear()
            self._abandoned = True
        serialized = serialize(DynamicObjectRefGenerator(refs))
        completed._nested = refs
        return Value(INLINE, serialized.to_bytes())

    def abandon(self) -> None:
        """Nobody will take any more: what is here is freed, what comes too."""
        with self.core.references.lock:
            self._abandoned = True
            self._items.clear()
        self.taken = _ALL
        self._report()

    def _report(self) -> None:
        if self._limited and self.address and self.core.lost is None:
            self.core.peers.send(self.address, [Consumed(self.task_id, self.taken)])

    # --- consumers ---

    def head(self) -> ObjectRef[Any]:
        """The reference that comes next; its value may be yet to come, or be the end."""
        return self._items[0]

    def take(self, head: ObjectRef[Any]) -> bool:
        """Take ``head``, which has a value; False when somebody else was quicker."""
        with self.core.references.lock:
            if self._items[0] is not head:
                return False
            self._items.popleft()
            self.taken += 1
        if self._limited:
            self.core.call_soon(self._report)
        return True


def is_end(ref: ObjectRef[Any]) -> bool:
    """Whether ``ref`` stands for the end of a stream."""
    return ref._value is not None and ref._value.kind == END


@final
class ObjectRefGenerator(Generic[T_co]):
    """The references of the values that a generator task or method yields, in order, each as soon as it is there.

    Iterate with ``for`` or ``async for`` (asyncio and Trio), ``next`` or ``anext``; ``wait`` takes it beside references
    and says whether `next` would return at once. An exception in the generator is the value of one more reference, the
    last one. Values that were not taken are freed with this object; the task runs to its end all the same.
    """

    __slots__ = ("__weakref__", "_completed", "_stream")

    def __init__(self, stream: Stream, completed: ObjectRef[None]) -> None:
        self._stream = stream
        self._completed = completed

    def __iter__(self) -> Iterator[ObjectRef[T_co]]:
        return self

    def __next__(self) -> ObjectRef[T_co]:
        return self._next_sync()

    def _next_sync(self, timeout_s: float | None = None) -> ObjectRef[T_co]:
        """The next reference; the nil reference when there is none after ``timeout_s`` seconds (Ray's way to say so).

        Raises:
            StopIteration: there are no more.
        """
        stream = self._stream
        while True:
            head = stream.head()
            if head._value is None and not stream.core.objects.wait([head], 1, timeout_s)[0]:
                return ObjectRef(_NIL)
            if is_end(head):
                raise StopIteration
            if stream.take(head):
                return head

    def __aiter__(self) -> AsyncIterator[ObjectRef[T_co]]:
        return self

    async def __anext__(self) -> ObjectRef[T_co]:
        return await self._next_async()

    async def _next_async(self, timeout_s: float | None = None) -> ObjectRef[T_co]:
        """`_next_sync` for event loops, asyncio's and Trio's.

        Raises:
            StopAsyncIteration: there are no more.
        """
        stream = self._stream
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            head = stream.head()
            left = None if deadline is None else deadline - time.monotonic()
            if not await await_ready(stream.core, head, left):
                return ObjectRef(_NIL)
            if is_end(head):
                raise StopAsyncIteration
            if stream.take(head):
                return head

    def completed(self) -> ObjectRef[None]:
        """A reference that is ready when the task has ended; getting it raises what the generator raised."""
        return self._completed

    def next_ready(self) -> bool:
        """Whether `next` returns a reference at once; after the last one it does not."""
        head = self._stream.head()
        return head._value is not None and not is_end(head)

    def is_finished(self) -> bool:
        """Whether every value was taken and no more will come."""
        return is_end(self._stream.head())

    def send(self, value: object) -> NoReturn:
        """Not there: a remote generator takes no values."""
        raise NotImplementedError("`gen.send` is not supported: a remote generator takes no values.")

    def throw(self, value: object) -> NoReturn:
        """Not there: cancel the generator instead."""
        raise NotImplementedError("`gen.throw` is not supported: use `cancel(gen)` to interrupt a remote generator.")

    def close(self) -> NoReturn:
        """Not there: cancel the generator, or drop it."""
        raise NotImplementedError("`gen.close` is not supported: use `cancel(gen)` to end a remote generator.")

    def asend(self, value: object) -> NoReturn:
        """Not there, as `send`."""
        self.send(value)

    def athrow(self, value: object) -> NoReturn:
        """Not there, as `throw`."""
        self.throw(value)

    def aclose(self) -> NoReturn:
        """Not there, as `close`."""
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "An ObjectRefGenerator cannot be serialized: it belongs to the process that made the call. Pass the "
            "references that it gives, or make the call where its values are used."
        )

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._completed.hex()})"

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)  # not set when __init__ was never reached
        if stream is not None:
            stream.core.dropped.add(stream.abandon)


@final
class DynamicObjectRefGenerator(Generic[T_co]):
    """The references of all values of a generator that was called with ``num_returns="dynamic"``."""

    def __init__(self, refs: list[ObjectRef[T_co]]) -> None:
        self._refs = refs

    def __iter__(self) -> Iterator[ObjectRef[T_co]]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __repr__(self) -> str:
        return f"DynamicObjectRefGenerator({len(self._refs)} references)"


def replay_error(name: str, produced: int, before: int) -> RaySystemError:
    """The error of a generator that yields less when it is run again."""
    from trayray.exceptions import StreamingGeneratorReplayInconsistentError

    return StreamingGeneratorReplayInconsistentError(
        f"{name}() was run again after a failure and yielded {produced} values, but {before} in its earlier run; a "
        "generator that is retried must yield the same values again"
    )
