"""Objects as user code meets them: put, get, wait, awaiting a reference, and the segments of large values.

Called from user threads; what needs the loop is posted to it. Not here: who holds a reference (``references``), how a
value is laid out (``wire.serialization``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trayray.exceptions import (
    GetTimeoutError,
    ObjectStoreFullError,
    OutOfDiskError,
    OwnerDiedError,
    RayError,
    RaySystemError,
    RayTaskError,
)
from trayray.model.ids import object_id
from trayray.wire.serialization import Serialized, deserialize
from trayray.wire.store_messages import Create, Created, Fence, Free, Seal
from trayray.wire.values import ERROR, INLINE, STORED, Place, Value
from trayray.worker.arena_mapping import read_file
from trayray.worker.call_sites import PUT
from trayray.worker.current import running
from trayray.worker.reading import FilePart, Reading, ReadPin
from trayray.worker.references import AnyRef, Callback, LoanGuard, ObjectRef, ThreadWaiter

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

#: Values up to this size travel inside messages (Ray: max_direct_call_object_size).
INLINE_BYTES = 100 * 1024
#: Put indices start here, so that they never meet a return value's index.
_FIRST_PUT = 1 << 24
#: A waiting task lends its CPUs only after so long: most values arrive sooner than the lending would take.
_LEND_AFTER_SECONDS = 0.001


class SegmentGuard:
    """Held by the owned reference of a stored value; its end frees the segment."""

    __slots__ = ("objects", "place")

    def __init__(self, objects: Objects, place: Place) -> None:
        self.objects = objects
        self.place = place
        objects.owned.add(place.generation)

    def __del__(self) -> None:
        self.objects.core.dropped.add(self.objects.free_owned, self.place)


class Objects:
    """The objects of one core worker."""

    def __init__(self, core: CoreWorker) -> None:
        self.core = core
        self._creating: dict[int, _Creation] = {}
        self._next_request = 0
        self._put_lock = threading.Lock()
        self.reading = Reading(core)
        #: Generations of the segments that guards hold.
        self.owned: set[int] = set()
        self._put_index = _FIRST_PUT

    # --- put ---

    def put(self, serialized: Serialized) -> ObjectRef[Any]:
        """Make an object of a pickled value; this process owns it."""
        core = self.core
        task = running.get()
        with self._put_lock:
            self._put_index += 1
            index = self._put_index
        ref = AnyRef(object_id(core.task_id_of(task), index))
        if serialized.size <= INLINE_BYTES:
            value = Value(INLINE, serialized.to_bytes())
        else:
            place = self.write(serialized)
            ref._guard = SegmentGuard(self, place)
            self.seal([place], core.address)
            value = Value(STORED, b"", place)
        if serialized.refs:
            ref._nested = serialized.refs
        if core.call_sites is not None:
            core.call_sites.made(PUT, (ref,))
        ref._value = value
        return ref

    def write(self, serialized: Serialized) -> Place:
        """Write a pickled value into a fresh segment, which is this process's until `seal` or `free`.

        Waits for room while any is to come, in the calling thread.

        Raises:
            ObjectStoreFullError: there is no room.
            OutOfDiskError: nor is there on the disks that other objects could be spilled to.
        """
        creation = _Creation()
        try:
            place = self._create(creation, serialized.size)
            serialized.write_into(self.core.arena.write(place))
        except BaseException:  # an interrupt, perhaps, which comes at any moment
            self.core.call_soon(self._abandon, creation)
            raise
        return place

    def seal(self, places: Sequence[Place], owner: str) -> None:
        """Segments are written and belong to process ``owner``."""
        if places:
            self.core.to_node([Seal(place.offset, place.generation, owner) for place in places])

    def _create(self, creation: _Creation, size: int) -> Place:
        with self._put_lock:
            self._next_request += 1
            request = self._next_request
            self._creating[request] = creation
        if self.core.closed is not None:  # only now: from here on `fail_requests` finds the request
            raise self.core.closed
        # Through the loop, which first reports what was freed before: that room may be needed here.
        self.core.call_soon(self.core.to_node_if_there, [Create(request, size)])
        self.core.wait_for_node(creation.event)
        if creation.failure is not None:
            raise creation.failure
        assert creation.place is not None, "a request that has not failed was granted"
        return creation.place

    def _abandon(self, creation: _Creation) -> None:
        """Nobody writes what was granted, or may still be."""
        creation.abandoned = True
        if creation.place is not None:
            self.free(creation.place)

    def created(self, message: Created) -> None:
        """The node answered a request for a segment."""
        creation = self._creating.pop(message.request)
        creation.place = message.place
        if message.place is None:
            creation.failure = (OutOfDiskError if message.out_of_disk else ObjectStoreFullError)(message.error)
        elif creation.abandoned:
            self.free(message.place)
        creation.event.set()

    def fail_requests(self, error: RayError) -> None:
        """Nobody will answer any more."""
        self.reading.fail(error)
        for request in list(self._creating):
            creation = self._creating.pop(request)
            creation.failure = error
            creation.event.set()

    def free(self, place: Place) -> None:
        self.core.to_node_if_there([Free(place.offset, place.generation)])

    def answer_fence(self, fence: Fence) -> None:
        """The store asks for all that was said before; in the loop's thread."""
        self.core.dropped.drain()
        self.reading.tell(fence.leaving)
        self.core.to_node([Fence(fence.fence)])

    def free_owned(self, place: Place) -> None:
        """A guard has ended (loop's thread)."""
        self.owned.discard(place.generation)
        self.free(place)

    def free_unknown(self, segments: Sequence[tuple[int, int]]) -> None:
        """A writer is gone, and all that it sent was read: free of these segments those that nothing refers to."""
        for offset, generation in segments:
            if generation not in self.owned:
                self.core.to_node_if_there([Free(offset, generation)])

    # --- values ---

    def load(self, ref: ObjectRef[Any], deadline: float | None = None) -> Any:
        """The value of a ref that has one; raises it when it is an error.

        Raises:
            GetTimeoutError: it was spilled, and is not back at ``deadline`` (of ``time.monotonic``).
        """
        value = ref._value
        assert value is not None
        if value.kind == INLINE:
            return deserialize(value.data)
        if value.kind == ERROR:
            raise self.error_of(value)
        return deserialize(self.view(value, ref, deadline))

    def view(self, value: Value, ref: ObjectRef[Any] | None, deadline: float | None = None) -> memoryview:
        """The payload of a stored value, kept in place as long as any view of it exists.

        Waits in the calling thread, which is not the loop's, when it was spilled and has to come back first.

        Raises:
            ObjectLostError: it was spilled, and cannot be read any more.
            GetTimeoutError: it is not back at ``deadline`` (of ``time.monotonic``).
        """
        pin = self._pin(value, ref)
        at = pin.at
        if at is None:
            self.reading.locate(pin, deadline)
            at = pin.at
        if type(at) is int:
            return self.core.arena.read(at, pin.place.size, pin)
        if isinstance(at, FilePart):
            return read_file(at.path, at.position, pin.place.size, pin)
        assert isinstance(at, RayError), "where the bytes are was asked for"
        raise at

    def _pin(self, value: Value, ref: ObjectRef[Any] | None) -> ReadPin:
        place = value.place
        assert place is not None
        if ref is not None and not ref._owner:
            guard = ref._guard
            if type(guard) is SegmentGuard and guard.objects is not self:
                raise RaySystemError(f"the value of {ref!r} went with the cluster that this process has left")
            return self.reading.pin(place, ref, owned=True)
        pin = self.reading.pin(place, ref, owned=False)
        # The store keeps what a dead owner has left until this process has heard of the death and said so: a pin that
        # came before is good.
        if ref is not None and self.core.references.is_gone(ref._owner):
            raise OwnerDiedError(ref.hex(), ref._owner, "")
        return pin

    def pin_if_away(self, value: Value | None, ref: ObjectRef[Any] | None) -> ReadPin | None:
        """A pin of a stored value that has to be asked for (`Reading.locating`) before `load` can do without waiting.

        None when `load` needs not wait. Hold the pin until it has been called.
        """
        if value is None or value.kind != STORED:
            return None
        pin = self._pin(value, ref)
        return pin if pin.at is None else None

    def error_of(self, value: Value) -> BaseException:
        """The exception that an error value stands for, ready to be raised."""
        error = deserialize(value.data)
        return error.as_instanceof_cause() if isinstance(error, RayTaskError) else error

    # --- get and wait ---

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """The values, in order; raises the first error met.

        Raises:
            GetTimeoutError: not all values were there within ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for ref in refs:
            if ref._value is None:
                self._await_values(refs, timeout)
                break
        return [self.load(ref, deadline) for ref in refs]

    def _await_values(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> None:
        table = self.core.references
        with table.lock:
            missing = list({ref._id: ref for ref in refs if ref._value is None}.values())
            for ref in refs:
                value = ref._value
                if value is not None and value.kind == ERROR:
                    raise self.error_of(value)
            waiter = ThreadWaiter(len(missing), eager=True)
            for ref in missing:
                table.add_waiter(ref, waiter)
        if not missing:
            return
        self.want(missing)
        try:
            satisfied = self.block(waiter, timeout, missing)
        finally:
            if waiter.remaining > 0 or len(missing) > 1:
                for ref in missing:
                    table.remove_waiter(ref, waiter)
        for ref in missing:
            value = ref._value
            if value is not None and value.kind == ERROR:
                raise self.error_of(value)
        if not satisfied:
            late = sum(ref._value is None for ref in missing)
            raise GetTimeoutError(f"Get timed out: some object(s) not ready ({late} of {len(refs)} after {timeout} s).")

    def wait(
        self, refs: Sequence[ObjectRef[Any]], count: int, timeout: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Up to ``count`` refs that have values, and the others; both in the order given."""
        table = self.core.references
        ready = self._first_ready(refs, count)
        if ready is None:
            with table.lock:
                missing = [ref for ref in refs if ref._value is None]
                waiter = ThreadWaiter(count - (len(refs) - len(missing)), eager=False)
                for ref in missing:
                    table.add_waiter(ref, waiter)
            if waiter.remaining > 0:
                self.want(missing)
                try:
                    self.block(waiter, timeout, missing)
                finally:
                    for ref in missing:
                        if ref._waiters is not None:
                            table.remove_waiter(ref, waiter)
            else:
                for ref in missing:
                    table.remove_waiter(ref, waiter)
            ready = self._first_ready(refs, count, partial=True) or ([], list(refs))
        return ready

    @staticmethod
    def _first_ready(
        refs: Sequence[ObjectRef[Any]], count: int, *, partial: bool = False
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]] | None:
        ready: list[ObjectRef[Any]] = []
        rest: list[ObjectRef[Any]] = []
        for index, ref in enumerate(refs):
            if ref._value is not None:
                ready.append(ref)
                if len(ready) == count:
                    rest += refs[index + 1 :]
                    return ready, rest
            else:
                rest.append(ref)
        return (ready, rest) if partial else None

    def want(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """Make sure that the values of borrowed refs are on their way."""
        borrowed = [ref for ref in refs if ref._owner and isinstance(ref._guard, LoanGuard) and not ref._guard.wanted]
        if borrowed:
            self.core.call_soon(self.core.peers.want, borrowed)

    def block(self, waiter: ThreadWaiter, timeout: float | None, missing: Sequence[ObjectRef[Any]]) -> bool:
        """Wait for ``missing`` in the calling thread; a task's main thread lends its CPUs while it does.

        Raises:
            DeadlockError: what is waited for waits for the calling thread.
        """
        executor = self.core.executor
        if executor is None or not executor.lends_in_this_thread():
            if timeout != 0:
                self.core.check_may_wait("get or wait")
            return self.core.waits.wait(waiter, timeout, missing)
        first = _LEND_AFTER_SECONDS if timeout is None else min(timeout, _LEND_AFTER_SECONDS)
        if waiter.wait(first):
            return True
        if timeout is not None and timeout <= first:
            return False
        deadline = None if timeout is None else time.monotonic() + timeout - first
        with executor.waiting():
            left = None if deadline is None else deadline - time.monotonic()
            return self.core.waits.wait(waiter, left, missing)

    # --- other ways to wait ---

    def when_ready(self, ref: ObjectRef[Any], call: Callable[[], object]) -> Callback | None:
        """Call ``call`` once the value is there: at once (None is returned), or later from the loop's thread.

        It may have been spilled even so; see `pin_if_away`.
        """
        callback = Callback(call)
        with self.core.references.lock:
            registered = self.core.references.add_waiter(ref, callback)
        if not registered:
            call()
            return None
        self.want([ref])
        return callback

    @contextmanager
    def watching(self, ref: ObjectRef[Any], call: Callable[[], object]) -> Generator[bool]:
        """Within the block, ``call`` is called when the value arrives; yields whether it has yet to."""
        callback = Callback(call)
        with self.core.references.lock:
            registered = self.core.references.add_waiter(ref, callback)
        try:
            if registered:
                self.want([ref])
            yield registered
        finally:
            if registered:
                self.core.references.remove_waiter(ref, callback)


class _Creation:
    """A request for a segment that a thread waits for."""

    __slots__ = ("abandoned", "event", "failure", "place")

    def __init__(self) -> None:
        self.event = threading.Event()
        self.place: Place | None = None
        #: Why there is none, or will be no answer.
        self.failure: RayError | None = None
        #: The thread has gone.
        self.abandoned = False
