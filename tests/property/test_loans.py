"""LoanBook against the truth, with registrations and releases delivered in any order between links."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trayray.core.loans import LoanBook

OBJECTS = st.sampled_from([b"x", b"y", b"z"])
BORROWERS = st.sampled_from(["a", "b", "c"])


class LoansMachine(RuleBasedStateMachine):
    """Two unordered links lead to the owner: one carries registrations, the other releases."""

    def __init__(self):
        super().__init__()
        self.book = LoanBook()
        self.registrations = []
        self.releases = []
        self.delivered = {}
        self.dead = set()

    @rule(object_id=OBJECTS, borrower=BORROWERS)
    def borrow_and_drop(self, object_id, borrower):
        if borrower not in self.dead:
            self.registrations.append((object_id, borrower))
            self.releases.append((object_id, borrower))

    @precondition(lambda self: self.registrations)
    @rule(data=st.data())
    def registration_arrives(self, data):
        object_id, borrower = self.registrations.pop(data.draw(st.integers(0, len(self.registrations) - 1)))
        if borrower not in self.dead:
            self._count(object_id, borrower, 1)
            assert self.book.lend(object_id, borrower) == self._is_lent(object_id)

    @precondition(lambda self: self.releases)
    @rule(data=st.data())
    def release_arrives(self, data):
        object_id, borrower = self.releases.pop(data.draw(st.integers(0, len(self.releases) - 1)))
        if borrower not in self.dead:
            self._count(object_id, borrower, -1)
            assert self.book.give_back(object_id, borrower, 1) == self._is_lent(object_id)

    @rule(borrower=BORROWERS)
    def borrower_dies(self, borrower):
        lent = {object_id for object_id, _ in self.delivered if self._is_lent(object_id)}
        self.dead.add(borrower)
        self.delivered = {key: count for key, count in self.delivered.items() if key[1] != borrower}
        assert set(self.book.gone(borrower)) >= {object_id for object_id in lent if not self._is_lent(object_id)}

    def _count(self, object_id, borrower, change):
        key = object_id, borrower
        self.delivered[key] = self.delivered.get(key, 0) + change

    def _is_lent(self, object_id):
        return any(count > 0 for (each, _), count in self.delivered.items() if each == object_id)

    @invariant()
    def the_book_agrees_with_the_truth(self):
        self.book.check_invariants()
        assert set(self.book.lent_objects()) == {o for o, _ in self.delivered if self._is_lent(o)}

    @invariant()
    def nothing_is_left_once_the_network_is_quiet(self):
        if not self.registrations and not self.releases:
            assert list(self.book.lent_objects()) == []


TestLoans = LoansMachine.TestCase
