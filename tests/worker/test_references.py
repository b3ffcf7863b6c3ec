import gc
import pickle
import threading

import pytest

from trayray.core.loan_messages import Release
from trayray.exceptions import OwnerDiedError, ReferenceCountingAssertionError
from trayray.wire.serialization import deserialize, serialize
from trayray.wire.values import INLINE, RefInfo, Value
from trayray.worker.references import Callback, Dropped, ObjectRef, ReferenceTable, ThreadWaiter, adopting

ME, OWNER, BORROWER = "me", "owner", "borrower"


def object_id(number):
    return bytes([number]) * 28


class Process:
    """A process's table, and what it has sent."""

    def __init__(self):
        self.sent = []
        self.wakes = 0
        self.numbers = {}
        self.dropped = Dropped(self._wake)
        self.table = ReferenceTable(ME, self.dropped, lambda address, messages: self.sent.append((address, messages)))

    def _wake(self):
        self.wakes += 1

    def owned(self, number):
        ref = ObjectRef(object_id(number))
        self.table.export(ref)
        return ref

    def loop(self):
        """What the loop does once it has been woken."""
        gc.collect()
        self.dropped.drain()

    def releases(self):
        return [
            (address, release)
            for address, messages in self.sent
            for message in messages
            if isinstance(message, Release)
            for release in message.objects
        ]

    def released_by(self, borrower, number, registrations=1):
        """The message of a borrower that drops an object arrives."""
        self.numbers[borrower] = self.numbers.get(borrower, 0) + 1
        release = object_id(number), registrations, ()
        self.table.handle(borrower, Release(self.numbers[borrower], [release]))


@pytest.fixture
def process():
    return Process()


@pytest.fixture
def table(process):
    return process.table


def value_of(number=1):
    return Value(INLINE, serialize(number).to_bytes())


# ---------------------------------------------------------------- identity


def test_an_exported_reference_that_comes_back_is_the_same(process, table):
    ref = process.owned(1)
    assert table.adopt(object_id(1), ME) is ref


def test_a_borrowed_reference_exists_once(table):
    first = table.adopt(object_id(1), OWNER)
    assert table.adopt(object_id(1), OWNER) is first
    assert first._owner == OWNER


def test_an_owned_object_that_was_deleted_is_lost(process, table):
    ref = process.owned(1)
    del ref
    gc.collect()
    revived = table.adopt(object_id(1), ME)
    assert isinstance(deserialize(revived._value.data), ReferenceCountingAssertionError)


def test_equality_hash_and_repr():
    a, b, other = ObjectRef(object_id(1)), ObjectRef(object_id(1), OWNER), ObjectRef(object_id(2))
    assert a == b
    assert hash(a) == hash(b)
    assert a != other
    assert a != object_id(1)
    assert repr(a) == f"ObjectRef({'01' * 28})"
    assert (a.hex(), a.binary(), a.task_id().binary()) == ("01" * 28, object_id(1), object_id(1)[:24])


def test_a_reference_outside_any_cluster_says_so():
    with pytest.raises(Exception, match=r"trayray.init\(\)"):
        pickle.dumps(ObjectRef(object_id(1)))


def test_what_unpickling_meets_is_noted(table):
    adopting.refs = met = []
    try:
        ref = table.adopt(object_id(1), OWNER)
    finally:
        adopting.refs = None
    assert met == [ref]


# ---------------------------------------------------------------- the owner's side


def test_a_lent_object_lives_until_it_is_given_back(process, table):
    ref = process.owned(1)
    table.lend([object_id(1)], BORROWER)
    del ref
    gc.collect()
    assert object_id(1) in table.known
    process.released_by(BORROWER, 1)
    gc.collect()
    assert object_id(1) not in table.known


def test_every_borrower_must_give_it_back(process, table):
    process.owned(1)  # nobody holds it: gone at once
    ref = process.owned(2)
    table.lend([object_id(2)], BORROWER)
    table.lend([object_id(2)], "another")
    del ref
    process.released_by(BORROWER, 2)
    gc.collect()
    assert object_id(2) in table.known
    process.released_by("another", 2)
    gc.collect()
    assert object_id(2) not in table.known


