"""Waiting for room: who is served when, what is spilled for it, and who is told that there is none."""

from typing import Any

import pytest

from trayray.core.arena import Arena
from trayray.core.residence import Resident
from trayray.core.room import Copy, Evict, Located, NoDisk, Return, Room, RoomSettings
from trayray.core.segment_actions import Freed, Granted, Refusal, Refused, SendFence
from trayray.core.segments import SegmentTable

A, B = b"a", b"b"
UNIT = 64


class Store:
    """A table of 10 units with a room; carries out what needs nobody else."""

    def __init__(self, *clients: bytes, **settings: Any) -> None:
        self.table = SegmentTable(Arena(10 * UNIT, UNIT))
        self.room = Room(self.table, RoomSettings(**{"least": 0, "threshold": 1.0, **settings}))
        self.now = 0.0
        self.fence = 0
        for client in clients:
            self.table.connect(client)

    def plan(self) -> list[Any]:
        self.fence += 1
        return list(self.room.plan(self.now, self.fence))

    def ask(self, client: bytes, request: int, units: int) -> list[Any]:
        assert self.room.create(client, request, units * UNIT) is None
        return self.plan()

    def put(self, client: bytes, units: int) -> Granted:
        (granted,) = self.ask(client, 0, units)
        assert isinstance(granted, Granted)
        self.table.seal(client, granted.offset, granted.generation, client)
        return granted

    def acknowledge(self, *clients: bytes) -> list[Any]:
        return [action for client in clients for action in self.table.fence_ack(client, self.fence)]

    def put_away(self, owner: bytes, *others: bytes) -> Granted:
        """An object of 8 units that is on disk only; the store is empty."""
        put = self.put(owner, 8)
        (copy,) = self.ask(owner, 7, 4)
        self.room.copied(copy.objects)
        self.plan()
        self.acknowledge(owner, *others)
        (granted,) = self.plan()
        self.table.free(owner, granted.offset, granted.generation)
        return put


def generations(objects: Any) -> list[int]:
    return [memory.generation for memory in objects]


def test_a_request_that_fits_is_granted() -> None:
    store = Store(A)
    (granted,) = store.ask(A, 5, 10)
    assert isinstance(granted, Granted)
    assert (granted.client, granted.request, granted.offset) == (A, 5, 0)


def test_what_can_never_fit_is_refused_at_once() -> None:
    store = Store(A)
    refused = store.room.create(A, 1, 10 * UNIT + 1)
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.TOO_LARGE
    assert store.plan() == []


def test_a_request_below_one_byte_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1 byte"):
        Store(A).room.create(A, 1, 0)


def test_room_is_made_in_three_steps_least_recently_used_first() -> None:
    store = Store(A, B)
    first, second = store.put(A, 4), store.put(A, 4)

    (copy,) = store.ask(B, 7, 4)
    assert isinstance(copy, Copy)
    assert generations(copy.objects) == [first.generation], "only as much as is wanted"
    assert store.plan() == [], "the file is being written"

    assert store.room.copied(copy.objects) == []
    (evict,) = store.plan()
    assert isinstance(evict, Evict)
    assert evict.leaving == [first.generation]
    assert evict.actions == [SendFence([A, B], store.fence, [first.generation])]
    fence = store.fence
    assert store.plan() == [], "the fence is on its way"

    for client in (A, B):
        store.table.fence_ack(client, fence)
    (granted,) = store.plan()
    assert isinstance(granted, Granted)
    assert (granted.client, granted.request, granted.offset) == (B, 7, 0)
    assert store.table.residence.all[second.generation].at is not None


def test_what_was_read_last_goes_last() -> None:
    store = Store(A, B)
    first, second = store.put(A, 4), store.put(A, 4)
    store.table.pin(B, first.offset, first.generation)
    store.table.unpin(B, first.offset, first.generation)

    (copy,) = store.ask(B, 7, 4)
    assert generations(copy.objects) == [second.generation]


def test_what_is_read_is_not_spilled() -> None:
    store = Store(A, B)
    first, second = store.put(A, 4), store.put(A, 4)
    store.table.pin(B, first.offset, first.generation)

    (copy,) = store.ask(A, 7, 4)
    assert generations(copy.objects) == [second.generation]


