"""The ownership protocol's corner cases, one process at a time, and the owner's book of loans."""

import pytest

from trayray.core.loan_book import LoanBook
from trayray.core.loan_messages import Borrow, Borrowed, Holdings, Inquire, Release
from trayray.core.ownership import Fate, Loan, Ownership

OBJECT, OTHER = b"object", b"other"
ME, OWNER, BORROWER, THIRD = "me", "owner", "borrower", "third"


@pytest.fixture
def process():
    return Ownership(ME)


def sent(process):
    """What has been decided to send since."""
    process.check_invariants()
    return [(to, message) for to, messages in process.take_outbox().items() for message in messages]


def registered(process, *, voucher="", object_id=OBJECT):
    loan = Loan(object_id, OWNER)
    process.received(object_id, OWNER, voucher, loan)
    return loan


# ---------------------------------------------------------------- the book


def test_an_object_is_lent_until_every_registration_is_released():
    book = LoanBook()
    book.add(OBJECT, "a", "", 2)
    book.add(OBJECT, "a", "", -1)
    assert book.is_lent(OBJECT)
    book.add(OBJECT, "a", "", -1)
    assert not book.is_lent(OBJECT)
    assert book.is_empty
    book.check_invariants()


def test_a_release_that_overtakes_its_registration_settles_it():
    book = LoanBook()
    book.add(OBJECT, "a", "", -1)
    assert not book.is_lent(OBJECT)
    assert not book.is_empty
    book.add(OBJECT, "b", "", 1)
    assert book.borrowers(OBJECT) == ["b"], "a debt of one is no loan of another"
    book.add(OBJECT, "a", "", 1)
    assert book.borrowers(OBJECT) == ["b"]
    book.check_invariants()


def test_a_dead_borrowers_loans_end_and_those_of_others_do_not():
    book = LoanBook()
    for object_id, borrower in ((OBJECT, "a"), (OTHER, "a"), (OTHER, "b")):
        book.add(object_id, borrower, "", 1)
    assert book.gone("a", ME) == ([OBJECT, OTHER], {})
    assert list(book.lent_objects()) == [OTHER]
    assert book.gone("nobody", ME) == ([], {})
    book.check_invariants()


def test_what_a_dead_process_vouched_for_stays_until_the_borrower_has_said():
    book = LoanBook()
    book.add(OBJECT, "b", "a", 2)
    assert book.gone("a", ME) == ([OBJECT], {"b": [OBJECT]})
    assert book.is_lent(OBJECT)
    book.set(OBJECT, "b", "a", 1)
    assert book.count(OBJECT, "b", "a") == 1
    book.set(OBJECT, "b", "a", 0)
    assert book.is_empty
    book.check_invariants()


def test_what_was_on_its_way_back_from_a_dead_process_will_not_come():
    book = LoanBook()
    book.add(OBJECT, ME, "a", 1)
    assert book.gone("a", ME) == ([OBJECT], {})
    assert book.is_empty


# ---------------------------------------------------------------- references that leave


def test_own_references_in_a_value_are_lent_at_once(process):
    assert process.pass_on([(OBJECT, "", None)], BORROWER) == []
    assert process.book.borrowers(OBJECT) == [BORROWER]
    assert sent(process) == []


def test_a_value_with_a_third_processes_reference_waits_for_the_owner(process):
    (request,) = process.pass_on([(OBJECT, OWNER, registered(process))], BORROWER)
    assert sent(process) == [(OWNER, Borrow(1, [OBJECT], BORROWER, request))]
    assert process.is_open(request)
    process.handle(OWNER, Borrowed(request))
    assert not process.is_open(request)
    process.handle(OWNER, Borrowed(request))


def test_nobody_waits_for_an_owner_that_is_dead(process):
    (request,) = process.pass_on([(OBJECT, OWNER, registered(process))], BORROWER)
    process.process_gone(OWNER)
    assert not process.is_open(request)
    assert process.pass_on([(OBJECT, OWNER, None)], BORROWER) == []
    assert sent(process) == []


