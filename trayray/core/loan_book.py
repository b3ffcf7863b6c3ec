"""The owner's book of loans: which processes borrow which of its objects, and who has said so.

A registration and its release may travel on different links, so a release may arrive first. Registrations are therefore
counted: every one must be released, and a release that came early waits in the book as a debt.
Not here: messages and deaths as a whole (``ownership``), the references themselves (``worker.references``).
"""

from collections.abc import Iterable


class LoanBook:
    """Counts of registrations minus releases, by object, borrower and voucher.

    The voucher is the third process that has registered the borrower before it sent it a reference. It is empty when
    the owner or the borrower itself has.
    """

    def __init__(self) -> None:
        #: By object, then (borrower, voucher): never 0; positive for a loan, negative for a release that came first.
        self._counts: dict[bytes, dict[tuple[str, str], int]] = {}
        #: In how many entries of `_counts` a process appears, by object.
        self._entries: dict[str, dict[bytes, int]] = {}

    def add(self, object_id: bytes, borrower: str, voucher: str, change: int) -> None:
        """So many more registrations; less, if negative."""
        holders = self._counts.get(object_id)
        if holders is None:
            holders = self._counts[object_id] = {}
        key = (borrower, voucher)
        before = holders.get(key, 0)
        count = before + change
        if count:
            holders[key] = count
            if not before:
                self._enter(object_id, key)
        else:
            if before:
                self._strike(object_id, key)
            if not holders:
                del self._counts[object_id]

    def set(self, object_id: bytes, borrower: str, voucher: str, count: int) -> None:
        """There are exactly so many registrations."""
        self.add(object_id, borrower, voucher, count - self.count(object_id, borrower, voucher))

    def count(self, object_id: bytes, borrower: str, voucher: str) -> int:
        """Registrations minus releases."""
        return self._counts.get(object_id, {}).get((borrower, voucher), 0)

    def gone(self, process: str, me: str) -> tuple[list[bytes], dict[str, list[bytes]]]:
        """A process is dead: what it borrows is back.

        Args:
            process: who has died.
            me: the owner. What the dead process was about to send it will not come any more.

        Returns:
            The objects that may be lent to nobody any more, and by borrower those that the dead process has vouched
            for: only the borrower can tell whether they have reached it.
        """
        changed: list[bytes] = []
        inquiries: dict[str, list[bytes]] = {}
        for object_id in list(self._entries.get(process, ())):
            holders = self._counts[object_id]
            for key in list(holders):
                borrower, voucher = key
                if borrower == process or (voucher == process and (borrower == me or holders[key] < 0)):
                    self._strike(object_id, key)
                elif voucher == process:
                    inquiries.setdefault(borrower, []).append(object_id)
            if not holders:
                del self._counts[object_id]
            changed.append(object_id)
        return changed, inquiries

    def is_lent(self, object_id: bytes) -> bool:
        """Whether any process borrows the object."""
        holders = self._counts.get(object_id)
        if holders is not None:
            for count in holders.values():
                if count > 0:
                    return True
        return False

    def borrowers(self, object_id: bytes) -> list[str]:
        """The processes that borrow the object."""
        counts = self._counts.get(object_id, {})
        return list(dict.fromkeys(borrower for (borrower, _), count in counts.items() if count > 0))

    def lent_objects(self) -> Iterable[bytes]:
        """All objects that anybody borrows."""
        return [object_id for object_id in self._counts if self.is_lent(object_id)]

    @property
    def is_empty(self) -> bool:
        """Whether there are neither loans nor debts."""
        return not self._counts

    def _enter(self, object_id: bytes, key: tuple[str, str]) -> None:
        for process in key:
            if process:
                entries = self._entries.get(process)
                if entries is None:
                    entries = self._entries[process] = {}
                entries[object_id] = entries.get(object_id, 0) + 1

    def _strike(self, object_id: bytes, key: tuple[str, str]) -> None:
        del self._counts[object_id][key]
        for process in key:
            if process:
                entries = self._entries[process]
                entries[object_id] -= 1
                if not entries[object_id]:
                    del entries[object_id]
                    if not entries:
                        del self._entries[process]

    def check_invariants(self) -> None:
        """Raise AssertionError when the state is impossible."""
        entries: dict[str, dict[bytes, int]] = {}
        for object_id, holders in self._counts.items():
            assert holders, "an object without borrowers is kept"
            for key, count in holders.items():
                assert count != 0, "a settled loan is kept"
                for process in filter(None, key):
                    of_process = entries.setdefault(process, {})
                    of_process[object_id] = of_process.get(object_id, 0) + 1
        assert entries == self._entries, "the index disagrees with the counts"