def test_a_reader_that_comes_before_the_fence_is_complete_keeps_the_bytes() -> None:
    store = Store(A, B)
    first = store.put(A, 8)
    (copy,) = store.ask(A, 7, 4)
    store.room.copied(copy.objects)
    (evict,) = store.plan()
    assert isinstance(evict, Evict)
    fence = store.fence
    store.table.fence_ack(A, fence)
    store.table.pin(B, first.offset, first.generation)
    store.table.fence_ack(B, fence)
    assert store.table.residence.all[first.generation].at == 0

    store.table.unpin(B, first.offset, first.generation)
    (again,) = store.plan()
    assert isinstance(again, Evict), "its copy is still good"


def test_an_object_that_is_away_comes_back_for_its_reader() -> None:
    store = Store(A)
    first = store.put_away(A)

    store.table.pin(A, first.offset, first.generation)
    assert store.room.locate(A, 9, first.offset, first.generation) is None
    (order,) = store.plan()
    assert isinstance(order, Return)
    assert store.room.locate(A, 10, first.offset, first.generation) is None, "one reading for all"
    assert store.plan() == []
    answers, _ = store.room.returned(order.memory)
    assert answers == [Located(A, request, first.generation, 0) for request in (9, 10)]
    assert store.room.locate(A, 11, first.offset, first.generation) == Located(A, 11, first.generation, 0)


def test_a_reader_that_finds_no_room_is_sent_to_the_disk() -> None:
    store = Store(A)
    first = store.put(A, 8)
    store.ask(A, 7, 10)
    store.room.copied([store.table.residence.all[first.generation]])
    store.plan()
    store.acknowledge(A)
    (granted,) = store.plan()
    assert isinstance(granted, Granted), "all of the store is being written"

    store.table.pin(A, first.offset, first.generation)
    store.room.locate(A, 9, first.offset, first.generation)
    assert store.plan() == [Located(A, 9, first.generation, None)]


def test_a_failed_reading_is_told_to_all_who_wait() -> None:
    store = Store(A)
    first = store.put_away(A)
    store.table.pin(A, first.offset, first.generation)
    store.room.locate(A, 9, first.offset, first.generation)
    (order,) = store.plan()

    answers, _ = store.room.returned(order.memory, "no such file")
    assert answers == [Located(A, 9, first.generation, None, "no such file")]
    assert store.table.available == 10 * UNIT


def test_only_who_has_pinned_may_ask_where() -> None:
    store = Store(A, B)
    first = store.put(A, 8)
    with pytest.raises(ValueError, match="without a pin"):
        store.room.locate(B, 1, first.offset, first.generation)


def test_nobody_else_can_let_go_so_the_request_is_refused() -> None:
    store = Store(A, B)
    first = store.put(A, 8)
    store.table.pin(A, first.offset, first.generation)
    (refused,) = store.ask(A, 7, 4)
    assert isinstance(refused, Refused)
    assert (refused.request, refused.refusal, refused.holders) == (7, Refusal.FULL, [(A, 8 * UNIT)])


def test_a_request_waits_for_others_to_let_go_but_not_for_ever() -> None:
    store = Store(A, B, full_seconds=10.0)
    first = store.put(A, 8)
    store.table.pin(B, first.offset, first.generation)
    assert store.ask(A, 7, 4) == []
    assert store.room.deadline == 10.0
    store.now = 9.0
    assert store.plan() == []
    store.now = 10.0
    (refused,) = store.plan()
    assert isinstance(refused, Refused)
    assert store.room.deadline is None


def test_bytes_that_come_back_start_the_wait_anew() -> None:
    store = Store(A, B, full_seconds=10.0)
    first, second = store.put(A, 7), store.put(A, 2)
    for put in (first, second):
        store.table.pin(B, put.offset, put.generation)
    assert store.ask(A, 7, 4) == []
    store.now = 9.0
    store.table.free(A, second.offset, second.generation)
    store.table.unpin(B, second.offset, second.generation)
    assert store.plan() == []
    assert store.room.deadline == 19.0


