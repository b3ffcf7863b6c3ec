"""One process's part in the ownership protocol: what it lends as an owner, and owes as a borrower.

Events go in (a reference leaves, has come, was dropped; a message; a death), messages come out in `outbox`, and the
book says which objects are lent. docs/ownership.md describes the protocol and argues for it.
Not here: references and their values (``worker.references``), links (``worker.peers``).
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from trayray.core.loan_book import LoanBook
from trayray.core.loan_messages import Borrow, Borrowed, Holdings, Inquire, OwnershipMessage, Release

#: So many deaths are remembered. Addresses are never used twice, and a message that names a dead process was sent by
#: one that had not heard of its death: nobody is so many deaths behind.
_DEATHS: Final = 16384


class Fate(Enum):
    """What becomes of a reference that no other stands for in this process."""

    #: It is borrowed.
    LOAN = "loan"
    #: It is this process's own, and was deleted here.
    DELETED = "deleted"
    OWNER_DIED = "owner died"


class Loan:
    """What a process knows of an object that it borrows, from its first reference to its last."""

    __slots__ = ("id", "owner", "registrations", "unconfirmed", "vouched")

    def __init__(self, object_id: bytes, owner: str) -> None:
        self.id = object_id
        self.owner = owner
        #: Those by the owner, or by this process itself. Without any it is held in the name of a caller.
        self.registrations = 0
        #: Requests of this process that the owner has not answered.
        self.unconfirmed = 0
        #: Registrations by others.
        self.vouched: dict[str, int] | None = None

    @property
    def is_registered(self) -> bool:
        """Whether its owner has to hear of its end."""
        return self.registrations > 0 or self.vouched is not None


class Ownership:
    """One process. Its methods must not be called at the same time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.book = LoanBook()
        #: Messages to send, by receiver, in order.
        self.outbox: dict[str, list[OwnershipMessage]] = {}
        #: The last number sent to, and heard from, each process.
        self._sent: dict[str, int] = {}
        self._heard: dict[str, int] = {}
        #: The dead, the latest last.
        self._gone: dict[str, None] = {}
        self._last_request = 0
        #: Requests without an answer: to whom, and of which loans of this process.
        self._requests: dict[int, tuple[str, list[Loan]]] = {}
        #: Registrations by third processes that this one has and will release: by voucher, then object.
        self._vouched: dict[str, dict[bytes, int]] = {}
        #: Inquiries about a process whose death was not heard of: who asks, and about which objects.
        self._asked: dict[str, list[tuple[str, list[bytes]]]] = {}

    # --- references that leave ---

    def lend(self, object_ids: Iterable[bytes], borrower: str) -> None:
        """``borrower`` has been sent, or has kept, references to these objects of this process."""
        if borrower != self.address and borrower not in self._gone:
            add = self.book.add
            for object_id in object_ids:
                add(object_id, borrower, "", 1)

    def pass_on(self, refs: Iterable[tuple[bytes, str, Loan | None]], receiver: str) -> list[int]:
        """References will go to ``receiver`` inside a value.

        Args:
            refs: id, owner (empty for this process) and loan of each.
            receiver: whom the value is for.

        Returns:
            Requests: the value may be sent when none of them `is_open`. A registered reference that returns to its
            owner needs no answer: this process's own release cannot overtake the registration of the receiver.
        """
        if receiver == self.address or receiver in self._gone:
            return []
        foreign: dict[tuple[str, bool], list[bytes]] = {}
        for object_id, owner, loan in refs:
            if not owner or owner == self.address:
                self.book.add(object_id, receiver, "", 1)
            elif owner not in self._gone:
                safe = owner == receiver and loan is not None and loan.is_registered
                foreign.setdefault((owner, safe), []).append(object_id)
        requests: list[int] = []
        for (owner, safe), objects in foreign.items():
            request = 0 if safe else self._request(owner, [])
            self._send(owner, Borrow(self._number(owner), objects, receiver, request))
            if request:
                requests.append(request)
        return requests

    def is_open(self, request: int) -> bool:
        """Whether the owner has yet to answer. A dead one never will: the request is closed."""
        return request in self._requests

    # --- references that come and go ---

    def fate(self, owner: str) -> Fate:
        """What becomes of a reference to an object of ``owner`` of which this process has no other."""
        if owner == self.address:
            return Fate.DELETED
        return Fate.OWNER_DIED if owner in self._gone else Fate.LOAN

    def received(self, object_id: bytes, owner: str, voucher: str, loan: Loan | None) -> None:
        """A reference has come inside a value, registered by ``voucher`` (empty: by its owner).

        ``loan`` is the one that this process's reference to the object has; None if it is no loan.
        """
        if owner == self.address:
            if voucher not in self._gone:
                self.book.add(object_id, owner, voucher, -1)
        elif loan is None or owner in self._gone:
            pass
        elif not voucher:
            loan.registrations += 1
        elif voucher not in self._gone:  # what it sent has been read before its death was handled
            if loan.vouched is None:
                loan.vouched = {}
            loan.vouched[voucher] = loan.vouched.get(voucher, 0) + 1
            objects = self._vouched.setdefault(voucher, {})
            objects[object_id] = objects.get(object_id, 0) + 1

    def keep(self, loans: Iterable[Loan], caller: str) -> tuple[list[bytes], list[int]]:
        """A call has ended, and these references from its arguments outlive it.

        Args:
            loans: what they are.
            caller: whose call it was; empty if its reply cannot say what is kept.

        Returns:
            What the reply says: objects of the caller. And requests: the reply must wait until none of them `is_open`,
            because the caller lets go when it has it.
        """
        listed: list[bytes] = []
        foreign: dict[str, list[Loan]] = {}
        for loan in loans:
            if loan.owner in self._gone or (loan.is_registered and not loan.unconfirmed):
                continue
            loan.registrations += 1
            if loan.owner == caller:
                listed.append(loan.id)
            else:
                foreign.setdefault(loan.owner, []).append(loan)
        requests: list[int] = []
        for owner, borrowed in foreign.items():
            request = self._request(owner, borrowed)
            self._send(owner, Borrow(self._number(owner), [loan.id for loan in borrowed], "", request))
            for loan in borrowed:
                loan.unconfirmed += 1
            requests.append(request)
        return listed, requests

    def dropped(self, loan: Loan) -> None:
        """This process has dropped its last reference to a borrowed object."""
        vouched: tuple[tuple[str, int], ...] = ()
        if loan.vouched is not None:
            vouched = tuple(loan.vouched.items())
            for voucher, count in vouched:
                self._forget_vouched(voucher, loan.id, count)
        owner = loan.owner
        if owner in self._gone or not loan.is_registered:
            return
        messages = self.outbox.get(owner)
        last = messages[-1] if messages else None
        if type(last) is Release:
            last.objects.append((loan.id, loan.registrations, vouched))
        else:
            self._send(owner, Release(self._number(owner), [(loan.id, loan.registrations, vouched)]))

    def _forget_vouched(self, voucher: str, object_id: bytes, count: int) -> None:
        objects = self._vouched[voucher]
        objects[object_id] -= count
        if not objects[object_id]:
            del objects[object_id]
            if not objects:
                del self._vouched[voucher]

    # --- messages ---

    def handle(self, sender: str, message: OwnershipMessage) -> Iterable[bytes]:
        """A message has come; the objects of this process of which `LoanBook.is_lent` may have changed."""
        if sender in self._gone:
            return ()
        if isinstance(message, Borrow | Release | Holdings):
            if message.number <= self._heard.get(sender, 0):
                return ()
            self._heard[sender] = message.number
        match message:
            case Borrow():
                return self._borrow(sender, message)
            case Release(_, objects):
                return [self._release(sender, *released) for released in objects]
            case Borrowed(request):
                self._close(request)
            case Inquire(voucher, objects):
                if voucher in self._gone:
                    self._answer(sender, voucher, objects)
                else:
                    self._asked.setdefault(voucher, []).append((sender, objects))
            case Holdings(_, voucher, objects):
                for object_id, count in objects:
                    self.book.set(object_id, sender, voucher, count)
                return [object_id for object_id, _ in objects]
        return ()

    def _borrow(self, sender: str, message: Borrow) -> Iterable[bytes]:
        borrower = message.borrower or sender
        voucher = "" if borrower == sender else sender
        changed: Iterable[bytes] = ()
        if borrower not in self._gone:
            # Counted even if the object is gone: the borrower will release what it was registered for.
            for object_id in message.objects:
                self.book.add(object_id, borrower, voucher, 1)
            changed = message.objects
        if message.request:
            self._send(sender, Borrowed(message.request))
        return changed

    def _release(self, sender: str, object_id: bytes, registrations: int, vouched: Iterable[tuple[str, int]]) -> bytes:
        if registrations:
            self.book.add(object_id, sender, "", -registrations)
        for voucher, count in vouched:
            self.book.add(object_id, sender, voucher, -count)
        return object_id

    def _answer(self, owner: str, voucher: str, objects: Iterable[bytes]) -> None:
        had = self._vouched.get(voucher, {})
        counts = [(object_id, had.get(object_id, 0)) for object_id in objects]
        self._send(owner, Holdings(self._number(owner), voucher, counts))

    # --- deaths ---

    def is_gone(self, process: str) -> bool:
        """Whether the process is known to be dead."""
        return process in self._gone

    def process_gone(self, process: str) -> Iterable[bytes]:
        """A process is dead, and all that has come from it was handled.

        Returns:
            The objects of this process of which `LoanBook.is_lent` may have changed.
        """
        if process in self._gone:
            return ()
        self._gone[process] = None
        if len(self._gone) > _DEATHS:
            del self._gone[next(iter(self._gone))]
        for numbers in (self._sent, self._heard):
            numbers.pop(process, None)
        self.outbox.pop(process, None)
        for request in [request for request, (owner, _) in self._requests.items() if owner == process]:
            self._close(request)
        for voucher, asked in list(self._asked.items()):
            self._asked[voucher] = [(owner, objects) for owner, objects in asked if owner != process]
        for owner, objects in self._asked.pop(process, ()):
            self._answer(owner, process, objects)
        changed, inquiries = self.book.gone(process, self.address)
        for borrower, objects in inquiries.items():
            self._send(borrower, Inquire(process, objects))
        return changed

    # --- sending ---

    def take_outbox(self) -> dict[str, list[OwnershipMessage]]:
        """All that is to be sent; the caller sends it before what it takes later."""
        outbox, self.outbox = self.outbox, {}
        return outbox

    def _send(self, receiver: str, message: OwnershipMessage) -> None:
        messages = self.outbox.get(receiver)
        if messages is None:
            self.outbox[receiver] = [message]
        else:
            messages.append(message)

    def _number(self, receiver: str) -> int:
        number = self._sent[receiver] = self._sent.get(receiver, 0) + 1
        return number

    def _request(self, owner: str, loans: list[Loan]) -> int:
        self._last_request += 1
        self._requests[self._last_request] = owner, loans
        return self._last_request

    def _close(self, request: int) -> None:
        _, loans = self._requests.pop(request, ("", ()))
        for loan in loans:
            loan.unconfirmed -= 1

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        self.book.check_invariants()
        for objects in self._vouched.values():
            assert objects, "a voucher without registrations is kept"
            assert all(count > 0 for count in objects.values()), "more was released than registered"
        assert not self._requests.keys() & {0}, "request 0 has no answer"
        for processes in (self._sent, self._heard, self.outbox):
            assert not processes.keys() & self._gone.keys(), "something is kept for the dead"
        for voucher in self._asked:
            assert voucher not in self._gone, "an inquiry about the dead was not answered"
