"""Events for readers that take their time."""

import gc

from trayray.native.supervision.events import MAX_EVENTS, EventReader, Events, SupervisorEvent


def test_the_oldest_events_of_a_slow_reader_are_dropped_and_that_is_said() -> None:
    events, woken = Events(), list[None]()
    reader = EventReader(lambda: woken.append(None))
    events.add(reader)
    for number in range(MAX_EVENTS + 3):
        events.emit(SupervisorEvent("started", "a", count=number))

    first, second = reader.take(), reader.take()
    assert first is not None
    assert second is not None
    assert (first.kind, first.count) == ("dropped", 3)
    assert str(first) == "the supervisor dropped: 3 events were not taken"
    assert (second.kind, second.count) == ("started", 3)
    assert len(woken) == MAX_EVENTS + 3


def test_a_reader_that_nobody_holds_costs_nothing() -> None:
    events, woken = Events(), list[None]()
    reader = EventReader(lambda: woken.append(None))
    events.add(reader)
    del reader
    gc.collect()
    events.emit(SupervisorEvent("started", "a"))

    assert woken == []


def test_a_reader_that_comes_after_the_end_is_told_so() -> None:
    events = Events()
    events.close()
    reader = EventReader(lambda: None)
    events.add(reader)

    assert reader.closed
    assert reader.take() is None
