"""`trayray.core.segments`: each rule of the store's books; arbitrary interleavings are in tests/property."""

from collections.abc import Callable, Iterator

import pytest

from trayray.core.arena import Arena
from trayray.core.segment_actions import Freed, Granted, NotOwner, Refusal, Refused, SendFence, Statistics
from trayray.core.segments import SegmentTable

A, B, C, NOBODY = b"\xaa", b"\xbb", b"\xcc", b"\xff"


@pytest.fixture
def table() -> Iterator[SegmentTable]:
    """A store of 1024 bytes with the clients A, B and C, whose books are in order at the end of the test."""
    table = SegmentTable(Arena(1024))
    for client in (A, B, C):
        table.connect(client)
    yield table
    table.check_invariants()


def written(table: SegmentTable, writer: bytes, size: int = 64) -> tuple[int, int]:
    """(offset, generation) of a new unsealed segment."""
    answer = table.create(writer, 0, size)
    assert isinstance(answer, Granted)
    return answer.offset, answer.generation


def owned(table: SegmentTable, owner: bytes, size: int = 64) -> tuple[int, int]:
    """(offset, generation) of a new segment that `owner` wrote and sealed for itself."""
    place = written(table, owner, size)
    assert table.seal(owner, *place, owner) == []
    return place


def is_live(table: SegmentTable, place: tuple[int, int]) -> bool:
    """Asked the way a reader asks; leaves no pin behind."""
    probe = b"probe"
    table.connect(probe)
    live = table.pin(probe, *place)
    if live:
        table.unpin(probe, *place)
    table.disconnect(probe, -1)
    return live


# Creating


def test_create_grants_a_segment_and_repeats_the_request(table: SegmentTable) -> None:
    assert table.create(A, 7, 100) == Granted(A, 7, offset=0, generation=1)
    assert table.create(B, 8, 1) == Granted(B, 8, offset=128, generation=2)


def test_generations_are_unique_even_where_offsets_repeat(table: SegmentTable) -> None:
    offset, generation = owned(table, A)
    table.free(A, offset, generation)

    assert table.create(A, 0, 64) == Granted(A, 0, offset, generation + 1)


def test_what_can_never_fit_is_refused_for_good(table: SegmentTable) -> None:
    answer = table.create(A, 3, 1025)

    assert isinstance(answer, Refused)
    assert (answer.client, answer.request, answer.refusal, answer.holders) == (A, 3, Refusal.TOO_LARGE, [])
    assert "1025 bytes" in answer.reason
    assert "1024 bytes" in answer.reason


def test_rounding_counts_for_what_can_never_fit() -> None:
    table = SegmentTable(Arena((1 << 20) + 64))
    table.connect(A)

    answer = table.create(A, 0, (1 << 20) + 64)

    assert isinstance(answer, Refused)
    assert answer.refusal is Refusal.TOO_LARGE


def test_a_full_store_names_its_largest_holders(table: SegmentTable) -> None:
    written(table, A, 128)
    owned(table, B, 512)
    owned(table, A, 128)

    answer = table.create(C, 9, 512)

    assert isinstance(answer, Refused)
    assert (answer.client, answer.request, answer.refusal) == (C, 9, Refusal.FULL)
    assert answer.holders == [(B, 512), (A, 256)]
    for part in ("512 bytes were requested", "256 are free", "client bb: 512 bytes", "client aa: 256 bytes"):
        assert part in answer.reason


def test_a_full_store_names_at_most_three_holders(table: SegmentTable) -> None:
    for number, client in enumerate((A, B, C, b"\x0d")):
        if client == b"\x0d":
            table.connect(client)
        owned(table, client, 64 * (number + 1))

    answer = table.create(A, 0, 1024)

    assert isinstance(answer, Refused)
    assert answer.holders == [(b"\x0d", 256), (C, 192), (B, 128)]


def test_a_full_store_tells_what_only_readers_keep(table: SegmentTable) -> None:
    place = owned(table, A, 768)
    table.pin(B, *place)
    table.free(A, *place)

    answer = table.create(C, 0, 512)

    assert isinstance(answer, Refused)
    assert answer.holders == []
    assert "freed by their owners or left by dead ones, but still in use: 768 bytes" in answer.reason


def test_a_fragmented_store_is_full_for_large_segments_only(table: SegmentTable) -> None:
    places = [owned(table, A, 256) for _ in range(4)]
    table.free(A, *places[0])
    table.free(A, *places[2])

    answer = table.create(A, 0, 512)

    assert isinstance(answer, Refused)
    assert answer.refusal is Refusal.FULL
    assert "512 are free, at most 256 of them in one piece" in answer.reason
    assert isinstance(table.create(A, 0, 256), Granted)


# Sealing and freeing


