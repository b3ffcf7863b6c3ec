"""Where the bytes of objects are: in the arena, on disk, or in both; and which of them were not used for the longest.

This module covers: room in the arena for each object, copies on disk, leaving memory and returning to it, order of use.
It does not cover: who needs an object, so that its bytes may not leave (`trayray.core.segments`, which says it by
`Resident.idle`), what is moved when (`trayray.core.room`).

    in memory -- copy: start_copy, copied --> in memory, with a copy -- evict, leave --> away (on disk only)
              <------------------- start_return, returned (perhaps elsewhere) -----------'

Objects do not change, so a copy stays good as long as its object lives.
"""

from collections.abc import Sequence
from itertools import islice

import attrs

from trayray.core.arena import Arena


@attrs.define(eq=False)
class Resident:
    """One object's bytes."""

    generation: int
    #: As the arena counts it, and as it was asked for (bytes).
    size: int
    length: int
    #: Where it was first, by which everybody names it, and where it is now; None: on disk only.
    home: int
    at: int | None
    #: Nobody reads or writes it, and it may not be given back: its bytes may leave.
    idle: bool = False
    #: A copy is on disk.
    copied: bool = False
    #: Its bytes are being copied to disk, are being read from it, or wait for the word that they may leave.
    copying: bool = False
    returning: bool = False
    going: bool = False

    @property
    def is_readable(self) -> bool:
        """Whether its bytes are at `at`, all of them."""
        return self.at is not None and not self.returning

    @property
    def is_at_home(self) -> bool:
        """Whether everybody finds its bytes where they have always been."""
        return self.at == self.home and not self.returning and not self.going


