"""Any history of an arena agrees with a model that looks at all gaps anew for each request."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trayray.core.arena import Arena

MIB = 1 << 20

# (capacity, alignment): a few units make a crowded arena, 4 MiB leave room for large blocks.
shapes = st.sampled_from([1, 64, 8192]).flatmap(
    lambda alignment: st.tuples(
        st.one_of(st.integers(1, 64).map(lambda units: units * alignment), st.just(4 * MIB)), st.just(alignment)
    )
)


class ArenaAgainstIntervals(RuleBasedStateMachine):
    """The model: a dictionary of allocated intervals and the highest end that any of them ever had."""

    def __init__(self) -> None:
        super().__init__()
        self.start((4 * MIB, 64))

    @initialize(shape=shapes)
    def start(self, shape: tuple[int, int]) -> None:
        self.capacity, self.alignment = shape
        self.arena = Arena(self.capacity, self.alignment)
        self.blocks: dict[int, int] = {}
        self.touched = 0

    def rounded(self, size: int) -> int:
        unit = self.alignment if size < MIB else max(self.alignment, 4096)
        return -(-size // unit) * unit

    def gaps(self) -> list[tuple[int, int]]:
        """(start, end) of all free pieces in order of address; the untouched end of the arena belongs to the last."""
        ends = [0] + [offset + size for offset, size in sorted(self.blocks.items())]
        starts = [*sorted(self.blocks), self.capacity]
        return [(end, start) for end, start in zip(ends, starts, strict=True) if end < start]

    def place(self, size: int) -> int | None:
        """Where the policy puts a block of `size` bytes."""
        reusable = [(min(end, self.touched) - start, start) for start, end in self.gaps()]
        fitting = [(width, start) for width, start in reusable if width >= size]
        if fitting:
            return min(fitting)[1]
        return next((start for start, end in self.gaps() if end - start >= size), None)

    def allocate(self, size: int) -> None:
        footprint = self.rounded(size)
        expected = self.place(footprint)

        assert self.arena.footprint(size) == footprint
        assert self.arena.allocate(size) == expected

        if expected is not None:
            self.blocks[expected] = footprint
            self.touched = max(self.touched, expected + footprint)

    @rule(part=st.floats(0, 1), divisor=st.sampled_from([1, 4, 16, 64]))
    def allocate_a_part_of_the_arena(self, part: float, divisor: int) -> None:
        self.allocate(max(1, int(self.capacity * part / divisor)))

    @rule(more=st.integers(0, 1))
    def allocate_all_that_is_free_in_one_piece(self, more: int) -> None:
        size = max((end - start for start, end in self.gaps()), default=0) + more
        if size:
            self.allocate(size)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.blocks)))

        assert self.arena.free(offset) == self.blocks.pop(offset)

    @rule(offset=st.integers(-1, 4 * MIB))
    def free_what_is_not_allocated(self, offset: int) -> None:
        if offset not in self.blocks:
            with pytest.raises(ValueError, match=f"cannot free offset {offset} "):
                self.arena.free(offset)

    @invariant()
    def the_books_agree(self) -> None:
        self.arena.check_invariants()
        assert self.arena.blocks() == self.blocks
        assert self.arena.used == sum(self.blocks.values())
        assert self.arena.available == sum(end - start for start, end in self.gaps())
        assert self.arena.largest_free == max((end - start for start, end in self.gaps()), default=0)

    def teardown(self) -> None:
        for offset in self.blocks:
            self.arena.free(offset)
        self.arena.check_invariants()
        assert self.arena.used == 0
        assert self.arena.largest_free == self.capacity


TestArenaAgainstIntervals = ArenaAgainstIntervals.TestCase