def test_the_owner_frees_what_it_wrote(table: SegmentTable) -> None:
    offset, generation = owned(table, A, 100)

    assert table.free(A, offset, generation) == [Freed(offset, generation, 128)]
    assert table.statistics().used == 0


def test_a_segment_may_be_sealed_for_another_client(table: SegmentTable) -> None:
    place = written(table, A)

    assert table.seal(A, *place, B) == []

    assert table.statistics().client_bytes == {A: 0, B: 64, C: 0}
    assert table.free(B, *place) == [Freed(*place, 64)]


def test_sealing_for_an_owner_that_is_gone_frees_at_once(table: SegmentTable) -> None:
    place = written(table, A)
    table.disconnect(B, 1)

    assert table.seal(A, *place, B) == [Freed(*place, 64)]


def test_sealing_for_an_owner_that_never_was_frees_at_once(table: SegmentTable) -> None:
    place = written(table, A)

    assert table.seal(A, *place, NOBODY) == [Freed(*place, 64)]


def test_sealing_for_an_owner_that_is_gone_waits_for_readers(table: SegmentTable) -> None:
    place = written(table, A)
    table.pin(C, *place)
    table.disconnect(B, 1)

    assert table.seal(A, *place, B) == []
    assert table.unpin(C, *place) == [Freed(*place, 64)]


def test_the_writer_may_give_up(table: SegmentTable) -> None:
    place = written(table, A)

    assert table.free(A, *place) == [Freed(*place, 64)]


def test_a_free_that_overtakes_the_seal_takes_effect_at_the_seal(table: SegmentTable) -> None:
    place = written(table, A)

    assert table.free(B, *place) == []
    assert is_live(table, place)
    assert table.seal(A, *place, B) == [Freed(*place, 64)]


def test_a_free_that_overtakes_the_seal_still_respects_pins(table: SegmentTable) -> None:
    place = written(table, A)
    table.free(B, *place)
    table.pin(C, *place)

    assert table.seal(A, *place, B) == []
    assert table.unpin(C, *place) == [Freed(*place, 64)]


def test_an_early_free_by_another_than_the_owner_has_no_effect_and_is_told_at_the_seal(table: SegmentTable) -> None:
    place = written(table, A)
    table.free(C, *place)

    assert table.seal(A, *place, B) == [NotOwner(C, *place, owner=B)]
    assert is_live(table, place)


def test_an_early_free_is_forgotten_with_its_client(table: SegmentTable) -> None:
    place = written(table, A)
    table.free(B, *place)
    table.disconnect(B, 1)
    table.check_invariants()
    table.connect(B)

    assert table.seal(A, *place, B) == []
    assert is_live(table, place)


def test_an_early_free_is_forgotten_with_its_segment(table: SegmentTable) -> None:
    place = written(table, A)
    table.free(B, *place)

    assert table.free(A, *place) == [Freed(*place, 64)]
    table.check_invariants()
    assert table.disconnect(B, 1) == []


def test_freeing_twice_does_not_free_the_next_segment_at_the_offset(table: SegmentTable) -> None:
    offset, generation = owned(table, A)
    table.free(A, offset, generation)
    new_offset, new_generation = owned(table, A)
    assert new_offset == offset

    assert table.free(A, offset, generation) == []

    assert is_live(table, (new_offset, new_generation))


def test_freeing_twice_has_no_effect_while_a_reader_is_there(table: SegmentTable) -> None:
    place = owned(table, A)
    table.pin(B, *place)
    table.free(A, *place)

    assert table.free(A, *place) == []
    assert table.unpin(B, *place) == [Freed(*place, 64)]


# Pins


def test_a_freed_segment_stays_until_the_last_unpin(table: SegmentTable) -> None:
    place = owned(table, A)
    assert table.pin(B, *place)
    assert table.pin(B, *place)
    assert table.pin(C, *place)

    assert table.free(A, *place) == []
    assert table.unpin(B, *place) == []
    assert table.unpin(C, *place) == []
    assert table.unpin(B, *place) == [Freed(*place, 64)]


def test_unpinning_alone_frees_nothing(table: SegmentTable) -> None:
    place = owned(table, A)
    table.pin(B, *place)

    assert table.unpin(B, *place) == []
    assert is_live(table, place)


def test_a_pin_may_overtake_the_seal(table: SegmentTable) -> None:
    place = written(table, A)

    assert table.pin(B, *place)
    assert table.seal(A, *place, A) == []
    assert table.free(A, *place) == []
    assert table.unpin(B, *place) == [Freed(*place, 64)]


def test_a_pin_that_comes_too_late_is_refused_and_its_unpin_has_no_effect(table: SegmentTable) -> None:
    offset, generation = owned(table, A)
    table.free(A, offset, generation)
    assert owned(table, A) == (offset, generation + 1)

    assert not table.pin(B, offset, generation)
    assert table.unpin(B, offset, generation) == []

    assert table.statistics().pinned_bytes == 0


