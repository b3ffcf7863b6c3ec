"""The owner's book of loans: which processes borrow which of its objects, however their messages are ordered.

A registration of a borrower and its release travel on different links, so a release may arrive first. Registrations are
therefore counted: every one must be released, and a release that came early waits in the book as a debt.
Not here: the references themselves and the borrower's side (``worker.references``), sending (``worker.peers``).
"""

from collections.abc import Iterable


class LoanBook:
    """Counts of registrations minus releases, by object and borrower."""

    def __init__(self) -> None:
        #: By object, then borrower: never 0; positive for a loan, negative for a release that came first.
        self._counts: dict[bytes, dict[str, int]] = {}
        #: Objects that a borrower appears with in `_counts`.
        self._objects: dict[str, set[bytes]] = {}

    def lend(self, object_id: bytes, borrower: str) -> bool:
        """One more registration; whether the object is lent to anybody now."""
        self._add(object_id, borrower, 1)
        return self.is_lent(object_id)

    def give_back(self, object_id: bytes, borrower: str, count: int) -> bool:
        """``borrower`` releases ``count`` of its registrations; whether the object is still lent to anybody."""
        self._add(object_id, borrower, -count)
        return self.is_lent(object_id)

    def gone(self, borrower: str) -> list[bytes]:
        """A borrower is dead: all its loans end; the objects that are lent to nobody any more."""
        returned: list[bytes] = []
        for object_id in self._objects.pop(borrower, ()):
            borrowers = self._counts[object_id]
            del borrowers[borrower]
            if not borrowers:
                del self._counts[object_id]
            if not self.is_lent(object_id):
                returned.append(object_id)
        return returned

    def is_lent(self, object_id: bytes) -> bool:
        """Whether any process borrows the object."""
        return any(count > 0 for count in self._counts.get(object_id, {}).values())

    def borrowers(self, object_id: bytes) -> list[str]:
        """The processes that borrow the object."""
        return [borrower for borrower, count in self._counts.get(object_id, {}).items() if count > 0]

    def lent_objects(self) -> Iterable[bytes]:
        """All objects that anybody borrows."""
        return [object_id for object_id in self._counts if self.is_lent(object_id)]

    def _add(self, object_id: bytes, borrower: str, change: int) -> None:
        borrowers = self._counts.setdefault(object_id, {})
        count = borrowers.get(borrower, 0) + change
        objects = self._objects.setdefault(borrower, set())
        if count:
            borrowers[borrower] = count
            objects.add(object_id)
            return
        borrowers.pop(borrower, None)
        objects.discard(object_id)
        if not borrowers:
            del self._counts[object_id]
        if not objects:
            del self._objects[borrower]

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        for object_id, borrowers in self._counts.items():
            assert borrowers, "an object without borrowers is kept"
            for borrower, count in borrowers.items():
                assert count != 0, "a settled loan is kept"
                assert object_id in self._objects[borrower]
        for borrower, objects in self._objects.items():
            assert objects, "a borrower without objects is kept"
            for object_id in objects:
                assert borrower in self._counts[object_id]
