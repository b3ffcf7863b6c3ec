"""Object references and who holds them: the owner's exports, the borrower's loans, waiting for a value.

One `ObjectRef` exists for an object in a process, so Python's own reference counting tells when the process has no use
for it any more: owned small values vanish with their ref, owned stored values and borrowed refs have a guard whose end
is reported to the loop. An owner holds what others borrow in `ReferenceTable.lent`.
Not here: sending (``peers``), the arena (``objects``), values' layout (``wire.serialization``).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, final

from trayray.core.loan_messages import OwnershipMessage
from trayray.core.ownership import Fate, Loan, Ownership
from trayray.exceptions import (
    OwnerDiedError,
    RaySystemError,
    ReferenceCountingAssertionError,
)
from trayray.model.ids import JobID, TaskID
from trayray.wire.serialization import noted, serialize
from trayray.wire.values import ERROR, RefInfo, Value
from trayray.worker.awaiting import asyncio_future_of, await_value, future_of
from trayray.worker.current import check_not_forked, core_worker
from trayray.worker.known_references import KnownReferences

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

    from trayray.worker.call_sites import CallSites
    from trayray.worker.core_worker import CoreWorker

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Waiter(Protocol):
    """Somebody who waits for values."""

    def notify(self, ref: ObjectRef[Any]) -> None:
        """``ref`` has its value. Called by the loop's thread under `ReferenceTable.lock`; must not block."""
        ...


@final
class ObjectRef(Generic[T_co]):
    """A reference to an object: a value that exists now or later, somewhere in the cluster.

    Made by ``put`` and remote calls only. ``get(ref)`` waits for the value; ``await ref`` does so under asyncio and
    Trio; ``ref.future()`` is a ``concurrent.futures.Future``.
    """

    __slots__ = ("__weakref__", "_guard", "_id", "_nested", "_owner", "_value", "_waiters")

    def __init__(self, object_id: bytes, owner: str = "") -> None:
        self._id = object_id
        #: Address of the owner's process; empty when it is this one.
        self._owner = owner
        self._value: Value | None = None
        self._waiters: list[Waiter] | None = None
        #: References inside the value, held as long as this one.
        self._nested: list[ObjectRef[Any]] | None = None
        #: Reports the end of this reference, when anybody has to know it.
        self._guard: Any = None

    # --- identity ---

    def binary(self) -> bytes:
        """The id's 28 bytes."""
        return self._id

    def hex(self) -> str:
        """The id as 56 lower-case hexadecimal digits."""
        return self._id.hex()

    def is_nil(self) -> bool:
        """Whether this is the id of nothing."""
        return self._id == b"\xff" * 28

    def task_id(self) -> TaskID:
        """The task that makes (or put) the object."""
        return TaskID(self._id[:24])

    def job_id(self) -> JobID:
        """The job that the object belongs to."""
        return JobID(self._id[20:24])

    def owner_address(self) -> str:
        """The address of the process that owns the object."""
        core = core_worker()
        return self._owner or (core.address if core is not None else "")

    @classmethod
    def size(cls) -> int:
        """Length of an object id in bytes."""
        return 28

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __hash__(self) -> int:
        return hash(self._id)

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is ObjectRef and other._id == self._id)

    # --- waiting ---

    def __await__(self) -> Generator[Any, Any, T_co]:
        return await_value(_connected(self), self).__await__()

    def future(self) -> concurrent.futures.Future[T_co]:
        """A ``concurrent.futures`` future of the value; cancelling it does not cancel the task."""
        return future_of(_connected(self), self)

    def as_future(self, _internal: bool = False) -> asyncio.Future[T_co]:
        """An asyncio future of the value, in the running loop."""
        return asyncio_future_of(_connected(self), self)

    # --- travelling ---

    def __reduce__(self) -> tuple[Callable[..., ObjectRef[Any]], tuple[str | bytes, ...]]:
        core = _connected(self)
        refs = noted.refs
        if refs is None:
            from trayray.worker.out_of_band import reduce_out_of_band

            return reduce_out_of_band(core, self)
        core.references.export(self)
        refs.append(self)
        return revive, (self._id, self._owner or core.address)

    def __copy__(self) -> ObjectRef[T_co]:
        return self  # there is one reference for an object in a process, and copying is no pickling

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectRef[T_co]:
        return self


