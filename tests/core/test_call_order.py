"""`trayray.core.call_order`, one promise at a time; arbitrary histories are in tests/property/test_ordering.py."""

import pytest

from trayray.core.call_order import Arguments, CallOrder

READY, MISSING, FAILED = Arguments.READY, Arguments.MISSING, Arguments.FAILED


def queue_of(*calls: str, ordered: bool) -> CallOrder[str]:
    queue: CallOrder[str] = CallOrder(ordered=ordered)
    for call in calls:
        queue.submit(call)
    return queue


def all_ready(call: str) -> Arguments:
    return READY


@pytest.mark.parametrize("ordered", [True, False])
def test_calls_are_sent_once_in_the_order_of_submission(ordered: bool) -> None:
    queue = queue_of("a", "b", "c", ordered=ordered)

    assert queue.take_sendable(all_ready) == (["a", "b", "c"], [])
    assert queue.take_sendable(all_ready) == ([], [])
    assert len(queue) == 0


def test_a_call_with_missing_arguments_holds_back_later_ones() -> None:
    queue = queue_of("a", "b", "c", ordered=True)
    arguments = {"a": READY, "b": MISSING, "c": READY}

    assert queue.take_sendable(arguments.__getitem__) == (["a"], [])
    assert queue.take_sendable(arguments.__getitem__) == ([], [])
    arguments["b"] = READY
    assert queue.take_sendable(arguments.__getitem__) == (["b", "c"], [])


def test_calls_of_an_unordered_actor_overtake_one_with_missing_arguments() -> None:
    queue = queue_of("a", "b", "c", "d", ordered=False)
    arguments = {"a": MISSING, "b": READY, "c": MISSING, "d": READY}

    assert queue.take_sendable(arguments.__getitem__) == (["b", "d"], [])
    arguments.update(a=READY, c=READY)
    assert queue.take_sendable(arguments.__getitem__) == (["a", "c"], [])


@pytest.mark.parametrize("ordered", [True, False])
def test_a_failed_call_leaves_the_sequence_and_holds_nobody_back(ordered: bool) -> None:
    queue = queue_of("a", "b", "c", ordered=ordered)
    arguments = {"a": READY, "b": FAILED, "c": READY}

    assert queue.take_sendable(arguments.__getitem__) == (["a", "c"], ["b"])


def test_a_failed_call_waits_for_its_turn() -> None:
    queue = queue_of("a", "b", ordered=True)
    arguments = {"a": MISSING, "b": FAILED}

    assert queue.take_sendable(arguments.__getitem__) == ([], [])
    arguments["a"] = READY
    assert queue.take_sendable(arguments.__getitem__) == (["a"], ["b"])


def test_what_is_sent_again_goes_before_all_that_wait() -> None:
    queue = queue_of("a", "b", "c", ordered=True)
    arguments = {"a": READY, "b": READY, "c": MISSING}
    sent, _ = queue.take_sendable(arguments.__getitem__)

    queue.resubmit(sent)

    assert queue.take_sendable(all_ready) == (["a", "b", "c"], [])


def test_a_withdrawn_call_is_never_sent_and_holds_nobody_back() -> None:
    queue = queue_of("a", "b", ordered=True)
    assert queue.take_sendable({"a": MISSING}.__getitem__) == ([], [])

    assert queue.withdraw("a")
    assert not queue.withdraw("a")
    assert queue.take_sendable(all_ready) == (["b"], [])


def test_everything_can_be_taken_out_in_order() -> None:
    queue = queue_of("a", "b", ordered=True)

    assert queue.take_all() == ["a", "b"]
    assert queue.take_all() == []
