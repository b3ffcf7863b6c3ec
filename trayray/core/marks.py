"""Marks in shared memory: which segments may be elsewhere than they were, so that readers must ask.

They lie behind the arena in its memory file, a byte each; the store writes them and every process reads them. Several
segments share a mark: a set one makes readers ask in vain at worst.
Not here: what is asked (`wire.store_messages.Locate`), how the memory is mapped (`worker.arena_mapping`, `node.store`).
"""

from collections import Counter

#: How many there are; the memory file is longer than the arena by so many bytes, most of them never touched.
MARKS = 1 << 20


def mark_of(generation: int) -> int:
    """The index of the mark of the segment with this generation."""
    return generation % MARKS


class Marks:
    """The store's side: which marks are set, and by how many segments."""

    def __init__(self) -> None:
        self._set: set[int] = set()
        self._counts: Counter[int] = Counter()

    def change(self, generation: int, *, elsewhere: bool) -> tuple[int, int] | None:
        """A segment may be elsewhere now, or is not any more: (index, value) of the byte to write, None if none."""
        if elsewhere == (generation in self._set):
            return None
        index = mark_of(generation)
        if elsewhere:
            self._set.add(generation)
            self._counts[index] += 1
            return (index, 1) if self._counts[index] == 1 else None
        self._set.remove(generation)
        self._counts[index] -= 1
        if self._counts[index]:
            return None
        del self._counts[index]
        return index, 0
