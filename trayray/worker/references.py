"""Object references and who holds them: the owner's exports, the borrower's loans, waiting for a value.

One `ObjectRef` exists for an object in a process, so Python's own reference counting tells when the process has no use
for it any more: owned small values vanish with their ref, owned stored values and borrowed refs have a guard whose end
is reported to the loop. An owner holds what others borrow in `ReferenceTable.lent`.
Not here: sending (``peers``), the arena (``objects``), values' layout (``wire.serialization``).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, final
from weakref import WeakValueDictionary

from trayray.core.loans import LoanBook
from trayray.exceptions import (
    ObjectLostError,
    OufOfBandObjectRefSerializationException,
    OwnerDiedError,
    RaySystemError,
)
from trayray.model.ids import JobID, TaskID
from trayray.wire.messages import ERROR, RefInfo, Release, Value
from trayray.wire.serialization import noted, serialize
from trayray.worker.awaiting import asyncio_future_of, await_value, future_of
from trayray.worker.current import check_not_forked, core_worker

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

    from trayray.worker.core_worker import CoreWorker

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Ray's setting, in the environment: "0" forbids pickling references by other means than calls and objects.
_ALLOWED = "allow_out_of_band_object_ref_serialization"


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
            return _reduce_out_of_band(core, self)
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


def _reduce_out_of_band(
    core: CoreWorker, ref: ObjectRef[Any]
) -> tuple[Callable[..., ObjectRef[Any]], tuple[str | bytes, ...]]:
    """How ``ref`` is pickled outside of arguments, results and objects: nobody can tell where the pickle goes.

    Raises:
        OufOfBandObjectRefSerializationException: the environment forbids it.
    """
    allowed = os.environ.get(f"TRAYRAY_{_ALLOWED}", os.environ.get(f"RAY_{_ALLOWED}", "1"))
    if allowed.lower() in ("0", "false"):
        raise OufOfBandObjectRefSerializationException(
            f"{ref!r} was pickled outside of the arguments and results of tasks, which TRAYRAY_{_ALLOWED}=0 (or "
            "RAY_...) forbids. Pass the reference to a task, return it, or put it inside a list; or set the variable "
            "to 1: the object then stays as long as this process."
        )
    core.references.export(ref)
    core.references.pin_out_of_band(ref)
    return revive_out_of_band, (ref._id, ref._owner or core.address, core.welcome.session)


def revive_out_of_band(object_id: bytes, owner: str, session: str) -> ObjectRef[Any]:
    """The reference that a pickle of the user's names; unpickling calls this.

    Raises:
        RaySystemError: this process belongs to no cluster, or to another one than the reference.
    """
    check_session(f"ObjectRef({object_id.hex()})", session)
    return revive(object_id, owner)


def check_session(what: str, session: str) -> None:
    """Raise unless this process belongs to the cluster that ``what``, which was pickled by the user, came from.

    Raises:
        RaySystemError: it does not.
    """
    core = core_worker()
    present = None if core is None else core.welcome.session
    if present != session:
        where = "to none" if present is None else f"to that of {present}"
        raise RaySystemError(
            f"{what} belongs to the cluster of {session}, but this process {where}. It can be loaded only in processes "
            "of its own cluster, while that runs; call init(address=...) with its address first"
        )


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


class LoanGuard:
    """Held by a borrowed reference; its end is the end of the loan."""

    __slots__ = ("_table", "id", "owner", "registrations", "wanted")

    def __init__(self, table: ReferenceTable, object_id: bytes, owner: str) -> None:
        self._table = table
        self.id = object_id
        self.owner = owner
        #: How often the owner was told that this process borrows the object: so many it must hear are over.
        self.registrations = 0
        #: The value was asked for.
        self.wanted = False

    def __del__(self) -> None:
        if self.registrations:
            self._table.dropped.add(self._table.loan_ended, self.owner, self.id, self.registrations)


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
        self.known: WeakValueDictionary[bytes, ObjectRef[Any]] = WeakValueDictionary()
        #: Owned objects that others borrow, and by whom.
        self.lent: dict[bytes, ObjectRef[Any]] = {}
        self._loans = LoanBook()
        self._out_of_band: set[ObjectRef[Any]] = set()
        self._gone: set[str] = set()

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

    def adopt(self, object_id: bytes, owner: str, *, registered: bool = False) -> ObjectRef[Any]:
        """The process's reference to an object that came from elsewhere."""
        with self.lock:
            ref = self.known.get(object_id)
            if ref is None:
                ref = AnyRef(object_id, owner)
                if owner == self._address or owner in self._gone:
                    self._lose(ref, owner)
                else:
                    guard = LoanGuard(self, object_id, owner)
                    guard.registrations = int(registered)
                    ref._guard = guard
                self.known[object_id] = ref
            elif registered and isinstance(ref._guard, LoanGuard):
                ref._guard.registrations += 1
        met = adopting.refs
        if met is not None:
            met.append(ref)
        return ref

    def adopt_nested(self, outer: ObjectRef[Any], infos: Iterable[RefInfo]) -> None:
        """Hold the references inside ``outer``'s value; the sender has registered this process as a borrower."""
        outer._nested = [self.adopt(info.id, info.owner, registered=True) for info in infos]

    def infos(self, refs: Iterable[ObjectRef[Any]]) -> list[RefInfo]:
        """How these references travel."""
        return [RefInfo(ref._id, ref._owner or self._address) for ref in refs]

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

    # --- the owner's side ---

    def lend(self, object_ids: Iterable[bytes], borrower: str) -> None:
        """``borrower`` is registered once more for each of these objects, which stay until it has released them.

        Unknown ones are gone: the borrower learns it when it asks.
        """
        if borrower == self._address:
            return
        with self.lock:
            if borrower in self._gone:
                return
            for object_id in object_ids:
                ref = self.known.get(object_id)
                # Counted even if the object is gone: the borrower will release what it was registered for.
                if self._loans.lend(object_id, borrower) and ref is not None and not ref._owner:
                    self.lent[object_id] = ref

    def give_back(self, releases: Iterable[tuple[bytes, int]], borrower: str) -> None:
        """``borrower`` dropped these objects, for which it had been registered so many times."""
        with self.lock:
            if borrower in self._gone:
                return
            for object_id, count in releases:
                if not self._loans.give_back(object_id, borrower, count):
                    self.lent.pop(object_id, None)

    # --- the borrower's side ---

    def loan_ended(self, owner: str, object_id: bytes, registrations: int) -> None:
        """This process has dropped a borrowed reference (loop thread)."""
        if owner not in self._gone:
            self._send(owner, [Release([(object_id, registrations)])])

    def arrived(self, object_id: bytes, value: Value | None) -> None:
        """An owner sent the value of a borrowed object; None: it does not know the object."""
        with self.lock:
            ref = self.known.get(object_id)
            if ref is None:
                return
            if value is None:
                self.fail(ref, ObjectLostError(ref.hex(), ref._owner, ""))
                return
            if value.refs:
                self.adopt_nested(ref, value.refs)
                value.refs = None
            self.complete(ref, value)

    def is_gone(self, address: str) -> bool:
        """Whether the process at ``address`` is known to be dead."""
        return address in self._gone

    def process_gone(self, address: str) -> None:
        """A process died: its loans end, and what it owned and this process still waits for is lost."""
        with self.lock:
            self._gone.add(address)
            for object_id in self._loans.gone(address):
                self.lent.pop(object_id, None)
            for ref in list(self.known.values()):
                if ref._owner == address and ref._value is None:
                    self._lose(ref, address)

    def _lose(self, ref: ObjectRef[Any], owner: str) -> None:
        if owner == self._address:
            error: BaseException = ObjectLostError(ref.hex(), owner, "")
        else:
            error = OwnerDiedError(ref.hex(), owner, "")
        self.fail(ref, error)


def error_value(error: BaseException) -> Value:
    """The value of an object that is an exception."""
    return Value(ERROR, serialize(error).to_bytes())