def test_a_borrower_that_was_registered_twice(process, table):
    ref = process.owned(1)
    table.lend([object_id(1)], BORROWER)
    table.lend([object_id(1)], BORROWER)
    del ref
    process.released_by(BORROWER, 1)
    gc.collect()
    assert object_id(1) in table.known, "the second loan goes on"
    process.released_by(BORROWER, 1)
    gc.collect()
    assert object_id(1) not in table.known


def test_a_release_may_overtake_its_registration(process, table):
    ref = process.owned(1)
    process.released_by(BORROWER, 1)
    table.lend([object_id(1)], BORROWER)
    del ref
    gc.collect()
    assert object_id(1) not in table.known


def test_a_dead_borrower_gives_everything_back(process, table):
    refs = [process.owned(number) for number in (1, 2)]
    table.lend([object_id(1), object_id(2)], BORROWER)
    table.lend([object_id(2)], "another")
    del refs
    table.process_gone(BORROWER)
    gc.collect()
    assert [object_id(number) in table.known for number in (1, 2)] == [False, True]


def test_nothing_is_lent_to_the_dead_or_to_oneself(process, table):
    ref = process.owned(1)
    table.process_gone(BORROWER)
    table.lend([object_id(1)], BORROWER)
    table.lend([object_id(1)], ME)
    del ref
    gc.collect()
    assert object_id(1) not in table.known


def test_unknown_objects_can_be_lent_and_given_back(process, table):
    table.lend([object_id(9)], BORROWER)
    process.released_by(BORROWER, 9)
    process.released_by(BORROWER, 8)
    assert table.lent == {}


def test_only_owned_objects_are_lent(table):
    borrowed = table.adopt(object_id(1), OWNER)
    table.lend([object_id(1)], BORROWER)
    assert table.lent == {}
    assert borrowed._owner == OWNER


# ---------------------------------------------------------------- the borrower's side


def test_the_end_of_a_registered_loan_is_told(process, table):
    ref = table.adopt(object_id(1), OWNER, voucher="")
    del ref
    process.loop()
    assert process.releases() == [(OWNER, (object_id(1), 1, ()))]


def test_the_end_of_a_loan_that_nobody_counts_is_not_told(process, table):
    ref = table.adopt(object_id(1), OWNER)
    del ref
    process.loop()
    assert process.releases() == []


def test_all_registrations_are_released_together(process, table):
    ref = table.adopt(object_id(1), OWNER, voucher="")
    table.adopt(object_id(1), OWNER, voucher="")
    table.adopt(object_id(1), OWNER)
    del ref
    process.loop()
    assert process.releases() == [(OWNER, (object_id(1), 2, ()))]


def test_a_reference_that_is_adopted_again_before_its_end_was_told(process, table):
    ref = table.adopt(object_id(1), OWNER, voucher="")
    del ref
    gc.collect()
    again = table.adopt(object_id(1), OWNER, voucher="")
    process.loop()
    assert process.releases() == [(OWNER, (object_id(1), 1, ()))], "the first loan only"
    del again
    process.loop()
    assert process.releases() == [(OWNER, (object_id(1), 1, ()))] * 2


def test_a_dead_owner_is_told_nothing(process, table):
    ref = table.adopt(object_id(1), OWNER, voucher="")
    table.process_gone(OWNER)
    del ref
    process.loop()
    assert process.sent == []


def test_values_of_a_dead_owner_are_lost_whether_they_have_come_or_not(table):
    waiting, arrived = table.adopt(object_id(1), OWNER), table.adopt(object_id(2), OWNER)
    table.arrived(object_id(2), value_of(5))
    table.process_gone(OWNER)
    assert isinstance(deserialize(waiting._value.data), OwnerDiedError)
    assert isinstance(deserialize(arrived._value.data), OwnerDiedError)
    late = table.adopt(object_id(3), OWNER)
    assert isinstance(deserialize(late._value.data), OwnerDiedError)
    assert table.is_gone(OWNER)