def test_nothing_is_said_of_what_goes_to_the_dead_or_stays(process):
    process.process_gone(BORROWER)
    assert process.pass_on([(OBJECT, "", None), (OTHER, OWNER, registered(process))], BORROWER) == []
    assert process.pass_on([(OBJECT, "", None)], ME) == []
    process.lend([OBJECT], ME)
    process.lend([OBJECT], BORROWER)
    assert process.book.is_empty
    assert sent(process) == []


def test_a_registered_reference_returns_to_its_owner_without_a_wait(process):
    loan = registered(process)
    assert process.pass_on([(OBJECT, OWNER, loan)], OWNER) == []
    process.dropped(loan)
    assert sent(process) == [(OWNER, Borrow(1, [OBJECT], OWNER)), (OWNER, Release(2, [(OBJECT, 1, ())]))]


def test_a_reference_that_a_caller_holds_returns_to_its_owner_with_a_wait(process):
    (request,) = process.pass_on([(OBJECT, OWNER, Loan(OBJECT, OWNER))], OWNER)
    assert process.is_open(request)


@pytest.mark.parametrize("registration_first", [True, False])
def test_the_owner_keeps_what_is_on_its_way_back(registration_first):
    owner = Ownership(OWNER)
    owner.lend([OBJECT], BORROWER)
    coming, released = Borrow(1, [OBJECT], OWNER), Release(2, [(OBJECT, 1, ())])
    if registration_first:
        owner.handle(BORROWER, coming)
        owner.handle(BORROWER, released)
        assert owner.book.is_lent(OBJECT)
        owner.received(OBJECT, OWNER, BORROWER, None)
    else:
        owner.received(OBJECT, OWNER, BORROWER, None)
        owner.handle(BORROWER, coming)
        owner.handle(BORROWER, released)
    assert owner.book.is_empty


# ---------------------------------------------------------------- references that come and go


def test_what_becomes_of_a_reference(process):
    assert process.fate(OWNER) is Fate.LOAN
    assert process.fate(ME) is Fate.DELETED
    process.process_gone(OWNER)
    assert process.fate(OWNER) is Fate.OWNER_DIED


def test_all_registrations_are_released_in_one_message(process):
    loan = registered(process)
    process.received(OBJECT, OWNER, THIRD, loan)
    process.received(OBJECT, OWNER, THIRD, loan)
    other = registered(process, object_id=OTHER)
    process.dropped(loan)
    process.dropped(other)
    assert sent(process) == [(OWNER, Release(1, [(OBJECT, 1, ((THIRD, 2),)), (OTHER, 1, ())]))]


def test_a_reference_that_nobody_registered_ends_in_silence(process):
    process.dropped(Loan(OBJECT, OWNER))
    assert sent(process) == []


def test_releases_do_not_overtake_registrations(process):
    first, second = registered(process), registered(process, object_id=OTHER)
    process.dropped(first)
    process.pass_on([(OTHER, OWNER, second)], OWNER)
    process.dropped(second)
    assert [type(message) for _, message in sent(process)] == [Release, Borrow, Release]


def test_a_dead_owner_is_told_nothing(process):
    loan = registered(process)
    vouched = registered(process, voucher=THIRD, object_id=OTHER)
    process.process_gone(OWNER)
    process.dropped(loan)
    process.dropped(vouched)
    assert sent(process) == []


# ---------------------------------------------------------------- calls


def test_the_reply_lists_what_its_caller_owns_and_waits_for_other_owners(process):
    own, foreign, known = Loan(OBJECT, OWNER), Loan(OTHER, THIRD), registered(process, object_id=b"known")
    listed, requests = process.keep([own, foreign, known], OWNER)
    assert listed == [OBJECT]
    assert sent(process) == [(THIRD, Borrow(1, [OTHER], "", *requests))]
    assert process.keep([own], OWNER) == ([], []), "its owner will hear of it by the first reply"


