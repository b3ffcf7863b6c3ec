"""Links between core workers: borrowers asking owners for values, and telling them what they hold.

Runs in the loop's thread. Not here: the reference tables (``references``) and links that carry tasks (``task_links``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trayray.core.cancellation import Step
from trayray.core.loan_messages import Borrow, Borrowed, Holdings, Inquire, Release
from trayray.link.port import Link, LinkClosed
from trayray.wire.peer_messages import (
    Cancel,
    CancelRemote,
    ChildrenEnd,
    Consumed,
    Explain,
    Explained,
    PeerMessage,
    Ready,
    Recheck,
    Reclaim,
    Want,
)
from trayray.wire.values import Value
from trayray.worker.references import Callback, LoanGuard, ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker


class Peers:
    """The peers of one core worker."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        #: What is sent on; and all links, as both sides may have made one at the same time.
        self._links: dict[str, Link[PeerMessage]] = {}
        self._served: dict[str, set[Link[PeerMessage]]] = {}
        #: Requests of `ReferenceTable` that somebody waits for.
        self._open: dict[int, trio.Event] = {}

    def send(self, address: str, messages: list[Any]) -> None:
        """Send to the process at ``address``; a process that is gone is soon treated as such."""
        link = self._links.get(address)
        try:
            if link is None:
                link = self._connect(address)
            link.send(messages)
        except (OSError, LinkClosed):
            self._core.call_soon(self._core.process_gone, address)  # what it sent is read first, but not amid this

    def _connect(self, address: str) -> Link[PeerMessage]:
        link: Link[PeerMessage] = self._core.network.connect(address, "peer", PeerMessage)
        self._links[address] = link
        self._core.nursery.start_soon(self.serve, link, address)
        return link

    async def serve(self, link: Link[PeerMessage], address: str) -> None:
        """One link's scope, whoever opened it; its end does not mean that the peer is dead."""
        self._links.setdefault(address, link)
        self._served.setdefault(address, set()).add(link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            try:
                while messages := await link.receive():
                    for message in messages:
                        self._handle(address, message)
            finally:
                link.close()
                if self._links.get(address) is link:
                    del self._links[address]
                self._served[address].discard(link)
                if not self._served[address]:
                    del self._served[address]
                nursery.cancel_scope.cancel()

    def _handle(self, address: str, message: PeerMessage) -> None:
        core = self._core
        match message:
            case Borrow() | Borrowed() | Release() | Inquire() | Holdings():
                core.references.handle(address, message)
                if type(message) is Borrowed:
                    self._wake_answered()
            case Want(objects):
                for object_id in objects:
                    self._answer(address, object_id)
            case Ready(object_id, value):
                core.references.arrived(object_id, value)
            case ChildrenEnd(task, waits):
                with core.state_lock:
                    call = core.tasks.pending.get(task) or core.actors.pending.get(task)
                    core.cancellations.children_end(call, waits=waits)
            case Reclaim():
                if core.executor is not None:
                    core.executor.reclaim(address)
            case Cancel(task, step, recursive, force):
                if core.executor is not None:
                    core.executor.cancel(task, Step(step), recursive=recursive, force=force)
            case Consumed(task, taken):
                if core.executor is not None:
                    core.executor.flows.consumed(task, taken)
            case Explain() | Explained() | Recheck():
                core.explaining.handle(address, message)
            case CancelRemote(object_id, force, recursive):
                ref = core.references.known.get(object_id)
                if ref is not None:
                    with core.state_lock:
                        core.cancel(ref, force=force, recursive=recursive)

    def want(self, refs: list[ObjectRef[Any]]) -> None:
        """Ask the owners for values."""
        by_owner: dict[str, list[bytes]] = {}
        for ref in refs:
            guard = ref._guard
            if isinstance(guard, LoanGuard) and not guard.wanted:
                guard.wanted = True
                by_owner.setdefault(ref._owner, []).append(ref._id)
        for owner, objects in by_owner.items():
            self.send(owner, [Want(objects)])

    def _answer(self, address: str, object_id: bytes) -> None:
        references = self._core.references
        ref = references.known.get(object_id)
        if ref is None or ref._owner:
            self.send(address, [Ready(object_id, None)])
            return

        def reply() -> None:
            self._core.call_soon(self._send_value, address, ref)

        with references.lock:
            waits = references.add_waiter(ref, Callback(reply))
        if not waits:
            self._send_value(address, ref)

    def _send_value(self, address: str, ref: ObjectRef[Any]) -> None:
        value = ref._value
        assert value is not None
        nested = ref._nested
        if not nested:
            self.send(address, [Ready(ref._id, value)])
            return
        self._core.nursery.start_soon(self._send_with_nested, address, ref, nested)

    async def _send_with_nested(self, address: str, ref: ObjectRef[Any], nested: list[ObjectRef[Any]]) -> None:
        await self.answered(self._core.references.pass_on(nested, address))
        value = ref._value
        assert value is not None
        infos = self._core.references.infos(nested)
        self.send(address, [Ready(ref._id, Value(value.kind, value.data, value.place, infos))])

    async def answered(self, requests: list[int]) -> None:
        """Wait until none of these requests of the `ReferenceTable` is open."""
        for request in requests:
            if self._core.references.is_open(request):
                event = self._open[request] = trio.Event()
                await event.wait()

    def _wake_answered(self) -> None:
        for request in [request for request in self._open if not self._core.references.is_open(request)]:
            self._open.pop(request).set()

    def take_last(self, address: str) -> None:
        """Take in all that the process at ``address``, which is gone, has sent."""
        for link in list(self._served.get(address, ())):
            while messages := link.receive_nowait():
                for message in messages:
                    self._handle(address, message)

    def process_gone(self, address: str) -> None:
        """The process is dead: its link ends now."""
        self._wake_answered()
        link = self._links.pop(address, None)
        if link is not None:
            link.close()