#: `ObjectRef` to be called: a subscript at each call would cost six times what making a reference does.
AnyRef: type[ObjectRef[Any]] = ObjectRef


def revive(object_id: bytes, owner: str) -> ObjectRef[Any]:
    """The reference that a pickle names; unpickling calls this."""
    core = core_worker()
    if core is None:
        return ObjectRef(object_id, owner)
    return core.references.adopt(object_id, owner)


def _connected(ref: ObjectRef[Any]) -> CoreWorker:
    core = core_worker()
    if core is None:
        check_not_forked()
        text = f"{ref!r} belongs to a cluster that this process has left; call trayray.init() first"
        raise RaySystemError(RuntimeError(text))
    return core


class ThreadWaiter:
    """Blocks one thread until ``count`` values are there, or one of them is an error when ``eager``."""

    __slots__ = ("_lock", "eager", "remaining")

    def __init__(self, count: int, *, eager: bool) -> None:
        self.remaining = count
        self.eager = eager
        self._lock = threading.Lock()
        self._lock.acquire()

    def notify(self, ref: ObjectRef[Any]) -> None:
        if self.remaining <= 0:
            return
        self.remaining -= 1
        value = ref._value
        if self.eager and value is not None and value.kind == ERROR:
            self.remaining = 0
        if self.remaining <= 0:
            self._lock.release()

    def abandon(self) -> None:
        """Let the thread go on though values are missing; under `ReferenceTable.lock`, while some are."""
        self.remaining = 0
        self._lock.release()

    def wait(self, timeout: float | None) -> bool:
        """True once satisfied, False at the timeout (seconds)."""
        return self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout))


class Callback:
    """Calls a function once, in the loop's thread; it must be quick and must not raise."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def notify(self, ref: ObjectRef[Any]) -> None:
        self._call()


class Dropped:
    """What guards report: the loop drains this. Appending is safe in finalizers of any thread."""

    __slots__ = ("_queue", "_wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._wake = wake

    def add(self, report: Callable[..., None], *arguments: Any) -> None:
        self._queue.append((report, arguments))
        self._wake()

    def drain(self) -> None:
        """Handle all reports; in the loop's thread."""
        queue = self._queue
        while queue:
            report, arguments = queue.popleft()
            report(*arguments)


class LoanGuard(Loan):
    """Held by a borrowed reference; its end is the end of the loan."""

    __slots__ = ("_table", "wanted")

    def __init__(self, table: ReferenceTable, object_id: bytes, owner: str) -> None:
        self.id = object_id  # `Loan.__init__`, without a second call for each reference that comes
        self.owner = owner
        self.registrations = 0
        self.unconfirmed = 0
        self.vouched = None
        self._table = table
        #: The value was asked for.
        self.wanted = False

    def __del__(self) -> None:
        if self.registrations or self.vouched is not None:
            self._table.loan_ended(self)  # it lives on as the report of its own end


class Adopting(threading.local):
    """References that this thread's unpickling met; None outside the arguments of a task."""

    refs: list[ObjectRef[Any]] | None = None


adopting = Adopting()