def test_another_calls_reply_waits_for_the_same_registration(process):
    loan = Loan(OBJECT, OWNER)
    _, first = process.keep([loan], "one caller")
    _, second = process.keep([loan], "another")
    assert len(second) == 1
    for request in [*first, *second]:
        process.handle(OWNER, Borrowed(request))
    assert process.keep([loan], "a third") == ([], [])
    process.take_outbox()
    process.dropped(loan)
    assert sent(process) == [(OWNER, Release(3, [(OBJECT, 2, ())]))]


def test_what_a_dead_process_owned_is_not_kept(process):
    process.process_gone(OWNER)
    assert process.keep([Loan(OBJECT, OWNER)], THIRD) == ([], [])


# ---------------------------------------------------------------- repetitions and deaths


def test_messages_count_once(process):
    for _ in range(2):
        process.handle(BORROWER, Borrow(1, [OBJECT]))
    process.handle(BORROWER, Release(2, [(OBJECT, 1, ())]))
    assert process.book.is_empty
    process.handle(BORROWER, Borrow(1, [OBJECT]))
    process.handle(BORROWER, Release(2, [(OBJECT, 1, ())]))
    assert process.book.is_empty


def test_the_dead_register_and_release_nothing(process):
    process.lend([OBJECT], BORROWER)
    assert list(process.process_gone(BORROWER)) == [OBJECT]
    assert list(process.process_gone(BORROWER)) == []
    for message in (Borrow(1, [OBJECT]), Release(2, [(OBJECT, 1, ())]), Borrow(3, [OBJECT], THIRD)):
        process.handle(BORROWER, message)
    process.handle(THIRD, Borrow(1, [OBJECT], BORROWER, 7))
    assert process.book.is_empty
    assert sent(process) == [(THIRD, Borrowed(7))], "whoever asks on behalf of the dead gets an answer all the same"


def test_the_borrower_is_asked_what_a_dead_voucher_has_sent(process):
    process.handle(THIRD, Borrow(1, [OBJECT, OTHER], BORROWER))
    process.process_gone(THIRD)
    assert sent(process) == [(BORROWER, Inquire(THIRD, [OBJECT, OTHER]))]
    assert process.book.is_lent(OTHER)
    process.handle(BORROWER, Holdings(1, THIRD, [(OBJECT, 1), (OTHER, 0)]))
    assert list(process.book.lent_objects()) == [OBJECT]
    process.handle(BORROWER, Release(2, [(OBJECT, 0, ((THIRD, 1),))]))
    assert process.book.is_empty


def test_an_inquiry_is_answered_once_the_death_was_heard_of(process):
    loan = registered(process, voucher=THIRD)
    process.handle(OWNER, Inquire(THIRD, [OBJECT, OTHER]))
    assert sent(process) == []
    process.received(OBJECT, OWNER, THIRD, loan)  # it was under way
    process.process_gone(THIRD)
    assert sent(process) == [(OWNER, Holdings(1, THIRD, [(OBJECT, 2), (OTHER, 0)]))]
    process.handle(OWNER, Inquire(THIRD, [OBJECT]))
    assert sent(process) == [(OWNER, Holdings(2, THIRD, [(OBJECT, 2)]))]


def test_an_owner_that_dies_gets_no_answer(process):
    process.handle(OWNER, Inquire(THIRD, [OBJECT]))
    process.process_gone(OWNER)
    process.process_gone(THIRD)
    assert sent(process) == []


def test_only_so_many_deaths_are_remembered(process, monkeypatch):
    monkeypatch.setattr("trayray.core.ownership._DEATHS", 2)
    for name in ("first", "second", "third"):
        process.process_gone(name)
    assert [process.is_gone(name) for name in ("first", "second", "third")] == [False, True, True]
