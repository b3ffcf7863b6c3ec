import pytest

from trayray.core.stream_flow import Receiving, Sending, StreamFlow


def test_the_caller_has_no_credit_before_the_method_begins():
    flow = StreamFlow(3, opened=False)
    assert flow.sending() is Sending.WAIT
    assert not flow.is_open
    flow.credit(0)
    assert flow.is_open
    for _ in range(3):
        assert flow.sending() is Sending.GO
        flow.send()
    assert flow.sending() is Sending.WAIT


def test_credit_that_comes_late_takes_nothing_away():
    flow = StreamFlow(1, opened=True)
    flow.send()
    flow.credit(1)
    flow.credit(0)
    assert flow.sending() is Sending.GO


def test_an_item_that_did_not_go_gives_its_credit_back():
    flow = StreamFlow(1, opened=True)
    flow.send()
    flow.take_back()
    assert flow.sending() is Sending.GO
    assert flow.end() == 0


def test_the_other_end_hears_of_half_a_window_at_a_time():
    flow = StreamFlow(4, opened=True)
    for _ in range(4):
        flow.arrive()
    assert [flow.take() for _ in range(2)] == [False, True]
    assert flow.report() == 2
    assert flow.take() is False


def test_a_window_of_one_reports_each_item():
    flow = StreamFlow(1, opened=True)
    flow.arrive()
    assert flow.take()


def test_the_end_comes_after_what_was_sent_before_it():
    flow = StreamFlow(2, opened=True)
    flow.other_ended(2)
    assert flow.receiving() is Receiving.WAIT
    flow.arrive()
    flow.arrive()
    assert flow.receiving() is Receiving.TAKE
    flow.take()
    flow.take()
    assert flow.receiving() is Receiving.ENDED


def test_what_has_come_may_be_taken_when_all_is_over():
    flow = StreamFlow(2, opened=True)
    flow.arrive()
    flow.finish()
    assert flow.sending() is Sending.OVER
    assert flow.receiving() is Receiving.TAKE
    flow.take()
    assert flow.receiving() is Receiving.OVER


def test_who_has_ended_hears_that_first():
    flow = StreamFlow(1, opened=True)
    flow.end()
    flow.finish()
    assert flow.sending() is Sending.ENDED


def test_sending_without_credit_is_a_mistake_of_this_package():
    flow = StreamFlow(1, opened=False)
    with pytest.raises(AssertionError, match="without credit"):
        flow.send()
    with pytest.raises(AssertionError, match="without credit"):
        for _ in range(2):
            flow.arrive()