class ReferenceTable:
    """References of one process that other processes know of.

    Methods are called by any thread unless they say otherwise; `lock` guards the tables and every ref's value.
    """

    def __init__(self, address: str, dropped: Dropped, send: Callable[[str, list[Any]], None]) -> None:
        self._address = address
        self.dropped = dropped
        self._send = send
        self.lock = threading.RLock()
        #: Every ref that was exported or borrowed, by id, while it lives.
        self.known = KnownReferences()
        #: Owned objects that others borrow.
        self.lent: dict[bytes, ObjectRef[Any]] = {}
        self._ownership = Ownership(address)
        #: Loans whose end the owner has yet to be told.
        self._ended: deque[Loan] = deque()
        self._flush_due = False
        self._out_of_band: set[ObjectRef[Any]] = set()
        #: Records where references come from; None while nobody wants it.
        self.call_sites: CallSites | None = None

    def export(self, ref: ObjectRef[Any]) -> None:
        """``ref`` is about to leave the process inside a pickle."""
        with self.lock:
            self.known[ref._id] = ref

    @property
    def pins_out_of_band(self) -> bool:
        """Whether references must stay because the user pickled them."""
        return bool(self._out_of_band)

    def pin_out_of_band(self, ref: ObjectRef[Any]) -> None:
        """``ref`` was pickled by the user's own means: nobody can tell where it goes, so it stays for good."""
        with self.lock:
            self._out_of_band.add(ref)

    def adopt(self, object_id: bytes, owner: str, voucher: str | None = None) -> ObjectRef[Any]:
        """The process's reference to an object that came from elsewhere.

        ``voucher`` is given for one that has come inside a value: who has registered it, see `RefInfo`.
        """
        with self.lock:
            ref = self.known.get(object_id)
            if ref is None:
                ref = AnyRef(object_id, owner)
                fate = self._ownership.fate(owner)
                if fate is Fate.LOAN:
                    ref._guard = LoanGuard(self, object_id, owner)
                else:
                    self._lose(ref, fate)
                self.known[object_id] = ref
                if self.call_sites is not None:
                    self.call_sites.adopted(ref, argument=adopting.refs is not None)
            if voucher is not None:
                guard = ref._guard
                self._ownership.received(object_id, owner, voucher, guard if type(guard) is LoanGuard else None)
                if owner == self._address:
                    self._hold_lent((object_id,))
        met = adopting.refs
        if met is not None:
            met.append(ref)
        return ref

    def adopt_nested(self, outer: ObjectRef[Any], infos: Iterable[RefInfo]) -> None:
        """Hold the references inside ``outer``'s value; the sender has registered this process as a borrower."""
        outer._nested = [self.adopt(info.id, info.owner, info.voucher) for info in infos]

    def infos(self, refs: Iterable[ObjectRef[Any]]) -> list[RefInfo]:
        """How these references travel."""
        me = self._address
        return [RefInfo(ref._id, ref._owner, me) if ref._owner else RefInfo(ref._id, me) for ref in refs]

    # --- values ---

    def complete(self, ref: ObjectRef[Any], value: Value) -> None:
        """``ref`` has its value now; whoever waits is told. A second value (a retry, a race) is ignored."""
        with self.lock:
            if ref._value is not None:
                return
            ref._value = value
            waiters, ref._waiters = ref._waiters, None
            if waiters:
                for waiter in waiters:
                    waiter.notify(ref)

    def fail(self, ref: ObjectRef[Any], error: BaseException) -> None:
        """The value of ``ref`` is an exception."""
        self.complete(ref, error_value(error))

    def add_waiter(self, ref: ObjectRef[Any], waiter: Waiter) -> bool:
        """Register ``waiter``; False (and not registered) when the value is there already. Call under `lock`."""
        if ref._value is not None:
            return False
        if ref._waiters is None:
            ref._waiters = [waiter]
        else:
            ref._waiters.append(waiter)
        return True

    def remove_waiter(self, ref: ObjectRef[Any], waiter: Waiter) -> None:
        """Forget ``waiter``, registered or not."""
        with self.lock:
            if ref._waiters is not None and waiter in ref._waiters:
                ref._waiters.remove(waiter)

    # --- ownership: what is decided is carried out (``core.ownership``) ---

    def lend(self, object_ids: Iterable[bytes], borrower: str) -> None:
        """A reply says that ``borrower`` has kept references to these objects of this process."""
        with self.lock:
            object_ids = list(object_ids)
            self._ownership.lend(object_ids, borrower)
            self._hold_lent(object_ids)

    def pass_on(self, refs: Sequence[ObjectRef[Any]], receiver: str) -> list[int]:
        """These references are about to go to ``receiver`` inside a value, which has to wait while a request is open.

        Returns:
            The requests, see `is_open`.
        """
        with self.lock:
            for ref in refs:
                if not ref._owner:
                    self.known[ref._id] = ref
            requests = self._ownership.pass_on(((ref._id, ref._owner, _loan_of(ref)) for ref in refs), receiver)
            self._hold_lent([ref._id for ref in refs if not ref._owner])
            self._send_soon()
            return requests

    def keep(self, refs: Iterable[ObjectRef[Any]], caller: str) -> tuple[list[bytes], list[int]]:
        """References from the arguments of ``caller``'s call outlive it; see `Ownership.keep`."""
        with self.lock:
            kept = self._ownership.keep([loan for loan in map(_loan_of, refs) if loan is not None], caller)
            self._send_soon()
            return kept

    def is_open(self, request: int) -> bool:
        """Whether an owner has yet to answer."""
        return self._ownership.is_open(request)

    def handle(self, sender: str, message: OwnershipMessage) -> None:
        """The process at ``sender`` has sent a message (loop thread)."""
        with self.lock:
            self._take_ended()  # an answer counts what this process has released
            self._hold_lent(self._ownership.handle(sender, message))
        self.flush()

    def loan_ended(self, loan: Loan) -> None:
        """This process has dropped a borrowed reference: called by finalizers, so without `lock`."""
        self._ended.append(loan)
        if not self._flush_due:
            self._flush_due = True
            self.dropped.add(self.flush)

    def _take_ended(self) -> None:
        ended, dropped = self._ended, self._ownership.dropped
        while ended:
            dropped(ended.popleft())

    def _hold_lent(self, object_ids: Iterable[bytes]) -> None:
        """Hold the owned objects among these that are lent, and let go of the others; under `lock`."""
        is_lent, lent = self._ownership.book.is_lent, self.lent
        for object_id in object_ids:
            if not is_lent(object_id):
                lent.pop(object_id, None)
            elif object_id not in lent:
                ref = self.known.get(object_id)
                if ref is not None and not ref._owner:
                    lent[object_id] = ref

    def _send_soon(self) -> None:
        if self._ownership.outbox and not self._flush_due:
            self._flush_due = True
            self.dropped.add(self.flush)

    def flush(self) -> None:
        """Send what is due (loop thread): only here, so that it goes out in the order in which it was decided."""
        self._flush_due = False
        with self.lock:
            self._take_ended()
            outbox = self._ownership.take_outbox()
        for address, messages in outbox.items():
            self._send(address, messages)

    def arrived(self, object_id: bytes, value: Value | None) -> None:
        """An owner sent the value of a borrowed object; None: it does not know the object."""
        with self.lock:
            ref = self.known.get(object_id)
            if ref is None:
                if value is not None:  # nobody waits for it any more, but what is inside was lent to this process
                    self.adopt_nested(AnyRef(object_id), value.refs or ())
                return
            if value is None:
                self._lose(ref, Fate.DELETED)
                return
            if value.refs:
                self.adopt_nested(ref, value.refs)
                value.refs = None
            self.complete(ref, value)

    def is_gone(self, address: str) -> bool:
        """Whether the process at ``address`` is known to be dead."""
        return self._ownership.is_gone(address)

    def process_gone(self, address: str) -> None:
        """A process died, and all that it sent was read: its loans end, and what it owned is lost.

        Also to those who have its value: where that was read, other bytes may lie soon. What is being read stays.
        """
        with self.lock:
            self._hold_lent(self._ownership.process_gone(address))
            for ref in list(self.known.values()):
                if ref._owner == address:
                    if ref._value is not None and ref._value.kind != ERROR:
                        ref._value = error_value(OwnerDiedError(ref.hex(), address, ""))
                    self._lose(ref, Fate.OWNER_DIED)
        self.flush()

    def _lose(self, ref: ObjectRef[Any], fate: Fate) -> None:
        error = ReferenceCountingAssertionError if fate is Fate.DELETED else OwnerDiedError
        self.fail(ref, error(ref.hex(), ref._owner, ""))


def _loan_of(ref: ObjectRef[Any]) -> Loan | None:
    guard = ref._guard
    return guard if type(guard) is LoanGuard else None


def error_value(error: BaseException) -> Value:
    """The value of an object that is an exception."""
    return Value(ERROR, serialize(error).to_bytes())