# Deaths


def test_death_gives_unfinished_segments_and_pins_back_at_once(table: SegmentTable) -> None:
    unfinished = written(table, B)
    kept = owned(table, A)
    freed = owned(table, A)
    for place in (kept, freed, freed):
        table.pin(B, *place)
    table.free(A, *freed)

    actions = table.disconnect(B, 1)

    assert actions == [Freed(*freed, 64), Freed(*unfinished, 64)]
    assert table.statistics() == Statistics(
        used=64, capacity=1024, unsealed=0, objects=1, pinned_bytes=0, client_bytes={A: 64, C: 0}
    )


def test_an_unfinished_segment_of_the_dead_that_is_pinned_goes_at_the_last_unpin(table: SegmentTable) -> None:
    place = written(table, A)
    table.pin(B, *place)

    assert table.disconnect(A, 1) == []
    assert table.unpin(B, *place) == [Freed(*place, 64)]


def test_what_the_dead_owned_is_freed_once_all_others_have_acknowledged_the_fence(table: SegmentTable) -> None:
    places = [owned(table, A), owned(table, A)]

    assert table.disconnect(A, 5) == [SendFence([B, C], 5)]
    assert table.fence_ack(C, 5) == []
    assert all(is_live(table, place) for place in places)
    assert table.fence_ack(B, 5) == [Freed(*place, 64) for place in places]


def test_a_pin_that_was_under_way_when_the_owner_died_is_kept(table: SegmentTable) -> None:
    place = owned(table, A)
    table.disconnect(A, 5)
    table.fence_ack(C, 5)

    assert table.pin(B, *place)
    assert table.fence_ack(B, 5) == []
    assert table.unpin(B, *place) == [Freed(*place, 64)]


def test_an_orphan_survives_its_unpin_until_the_fence_is_complete(table: SegmentTable) -> None:
    place = owned(table, A)
    table.pin(B, *place)
    table.disconnect(A, 5)

    assert table.unpin(B, *place) == []
    assert table.fence_ack(B, 5) == []
    assert table.fence_ack(C, 5) == [Freed(*place, 64)]


def test_clients_that_connect_after_the_death_are_not_waited_for(table: SegmentTable) -> None:
    place = owned(table, A)
    table.disconnect(A, 5)
    table.connect(b"late")
    table.fence_ack(B, 5)

    assert table.fence_ack(C, 5) == [Freed(*place, 64)]


def test_a_client_that_dies_counts_as_having_acknowledged(table: SegmentTable) -> None:
    place = owned(table, A)
    table.disconnect(A, 5)
    table.fence_ack(C, 5)

    assert table.disconnect(B, 6) == [Freed(*place, 64)]


def test_two_deaths_have_two_fences(table: SegmentTable) -> None:
    of_a, of_b = owned(table, A), owned(table, B)

    assert table.disconnect(A, 5) == [SendFence([B, C], 5)]
    assert table.disconnect(B, 6) == [SendFence([C], 6)]
    assert table.fence_ack(C, 6) == [Freed(*of_b, 64)]
    assert table.fence_ack(C, 5) == [Freed(*of_a, 64)]


def test_a_dead_client_that_owned_nothing_needs_no_fence(table: SegmentTable) -> None:
    assert table.disconnect(A, 5) == []


def test_the_last_client_leaves_nothing_behind(table: SegmentTable) -> None:
    place = owned(table, A)
    table.pin(A, *place)
    table.disconnect(B, 1)
    table.disconnect(C, 2)

    assert table.disconnect(A, 3) == [Freed(*place, 64)]
    assert table.statistics() == Statistics(
        used=0, capacity=1024, unsealed=0, objects=0, pinned_bytes=0, client_bytes={}
    )


def test_a_reader_that_connects_again_has_none_of_its_old_pins(table: SegmentTable) -> None:
    place = owned(table, A)
    table.pin(B, *place)
    table.disconnect(B, 1)
    table.connect(B)

    with pytest.raises(ValueError, match="without a pin"):
        table.unpin(B, *place)


def test_a_writer_leaves_what_others_own_of_its_work(table: SegmentTable) -> None:
    """Not what it owns itself, has not finished, or what was freed since."""
    first, second, freed = written(table, A), written(table, A), written(table, A)
    table.seal(A, *first, B)
    table.seal(A, *second, C)
    table.seal(A, *freed, B)
    table.free(B, *freed)
    written(table, A)
    owned(table, A)
    owned(table, B)
    assert table.left_by(A) == {B: [first], C: [second]}
    assert table.left_by(C) == {}


# Sums


