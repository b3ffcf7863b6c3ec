"""Links between core workers: borrowers asking owners for values, and telling them what they hold.

Runs in the loop's thread. Not here: the reference tables (``references``) and links that carry tasks (``task_links``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trayray.core.cancellation import Step
from trayray.link.port import Link, LinkClosed
from trayray.wire.messages import (
    Borrow,
    Borrowed,
    Cancel,
    CancelRemote,
    Consumed,
    Explain,
    Explained,
    PeerMessage,
    Ready,
    Recheck,
    Reclaim,
    Release,
    Want,
)
from trayray.worker.references import Callback, LoanGuard, ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker


class Peers:
    """The peers of one core worker."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._links: dict[str, Link[PeerMessage]] = {}
        self._acknowledged: dict[int, trio.Event] = {}
        self._next_request = 0

    def send(self, address: str, messages: list[Any]) -> None:
        """Send to the process at ``address``; a process that is gone is treated as such."""
        link = self._links.get(address)
        try:
            if link is None:
                link = self._connect(address)
            link.send(messages)
        except (OSError, LinkClosed):
            self._core.process_gone(address)

    def _connect(self, address: str) -> Link[PeerMessage]:
        link: Link[PeerMessage] = self._core.network.connect(address, "peer", PeerMessage)
        self._links[address] = link
        self._core.nursery.start_soon(self.serve, link, address)
        return link

    async def serve(self, link: Link[PeerMessage], address: str) -> None:
        """One link's scope, whoever opened it; its end does not mean that the peer is dead."""
        self._links.setdefault(address, link)
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
                nursery.cancel_scope.cancel()

    def _handle(self, address: str, message: PeerMessage) -> None:
        core = self._core
        match message:
            case Borrow(objects, borrower, request):
                core.references.lend(objects, borrower or address)
                if request:
                    self.send(address, [Borrowed(request)])
            case Borrowed(request):
                acknowledged = self._acknowledged.pop(request, None)
                if acknowledged is not None:
                    acknowledged.set()
            case Release(objects):
                core.references.give_back(objects, address)
            case Want(objects):
                for object_id in objects:
                    self._answer(address, object_id)
            case Ready(object_id, value):
                core.references.arrived(object_id, value)
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
        from trayray.wire.messages import Value

        await self.register(nested, address)
        value = ref._value
        assert value is not None
        infos = self._core.references.infos(nested)
        self.send(address, [Ready(ref._id, Value(value.kind, value.data, value.place, infos))])

    async def register(self, refs: list[ObjectRef[Any]], borrower: str) -> None:
        """Make ``borrower`` a borrower of these refs at their owners, and return once all of them know.

        The sender of a reference does this before the reference goes out, so that it cannot be freed on its way.
        """
        core = self._core
        foreign: dict[str, list[bytes]] = {}
        own: list[bytes] = []
        for ref in refs:
            if not ref._owner:
                core.references.export(ref)
                own.append(ref._id)
            elif ref._owner != borrower:
                foreign.setdefault(ref._owner, []).append(ref._id)
        core.references.lend(own, borrower)
        for owner, objects in foreign.items():
            self._next_request += 1
            request = self._next_request
            acknowledged = self._acknowledged[request] = trio.Event()
            self.send(owner, [Borrow(objects, "" if borrower == core.address else borrower, request)])
            while not core.references.is_gone(owner) and not acknowledged.is_set():
                with trio.move_on_after(0.5):  # a dead owner never answers; its death is announced by the node
                    await acknowledged.wait()
            self._acknowledged.pop(request, None)

    def needs_register(self, refs: list[ObjectRef[Any]], borrower: str) -> bool:
        """Whether `register` would have to ask anybody."""
        return any(ref._owner and ref._owner != borrower for ref in refs)

    def process_gone(self, address: str) -> None:
        """The process is dead: its link ends now."""
        link = self._links.pop(address, None)
        if link is not None:
            link.close()
