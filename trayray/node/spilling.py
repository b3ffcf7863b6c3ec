"""The store's memory file and its copies on disk: writes and reads them in threads, sets the marks that readers see.

Not here: what is moved when (``core.room``), directories and URIs (``spill_storage``).
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from trayray.core.marks import MARKS, Marks
from trayray.core.residence import Resident
from trayray.core.spill_statistics import SpillStatistics
from trayray.exceptions import OutOfDiskError
from trayray.model.spilling import StoreSettings
from trayray.node.spill_storage import SpillStorage, open_storage

logger = logging.getLogger(__name__)

T = TypeVar("T")
_MEBIBYTE = 1024 * 1024


@attrs.define
class _File:
    """A file with copies of objects; it is deleted with the last of them."""

    name: str
    objects: int


@attrs.frozen
class _Copied:
    """Where the copy of an object is."""

    file: _File
    offset: int
    length: int


class Spilling:
    """One node's. Its methods belong to the node's loop; threads do what blocks."""

    def __init__(self, capacity: int, settings: StoreSettings, node_id: bytes, directory: Path) -> None:
        """An arena of ``capacity`` bytes, whole pages; ``directory`` is for objects if nothing else is said.

        Raises:
            ImportError, OSError: as `open_storage`.
        """
        self.statistics = SpillStatistics()
        #: Of objects that have a copy.
        self.bytes_on_disk = 0
        #: An anonymous memory file, the arena and the marks: the kernel frees it with the last process, however that
        #: ends.
        self.descriptor = os.memfd_create("trayray-arena", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, capacity + MARKS)
        self._capacity = capacity
        self._open: Callable[[], SpillStorage] = lambda: open_storage(settings.spilling, node_id, directory)
        self._storage: SpillStorage | None = None
        self._opening = threading.Lock()
        #: Copies of what is on disk elsewhere, for readers that find no room in the arena.
        self._fetched_directory = directory
        self._fetched: dict[int, Path] = {}
        self._memory: mmap.mmap | None = None
        self._marks = Marks()
        self._copies: dict[int, _Copied] = {}
        self._unused: list[str] = []
        self._limiter = trio.CapacityLimiter(settings.max_io_workers)
        if settings.spilling.places:  # a mistake in what was asked for shows at the start
            self._storage = self._open()

    # --- marks and memory ---

    def mark(self, generation: int, *, elsewhere: bool) -> None:
        """Tell readers that a segment may be elsewhere, or that it is where it always was."""
        change = self._marks.change(generation, elsewhere=elsewhere)
        if change is not None:
            index, value = change
            os.pwrite(self.descriptor, bytes([value]), self._capacity + index)

    def _view(self, offset: int, length: int) -> memoryview:
        if self._memory is None:
            self._memory = mmap.mmap(self.descriptor, self._capacity)
        return memoryview(self._memory)[offset : offset + length]

    # --- moving ---

    async def write(self, objects: Sequence[Resident]) -> str:
        """Copy objects to disk, into one file; why it could not be done, empty when it was."""
        parts = [self._view(_at(memory), memory.length) for memory in objects]
        size = sum(memory.length for memory in objects)
        began = time.monotonic()
        try:
            written = await self._in_thread(lambda: self._opened().write(parts))
        except (OSError, ImportError, OutOfDiskError) as error:
            logger.error("%d objects could not be spilled: %s", len(objects), error)
            return str(error)
        finally:
            for part in parts:
                part.release()
        seconds = time.monotonic() - began
        file = _File(written.name, len(objects))
        for memory, offset in zip(objects, written.offsets, strict=True):
            self._copies[memory.generation] = _Copied(file, offset, memory.length)
        self.bytes_on_disk += size
        self.statistics.spilled_bytes += size
        self.statistics.spilled_objects += len(objects)
        self.statistics.write_seconds += seconds
        logger.info(_report("Spilled", size, len(objects), seconds, "write"))
        return ""

    async def read(self, memory: Resident) -> str:
        """Bring an object back from disk; why it could not be done, empty when it was."""
        copied = self._copies[memory.generation]
        began = time.monotonic()
        try:
            with self._view(_at(memory), memory.length) as view:
                await self._in_thread(lambda: self._opened().read(copied.file.name, copied.offset, view))
        except OSError as error:
            logger.error("an object could not be restored: %s", error)
            return str(error)
        seconds = time.monotonic() - began
        self.statistics.restored_bytes += memory.length
        self.statistics.restored_objects += 1
        self.statistics.read_seconds += seconds
        logger.info(_report("Restored", memory.length, 1, seconds, "read"))
        return ""

    async def file_of(self, generation: int) -> tuple[str, int, str]:
        """A file of this machine with a copied object: its path and where the object begins, or why there is none."""
        copied = self._copies.get(generation)
        if copied is None:
            return "", 0, "the object was freed while it was being asked for"
        path = self._opened().local_path(copied.file.name)
        if path is not None:
            return path, copied.offset, ""
        if generation not in self._fetched:
            try:
                fetched = await self._in_thread(lambda: self._fetch(copied))
            except OSError as error:
                return "", 0, str(error)
            if generation not in self._copies or generation in self._fetched:  # meanwhile
                fetched.unlink()
                return await self.file_of(generation)
            self._fetched[generation] = fetched
        return str(self._fetched[generation]), 0, ""

    def _fetch(self, copied: _Copied) -> Path:
        self._fetched_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._fetched_directory, prefix="fetched_")
        try:
            os.ftruncate(descriptor, copied.length)
            with mmap.mmap(descriptor, copied.length) as memory, memoryview(memory) as view:
                self._opened().read(copied.file.name, copied.offset, view)
        except BaseException:
            os.unlink(name)
            raise
        finally:
            os.close(descriptor)
        return Path(name)

    @contextlib.asynccontextmanager
    async def viewing(self, generation: int, at: int | None, length: int) -> AsyncGenerator[memoryview]:
        """The bytes of an object, where it is ``at``, or on disk."""
        if at is not None:
            with self._view(at, length) as view:
                yield view
            return
        path, position, error = await self.file_of(generation)
        if error:
            raise LookupError(error)
        content = await self._in_thread(lambda: _read_file(path, position, length))
        yield memoryview(content)

    # --- deleting ---

    def forget(self, generation: int) -> bool:
        """An object is gone; whether there are files now that nobody needs (`delete_unused`)."""
        self.mark(generation, elsewhere=False)
        fetched = self._fetched.pop(generation, None)
        if fetched is not None:
            fetched.unlink()
        copied = self._copies.pop(generation, None)
        if copied is None:
            return False
        self.bytes_on_disk -= copied.length
        copied.file.objects -= 1
        if copied.file.objects:
            return False
        self._unused.append(copied.file.name)
        return True

    async def delete_unused(self) -> None:
        """Delete the files that nobody needs."""
        names, self._unused = self._unused, []
        for name in names:
            try:
                await self._in_thread(lambda name=name: self._opened().delete(name))
            except OSError as error:
                logger.error("spilled objects that nobody needs any more stay on disk: %s", error)

    def close(self) -> None:
        """Nothing is moved any more: what is on disk goes."""
        if self._storage is not None:
            self._storage.close()
        for path in self._fetched.values():
            path.unlink(missing_ok=True)
        if self._memory is not None:
            self._memory.close()
        os.close(self.descriptor)

    def _opened(self) -> SpillStorage:
        with self._opening:  # the first threads come together
            if self._storage is None:
                self._storage = self._open()
            return self._storage

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(call, limiter=self._limiter)


def _at(memory: Resident) -> int:
    assert memory.at is not None, "only bytes in memory can be read or written"
    return memory.at


def _read_file(path: str, position: int, length: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(position)
        return file.read(length)


def _report(what: str, size: int, count: int, seconds: float, way: str) -> str:
    rate = size / _MEBIBYTE / max(seconds, 1e-6)
    return f"{what} {size / _MEBIBYTE:.0f} MiB, {count} objects, {way} throughput {rate:.0f} MiB/s"