def test_an_owner_that_does_not_know_the_object(table):
    ref = table.adopt(object_id(1), OWNER)
    table.arrived(object_id(1), None)
    assert isinstance(deserialize(ref._value.data), ReferenceCountingAssertionError)


def test_a_value_that_nobody_wants_any_more(table):
    table.arrived(object_id(1), value_of())
    assert len(table.known) == 0


def test_references_inside_a_value_live_as_long_as_it(process, table):
    outer = table.adopt(object_id(1), OWNER)
    value = value_of()
    value.refs = [RefInfo(object_id(2), OWNER), RefInfo(object_id(3), "third", OWNER)]
    table.arrived(object_id(1), value)
    gc.collect()
    assert {object_id(2), object_id(3)} <= set(table.known)
    del outer
    process.loop()
    assert sorted(process.releases()) == [(OWNER, (object_id(2), 1, ())), ("third", (object_id(3), 0, ((OWNER, 1),)))]


# ---------------------------------------------------------------- values and waiting


def test_the_first_value_stays(process, table):
    ref = process.owned(1)
    table.complete(ref, value_of(1))
    table.complete(ref, value_of(2))
    table.fail(ref, ValueError("late"))
    assert deserialize(ref._value.data) == 1


def test_waiters_are_told_once(process, table):
    ref, told = process.owned(1), []
    with table.lock:
        assert table.add_waiter(ref, Callback(lambda: told.append(1)))
    table.complete(ref, value_of())
    table.complete(ref, value_of())
    assert told == [1]
    with table.lock:
        assert not table.add_waiter(ref, Callback(lambda: told.append(2)))
    assert told == [1]


def test_a_removed_waiter_is_not_told(process, table):
    ref, told = process.owned(1), []
    waiter = Callback(lambda: told.append(1))
    table.remove_waiter(ref, waiter)
    with table.lock:
        table.add_waiter(ref, waiter)
    table.remove_waiter(ref, waiter)
    table.remove_waiter(ref, waiter)
    table.complete(ref, value_of())
    assert told == []


def wait_for(process, numbers, *, count, eager):
    refs = [process.owned(number) for number in numbers]
    waiter = ThreadWaiter(count, eager=eager)
    with process.table.lock:
        for ref in refs:
            process.table.add_waiter(ref, waiter)
    return refs, waiter


def test_a_thread_waits_for_all(process, table):
    refs, waiter = wait_for(process, (1, 2, 3), count=3, eager=True)
    assert not waiter.wait(0)
    for ref in refs[:2]:
        table.complete(ref, value_of())
    assert not waiter.wait(0)
    thread = threading.Thread(target=table.complete, args=(refs[2], value_of()))
    thread.start()
    assert waiter.wait(20)
    thread.join()


def test_an_error_ends_an_eager_wait(process, table):
    refs, waiter = wait_for(process, (1, 2), count=2, eager=True)
    table.fail(refs[0], ValueError())
    assert waiter.wait(0)
    table.complete(refs[1], value_of())  # later news does no harm


def test_an_error_counts_as_one_value_in_a_patient_wait(process, table):
    refs, waiter = wait_for(process, (1, 2), count=2, eager=False)
    table.fail(refs[0], ValueError())
    assert not waiter.wait(0)
    table.complete(refs[1], value_of())
    assert waiter.wait(0)


def test_a_negative_timeout_is_none_at_all(process):
    _, waiter = wait_for(process, (1,), count=1, eager=True)
    assert not waiter.wait(-5.0)


# ---------------------------------------------------------------- Dropped


def test_reports_are_handled_in_order_and_may_report_more(process):
    handled = []

    def report(number):
        handled.append(number)
        if number == 1:
            process.dropped.add(report, 3)

    process.dropped.add(report, 1)
    process.dropped.add(report, 2)
    assert (handled, process.wakes) == ([], 2)
    process.dropped.drain()
    assert handled == [1, 2, 3]
