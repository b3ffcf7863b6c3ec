"""The owner's book of loans."""

from trayray.core.loans import LoanBook

OBJECT, OTHER = b"object", b"other"


def test_an_object_is_lent_until_every_registration_is_released():
    book = LoanBook()

    assert book.lend(OBJECT, "a")
    assert book.lend(OBJECT, "a")
    assert book.give_back(OBJECT, "a", 1)
    assert not book.give_back(OBJECT, "a", 1)
    book.check_invariants()


def test_a_release_that_overtakes_its_registration_settles_it():
    book = LoanBook()

    assert not book.give_back(OBJECT, "a", 1)
    assert not book.lend(OBJECT, "a")
    assert book.lend(OBJECT, "b")
    assert book.borrowers(OBJECT) == ["b"]
    book.check_invariants()


def test_one_borrowers_early_release_does_not_end_anothers_loan():
    book = LoanBook()
    book.lend(OBJECT, "a")

    assert book.give_back(OBJECT, "b", 1)
    assert book.borrowers(OBJECT) == ["a"]


def test_a_dead_borrowers_loans_end_and_those_of_others_do_not():
    book = LoanBook()
    for object_id, borrower in ((OBJECT, "a"), (OTHER, "a"), (OTHER, "b")):
        book.lend(object_id, borrower)

    assert book.gone("a") == [OBJECT]
    assert list(book.lent_objects()) == [OTHER]
    assert book.gone("nobody") == []
    book.check_invariants()
