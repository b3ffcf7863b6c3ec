"""Which byte ranges of the node's shared-memory arena are taken.

This module covers: choosing an offset for a block, giving it back, and merging free neighbours.
It does not cover: who a block belongs to and when it may be given back (`trayray.core.segments`), nor the memory
itself: the arena is a range of numbers here.

Policy. Writing to a page that was touched before is about ten times faster than to a fresh one, so space below the
high-water mark (everything ever given out) is always preferred to space above it. Below the mark: best fit, the lowest
address among equals, and the low end of the chosen block. Only when nothing there fits does the mark rise, and then the
block starts in the free block that ends at the mark, if there is one.
"""

from bisect import bisect_left, insort

PAGE = 4096  # bytes
LARGE = 1 << 20  # bytes; from here on a block is a whole number of pages


class Arena:
    """Allocator of blocks in the range 0 .. `capacity` (bytes).

    Each operation is a few dictionary accesses and one or two binary searches in a sorted list. Inserting into that
    list moves 8 bytes for each larger free block, which stays below the cost of the search up to some 10,000 of them.
    """

    def __init__(self, capacity: int, alignment: int = 64) -> None:
        """`capacity` in bytes, a positive multiple of `alignment`; `alignment` in bytes, a power of two.

        Raises ValueError if either is not so.
        """
        if alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"the arena's alignment must be a power of two, not {alignment}")
        if capacity < 1 or capacity % alignment:
            raise ValueError(
                f"the arena's capacity must be a positive multiple of its alignment of {alignment} bytes, "
                f"not {capacity}: round it before creating the arena"
            )
        self._capacity = capacity
        self._alignment = alignment
        # offset -> size of every allocated block and of no other.
        self._blocks: dict[int, int] = {}
        # Sum of the sizes in _blocks.
        self._used = 0
        # High-water mark: blocks and free blocks tile 0 .. _mark exactly; nothing above was ever given out.
        self._mark = 0
        # start -> size of every free block. Two free blocks never touch each other (one may touch the mark).
        self._free: dict[int, int] = {}
        # end -> start of the blocks in _free.
        self._free_ends: dict[int, int] = {}
        # (size, start) of the blocks in _free, sorted: the best fit is the first that is not smaller than the request.
        self._by_size: list[tuple[int, int]] = []

    @property
    def capacity(self) -> int:
        """Bytes in all."""
        return self._capacity

    @property
    def used(self) -> int:
        """Bytes allocated, rounding included."""
        return self._used

    @property
    def available(self) -> int:
        """Bytes not allocated; not necessarily in one piece, see `largest_free`."""
        return self._capacity - self._used

    @property
    def largest_free(self) -> int:
        """Bytes of the largest block that can be allocated now."""
        at_the_end = self._capacity - self._free_ends.get(self._mark, self._mark)
        return max(at_the_end, self._by_size[-1][0]) if self._by_size else at_the_end

    def footprint(self, size: int) -> int:
        """Bytes that a block of `size` bytes takes: up to the alignment, for large blocks up to whole pages.

        Raises ValueError if `size` is below 1.
        """
        if size < 1:
            raise ValueError(f"a block of the arena has at least 1 byte, but {size} were requested")
        unit = max(self._alignment, PAGE) if size >= LARGE else self._alignment
        return (size + unit - 1) & -unit

    def blocks(self) -> dict[int, int]:
        """A copy of what is allocated: offset -> size, both in bytes."""
        return dict(self._blocks)

    def allocate(self, size: int) -> int | None:
        """Take `footprint(size)` bytes and return their offset, or None if no free piece is that large.

        Raises ValueError if `size` is below 1.
        """
        size = self.footprint(size)
        best = bisect_left(self._by_size, (size, 0))
        if best < len(self._by_size):
            found, offset = self._by_size.pop(best)
            del self._free[offset]
            del self._free_ends[offset + found]
            if found > size:
                self._add_free(offset + size, found - size)
        else:
            offset = self._free_ends.get(self._mark, self._mark)
            if self._capacity - offset < size:
                return None
            if offset != self._mark:
                self._remove_free(offset)
            self._mark = offset + size
        self._blocks[offset] = size
        self._used += size
        return offset

    def free(self, offset: int) -> int:
        """Give the block at `offset` back and return its size in bytes.

        Raises ValueError, and changes nothing, if no block is allocated at exactly this offset.
        """
        size = self._blocks.pop(offset, None)
        if size is None:
            raise ValueError(
                f"cannot free offset {offset} of the arena: no block is allocated there "
                "(it was freed before, or never given out); each block is freed once, by the offset allocate() returned"
            )
        self._used -= size
        start, end = offset, offset + size
        if start in self._free_ends:
            start = self._free_ends[start]
            self._remove_free(start)
        if end in self._free:
            end += self._remove_free(end)
        self._add_free(start, end - start)
        return size

    def _add_free(self, start: int, size: int) -> None:
        self._free[start] = size
        self._free_ends[start + size] = start
        insort(self._by_size, (size, start))

    def _remove_free(self, start: int) -> int:
        size = self._free.pop(start)
        del self._free_ends[start + size]
        del self._by_size[bisect_left(self._by_size, (size, start))]
        return size

    def check_invariants(self) -> None:
        """Raise AssertionError if the books contradict themselves; takes time linear in the number of blocks."""
        assert not self._blocks.keys() & self._free.keys(), "a block is both allocated and free"
        position, after_free = 0, False
        for start, size in sorted([*self._blocks.items(), *self._free.items()]):
            assert start == position, f"bytes {position} and {start} should be the same: a gap or an overlap"
            assert size > 0, f"empty block at {start}"
            assert size % self._alignment == 0, f"block at {start} of {size} bytes is not aligned"
            is_free = start in self._free
            assert not (is_free and after_free), f"the free block at {start} was not merged with the one before it"
            position, after_free = start + size, is_free
        assert position == self._mark <= self._capacity, f"blocks end at {position}, the mark is {self._mark}"
        assert self._used == sum(self._blocks.values()), "used is not the sum of the allocated blocks"
        assert self._used + sum(self._free.values()) == self._mark, "bytes below the mark are not all accounted for"
        assert self._free_ends == {start + size: start for start, size in self._free.items()}, "ends of free blocks"
        assert self._by_size == sorted((size, start) for start, size in self._free.items()), "sizes of free blocks"