class Residence:
    """All objects of an arena."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        #: By generation.
        self.all: dict[int, Resident] = {}
        # Generations of those whose bytes may be copied, and of those whose bytes may leave; least recently used first.
        self._uncopied: dict[int, None] = {}
        self._copied: dict[int, None] = {}
        #: Bytes in memory: without a copy; among them idle ones; idle ones with a copy; going; being copied.
        self.uncopied_bytes = 0
        self.idle_bytes = 0
        self.idle_copied_bytes = 0
        self.going_bytes = 0
        self.copying_bytes = 0
        #: How often bytes came back to the arena: who waits for room sees by it that others let go.
        self.given_back = 0

    def add(self, generation: int, length: int) -> Resident | None:
        """Room for a new object of ``length`` bytes (at least 1, else ValueError); None when there is none now."""
        offset = self._arena.allocate(length)
        if offset is None:
            return None
        resident = Resident(generation, self._arena.footprint(length), length, offset, offset)
        self.all[generation] = resident
        self.uncopied_bytes += resident.size
        return resident

    def used(self, resident: Resident, *, idle: bool) -> None:
        """The object is the one used last; whether it is idle now."""
        resident.idle = idle
        self._file(resident)

    def release(self, resident: Resident) -> int:
        """The object is gone; the bytes that come back to the arena by it."""
        assert not resident.copying, "somebody reads the bytes"
        assert not resident.returning, "somebody writes the bytes"
        del self.all[resident.generation]
        resident.idle = False
        self._file(resident)
        if resident.going:
            self.going_bytes -= resident.size
        return 0 if resident.at is None else self._give_back(resident)

    # Copies

    def start_copy(self, wanted: int, most: int) -> list[Resident]:
        """Idle objects without a copy, of ``wanted`` bytes together if there are so many, and at most ``most`` of them.

        Their bytes stay until `copied`.
        """
        taken: list[Resident] = []
        for generation in list(islice(self._uncopied, most)):
            if wanted <= 0:
                break
            resident = self.all[generation]
            resident.copying = True
            self.copying_bytes += resident.size
            self._file(resident)
            wanted -= resident.size
            taken.append(resident)
        return taken

    def copied(self, resident: Resident, *, success: bool) -> None:
        """The copy is on disk, or could not be made."""
        resident.copying = False
        self.copying_bytes -= resident.size
        if success:
            resident.copied = True
            self.uncopied_bytes -= resident.size
        self._file(resident)

    # Out of memory and back

    def evict(self, wanted: int) -> Sequence[Resident]:
        """Idle objects with a copy, of ``wanted`` bytes together if there are so many: they are going.

        `leave` each when nobody can be just beginning to read it.
        """
        going: list[Resident] = []
        for generation in list(self._copied):
            if wanted <= 0:
                break
            resident = self.all[generation]
            resident.going = True
            self.going_bytes += resident.size
            self._file(resident)
            wanted -= resident.size
            going.append(resident)
        return going

    def leave(self, resident: Resident) -> bool:
        """The bytes leave memory, unless somebody has begun to read them: whether they do."""
        resident.going = False
        self.going_bytes -= resident.size
        if resident.idle:
            self._give_back(resident)
        self._file(resident)
        return resident.at is None

    def start_return(self, resident: Resident) -> bool:
        """Make room for bytes that are away; False when there is none now. They are to be read, and `returned`."""
        assert resident.at is None, "only what is away can return"
        offset = self._arena.allocate(resident.length)
        if offset is None:
            return False
        resident.at = offset
        resident.returning = True
        return True

    def returned(self, resident: Resident, *, success: bool) -> None:
        """The bytes are in memory again, or could not be read."""
        resident.returning = False
        if not success:
            self._give_back(resident)
        self._file(resident)

    # Steps

    def _give_back(self, resident: Resident) -> int:
        assert resident.at is not None, "only bytes in memory can be given back"
        size = self._arena.free(resident.at)
        resident.at = None
        if not resident.copied:
            self.uncopied_bytes -= size
        self.given_back += 1
        return size

    def _file(self, resident: Resident) -> None:
        """Put it where it belongs, as the one used last."""
        generation = resident.generation
        if generation in self._uncopied:
            del self._uncopied[generation]
            self.idle_bytes -= resident.size
        elif generation in self._copied:
            del self._copied[generation]
            self.idle_copied_bytes -= resident.size
        if not resident.idle or resident.at is None or resident.copying or resident.returning or resident.going:
            return
        if resident.copied:
            self._copied[generation] = None
            self.idle_copied_bytes += resident.size
        else:
            self._uncopied[generation] = None
            self.idle_bytes += resident.size

    def check_invariants(self) -> None:
        """Raise AssertionError if the books contradict themselves; takes time linear in their length."""
        blocks = {resident.at: resident.size for resident in self.all.values() if resident.at is not None}
        assert len(blocks) == sum(r.at is not None for r in self.all.values()), "two objects at one offset"
        assert blocks == self._arena.blocks(), "objects in memory are not the blocks of the arena"
        filed = {**dict.fromkeys(self._uncopied, False), **dict.fromkeys(self._copied, True)}
        for generation, resident in self.all.items():
            assert generation == resident.generation, f"generation {generation} of {resident}"
            assert resident.at is not None or resident.copied, f"{resident} is nowhere"
            assert resident.copying + resident.returning + resident.going <= 1, f"{resident} goes two ways"
            assert not (resident.copying and resident.copied), f"{resident} is copied twice"
            settled = not (resident.copying or resident.returning or resident.going) and resident.at is not None
            expected = resident.copied if resident.idle and settled else None
            assert filed.pop(generation, None) == expected, f"{resident} is filed wrongly"
        assert not filed, f"generations {list(filed)} are gone"
        present = [resident for resident in self.all.values() if resident.at is not None]
        assert self.uncopied_bytes == sum(r.size for r in present if not r.copied), "bytes without a copy"
        assert self.idle_bytes == sum(self.all[generation].size for generation in self._uncopied), "idle bytes"
        assert self.idle_copied_bytes == sum(self.all[generation].size for generation in self._copied), "copied bytes"
        assert self.going_bytes == sum(r.size for r in present if r.going), "going bytes"
        assert self.copying_bytes == sum(r.size for r in present if r.copying), "copying bytes"
