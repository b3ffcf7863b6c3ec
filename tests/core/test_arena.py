"""`trayray.core.arena`, one rule of its policy at a time; arbitrary histories are in tests/property."""

import pytest

from trayray.core.arena import LARGE, PAGE, Arena


def taken(arena: Arena, *sizes: int) -> list[int]:
    offsets: list[int] = []
    for size in sizes:
        offset = arena.allocate(size)
        assert offset is not None
        offsets.append(offset)
    return offsets


def test_an_empty_arena_is_one_free_piece() -> None:
    arena = Arena(1024)

    assert (arena.capacity, arena.used, arena.available, arena.largest_free) == (1024, 0, 1024, 1024)
    assert arena.blocks() == {}
    arena.check_invariants()


@pytest.mark.parametrize(
    ("size", "footprint"),
    [
        (1, 64),
        (64, 64),
        (65, 128),
        (LARGE - 1, LARGE),
        (LARGE, LARGE),
        (LARGE + 1, LARGE + PAGE),
        (LARGE + PAGE, LARGE + PAGE),
    ],
)
def test_sizes_are_rounded_to_the_alignment_and_large_ones_to_pages(size: int, footprint: int) -> None:
    arena = Arena(4 * LARGE)

    assert arena.footprint(size) == footprint
    (offset,) = taken(arena, size)
    assert arena.used == footprint
    assert arena.blocks() == {offset: footprint}
    assert arena.free(offset) == footprint


def test_an_alignment_above_a_page_holds_for_large_sizes_too() -> None:
    assert Arena(4 * LARGE, alignment=4 * PAGE).footprint(LARGE + 1) == LARGE + 4 * PAGE


def test_allocation_fills_the_arena_to_the_last_byte_and_then_fails() -> None:
    arena = Arena(256)

    assert taken(arena, 64, 128, 64) == [0, 64, 192]
    assert arena.available == arena.largest_free == 0
    assert arena.allocate(1) is None
    arena.check_invariants()


def test_a_failed_allocation_changes_nothing() -> None:
    arena = Arena(256)
    first, _, _ = taken(arena, 64, 64, 64)
    arena.free(first)

    assert arena.allocate(128) is None

    assert arena.used == 128
    assert arena.largest_free == 64
    arena.check_invariants()


def test_a_freed_block_is_reused_before_fresh_space() -> None:
    arena = Arena(4096)
    first, _ = taken(arena, 256, 64)
    arena.free(first)

    assert taken(arena, 64) == [first]


def test_the_best_fit_wins_over_a_lower_address() -> None:
    arena = Arena(4096)
    wide, _, narrow, _ = taken(arena, 256, 64, 128, 64)
    arena.free(wide)
    arena.free(narrow)

    assert taken(arena, 128) == [narrow]


def test_the_lowest_address_wins_among_equal_fits() -> None:
    arena = Arena(4096)
    low, _, high, _ = taken(arena, 128, 64, 128, 64)
    arena.free(high)
    arena.free(low)

    assert taken(arena, 128, 128) == [low, high]


def test_growing_into_fresh_space_starts_in_the_touched_block_below_it() -> None:
    arena = Arena(1024)
    _, last = taken(arena, 64, 128)
    arena.free(last)

    assert arena.largest_free == 1024 - 64
    assert taken(arena, 512) == [last]
    arena.check_invariants()


def test_after_everything_is_freed_the_touched_pages_come_first() -> None:
    arena = Arena(1024)
    for offset in taken(arena, 128, 128):
        arena.free(offset)

    assert arena.largest_free == 1024
    assert taken(arena, 64, 64, 128, 64) == [0, 64, 128, 256]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_neighbours_are_merged_in_any_order_of_freeing(order: tuple[int, int, int]) -> None:
    arena = Arena(256)
    offsets = taken(arena, 64, 64, 64, 64)
    for index in order:
        arena.free(offsets[index])
        arena.check_invariants()

    assert arena.largest_free == 192
    assert taken(arena, 192) == [0]


def test_freeing_twice_is_refused_and_changes_nothing() -> None:
    arena = Arena(256)
    first, _ = taken(arena, 64, 64)
    arena.free(first)

    with pytest.raises(ValueError, match=r"offset 0 .*freed before, or never given out"):
        arena.free(first)

    assert arena.used == 64
    arena.check_invariants()


@pytest.mark.parametrize("offset", [-64, 1, 64, 128, 4096])
def test_freeing_what_is_no_start_of_a_block_is_refused(offset: int) -> None:
    arena = Arena(256)
    taken(arena, 128)

    with pytest.raises(ValueError, match=f"offset {offset} "):
        arena.free(offset)

    assert arena.blocks() == {0: 128}


@pytest.mark.parametrize("size", [0, -1])
def test_a_block_has_at_least_one_byte(size: int) -> None:
    arena = Arena(256)

    with pytest.raises(ValueError, match=f"at least 1 byte, but {size} were requested"):
        arena.allocate(size)


@pytest.mark.parametrize("alignment", [0, -64, 3, 96])
def test_the_alignment_is_a_power_of_two(alignment: int) -> None:
    with pytest.raises(ValueError, match=f"power of two, not {alignment}"):
        Arena(9216, alignment)


@pytest.mark.parametrize("capacity", [0, -64, 100])
def test_the_capacity_is_a_positive_multiple_of_the_alignment(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"positive multiple of its alignment of 64 bytes, not {capacity}"):
        Arena(capacity)