def test_statistics_count_bytes_as_the_arena_rounds_them(table: SegmentTable) -> None:
    written(table, A, 100)
    place = owned(table, B, 1)
    table.pin(C, *place)
    table.pin(C, *place)

    assert table.statistics() == Statistics(
        used=192, capacity=1024, unsealed=1, objects=1, pinned_bytes=64, client_bytes={A: 128, B: 64, C: 0}
    )


# Broken protocol: each of these raises and changes nothing. The table holds: (0, 1) written by A, (64, 2) owned by B,
# (128, 3) owned by the dead D behind fence 5, which C has acknowledged, (192, 4) freed by B but pinned by C.

D = b"\xdd"
VIOLATIONS: dict[str, tuple[Callable[[SegmentTable], object], str]] = {
    "connect twice": (lambda t: t.connect(A), "connected to the store already"),
    "disconnect a stranger": (lambda t: t.disconnect(NOBODY, 9), "ff is not connected"),
    "disconnect twice": (lambda t: t.disconnect(D, 9), "dd is not connected"),
    "use an open fence again": (lambda t: t.disconnect(A, 5), "fence 5 is still on its way"),
    "create as a stranger": (lambda t: t.create(NOBODY, 0, 64), "ff is not connected"),
    "create nothing": (lambda t: t.create(A, 0, 0), "at least 1 byte"),
    "seal as a stranger": (lambda t: t.seal(NOBODY, 0, 1, A), "ff is not connected"),
    "seal another's segment": (lambda t: t.seal(B, 0, 1, B), "bb sealed the segment at offset 0, generation 1, which"),
    "seal twice": (lambda t: t.seal(B, 64, 2, B), "not writing"),
    "seal an orphan": (lambda t: t.seal(B, 128, 3, B), "not writing"),
    "seal what was freed": (lambda t: t.seal(B, 192, 4, B), "not writing"),
    "seal at a wrong offset": (lambda t: t.seal(A, 64, 1, A), "generation is at 0"),
    "seal the future": (lambda t: t.seal(A, 0, 5, A), "no such generation"),
    "free as a stranger": (lambda t: t.free(NOBODY, 64, 2), "ff is not connected"),
    "free another's segment": (lambda t: t.free(A, 64, 2), "belongs to client bb"),
    "free an orphan": (lambda t: t.free(A, 128, 3), "belongs to a dead client"),
    "free the future": (lambda t: t.free(A, 0, 5), "no such generation"),
    "free generation zero": (lambda t: t.free(A, 0, 0), "no such generation"),
    "free at a wrong offset": (lambda t: t.free(B, 0, 2), "generation is at 64"),
    "pin as a stranger": (lambda t: t.pin(NOBODY, 64, 2), "ff is not connected"),
    "pin the future": (lambda t: t.pin(A, 0, 5), "no such generation"),
    "pin at a wrong offset": (lambda t: t.pin(A, 0, 2), "generation is at 64"),
    "unpin as a stranger": (lambda t: t.unpin(NOBODY, 192, 4), "ff is not connected"),
    "unpin without a pin": (lambda t: t.unpin(A, 192, 4), "without a pin"),
    "unpin the future": (lambda t: t.unpin(A, 0, 5), "no such generation"),
    "acknowledge as a stranger": (lambda t: t.fence_ack(NOBODY, 5), "ff is not connected"),
    "acknowledge twice": (lambda t: t.fence_ack(C, 5), "not sent to it or is acknowledged already"),
    "acknowledge what was not sent": (lambda t: t.fence_ack(A, 6), "not sent to it or is acknowledged already"),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_breaking_the_protocol_raises_and_changes_nothing(table: SegmentTable, violation: str) -> None:
    act, message = VIOLATIONS[violation]
    table.connect(D)
    unfinished, kept, orphan, freed = written(table, A), owned(table, B), owned(table, D), owned(table, B)
    assert [unfinished, kept, orphan, freed] == [(0, 1), (64, 2), (128, 3), (192, 4)]
    table.disconnect(D, 5)
    table.fence_ack(C, 5)
    table.pin(C, *freed)
    table.free(B, *freed)
    before = table.statistics()

    with pytest.raises(ValueError, match=message):
        act(table)

    table.check_invariants()
    assert table.statistics() == before
    # Everything still goes the way it would have gone.
    assert table.unpin(C, *freed) == [Freed(*freed, 64)]
    assert table.fence_ack(A, 5) == []
    assert table.fence_ack(B, 5) == [Freed(*orphan, 64)]
    assert table.seal(A, *unfinished, A) == []
    assert table.free(A, *unfinished) == [Freed(*unfinished, 64)]
    assert table.free(B, *kept) == [Freed(*kept, 64)]
    assert table.statistics().used == 0


def test_a_table_needs_an_arena_of_its_own() -> None:
    arena = Arena(1024)
    arena.allocate(64)

    with pytest.raises(ValueError, match="64 bytes of it are in use"):
        SegmentTable(arena)