def test_a_disk_that_takes_nothing_is_the_reason() -> None:
    store = Store(A)
    store.put(A, 8)
    (copy,) = store.ask(A, 7, 4)
    store.room.copied(copy.objects, "no space left")
    assert store.plan() == [NoDisk(A, 7, "no space left")]
    (copy,) = store.ask(A, 8, 4)
    assert isinstance(copy, Copy), "the next request tries again"


def test_requests_are_served_in_their_order() -> None:
    store = Store(A, B)
    first = store.put(A, 8)
    store.table.pin(A, first.offset, first.generation)
    assert store.ask(B, 1, 4) == []
    assert store.ask(B, 2, 1) == [], "it would fit, but another was first"
    store.table.unpin(A, first.offset, first.generation)
    store.table.free(A, first.offset, first.generation)
    assert [action.request for action in store.plan()] == [1, 2]


def test_a_dead_client_waits_for_nothing() -> None:
    store = Store(A, B)
    first = store.put(A, 8)
    store.table.pin(A, first.offset, first.generation)
    assert store.ask(B, 1, 4) == []
    store.table.disconnect(B, 99)
    store.room.gone(B)
    store.table.free(A, first.offset, first.generation)
    store.table.unpin(A, first.offset, first.generation)
    assert store.plan() == []
    assert store.table.available == 10 * UNIT


def test_objects_are_copied_ahead_above_the_threshold_and_stay() -> None:
    store = Store(A, threshold=0.5, least=2 * UNIT, writers=1)
    first = store.put(A, 4)
    assert store.plan() == []
    granted, copy = store.ask(A, 1, 2)
    assert isinstance(granted, Granted)
    assert isinstance(copy, Copy)
    assert generations(copy.objects) == [first.generation]
    store.room.copied(copy.objects)
    assert store.plan() == []
    assert store.table.residence.all[first.generation].is_at_home


def test_one_file_holds_no_more_objects_than_allowed() -> None:
    store = Store(A, most=2)
    for _ in range(8):
        store.put(A, 1)
    actions = store.ask(A, 7, 8)
    assert [len(action.objects) for action in actions if isinstance(action, Copy)] == [2]


def test_an_object_that_is_freed_while_it_is_copied_goes_when_it_was() -> None:
    store = Store(A)
    first = store.put(A, 8)
    (copy,) = store.ask(A, 7, 4)
    store.table.free(A, first.offset, first.generation)
    assert store.table.available == 2 * UNIT, "its bytes are being read"
    assert store.plan() == []
    memory: Resident = copy.objects[0]
    store.room.copied([memory])
    (granted,) = store.plan()
    assert isinstance(granted, Granted)
    assert first.generation not in store.table.residence.all


def test_bytes_that_return_to_nobody_are_freed_when_they_are_back() -> None:
    store = Store(A, B)
    first = store.put_away(A, B)
    store.table.pin(B, first.offset, first.generation)
    store.room.locate(B, 9, first.offset, first.generation)
    (order,) = store.plan()
    assert isinstance(order, Return)

    store.table.disconnect(B, 99)
    store.room.gone(B)
    store.table.free(A, first.offset, first.generation)
    assert store.table.available == 2 * UNIT, "a thread is writing there"
    answers, freed = store.room.returned(order.memory)
    assert answers == []
    assert freed == [Freed(first.offset, first.generation, 8 * UNIT)]
    assert store.table.available == 10 * UNIT


def test_some_is_copied_in_reserve_for_those_who_come_next() -> None:
    store = Store(A, least=2 * UNIT)
    puts = [store.put(A, 2) for _ in range(5)]
    (copy,) = store.ask(A, 7, 2)
    assert generations(copy.objects) == [put.generation for put in puts[:2]]


def test_a_reader_that_has_given_up_is_not_served() -> None:
    store = Store(A, B)
    first = store.put_away(A, B)

    store.table.pin(B, first.offset, first.generation)
    assert store.room.locate(B, 9, first.offset, first.generation) is None
    store.table.free(A, first.offset, first.generation)
    store.table.unpin(B, first.offset, first.generation)
    assert store.plan() == []
    assert store.table.available == 10 * UNIT
