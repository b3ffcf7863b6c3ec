"""The node's shared-memory arena as this process sees it: writing segments, reading them without a copy.

The arena is one memory file that every process of the node maps twice: writable for the segments it was given, and
read-only for everything it reads, so that the hardware refuses a write to an immutable object.
Not here: who may write or read which segment (``core.segments``).
"""

import ctypes
import mmap
import os
from collections import defaultdict
from typing import Any

from trayray.core.marks import MARKS
from trayray.exceptions import RaySystemError
from trayray.wire.values import Place

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
#: Attribute of a ctypes array, which takes any.
_HOLDERS = "holders"
_MAP_FAILED = ctypes.c_void_p(-1).value


class _ReadMapping:
    """The read-only mapping; unmapped with this object, which every view of it holds."""

    def __init__(self, descriptor: int, capacity: int) -> None:
        address = _libc.mmap(None, capacity, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if address == _MAP_FAILED:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot map the object store of {capacity} bytes: {os.strerror(code)}")
        self.address: int = address
        self._capacity = capacity
        self._unmap = _libc.munmap

    def __del__(self) -> None:
        if hasattr(self, "_unmap"):
            self._unmap(self.address, self._capacity)


class ArenaMapping:
    """Both mappings of the arena behind ``descriptor``, which this object owns from now on.

    Behind the arena's bytes, in the same file, are the marks of the segments that may be elsewhere.
    """

    def __init__(self, descriptor: int, capacity: int) -> None:
        self.capacity = capacity
        self._writable = mmap.mmap(descriptor, capacity)
        #: Views of it may outlive the cluster connection.
        self._reading: _ReadMapping | None = _ReadMapping(descriptor, capacity + MARKS)
        #: A size, and the type of regions of that size: the same is read again and again.
        self._last_type = 1, ctypes.c_char * 1
        marks = (ctypes.c_ubyte * MARKS).from_address(self._reading.address + capacity)
        setattr(marks, _HOLDERS, self._reading)
        #: Of the segments, see ``core.marks``: not 0 for one that may be elsewhere than it was. Look only after the pin
        #: was registered (``reading``).
        self.marks: memoryview | defaultdict[int, int] = memoryview(marks).toreadonly().cast("B")
        os.close(descriptor)

    def close(self) -> None:
        """Nothing is written or read any more. The memory is unmapped when the last view of a value has gone."""
        self._reading = None
        self.marks = defaultdict(int)  # `read` says why nothing can be read
        try:
            self._writable.close()
        except BufferError:
            return  # a thread is just writing into it; the mapping ends with this object

    def write(self, place: Place) -> memoryview:
        """The bytes of a segment that this process was given to write."""
        return memoryview(self._writable)[place.offset : place.offset + place.size]

    def read(self, offset: int, size: int, holder: Any) -> memoryview:
        """The bytes of a sealed segment, read-only; ``holder`` lives as long as any view of them."""
        mapping = self._reading
        if mapping is None:
            raise RaySystemError("the object is in the object store of a cluster that this process has left")
        last_size, region_type = self._last_type
        if last_size != size:
            region_type = ctypes.c_char * size
            self._last_type = size, region_type
        region = region_type.from_address(mapping.address + offset)
        # Every view, slice and array keeps the region alive through the buffer protocol, and it the holders.
        setattr(region, _HOLDERS, (holder, mapping))
        return memoryview(region).toreadonly().cast("B")


class _FileMapping(mmap.mmap):
    """A mapped part of a file, which every view of it holds."""

    holder: Any


def read_file(path: str, position: int, size: int, holder: Any) -> memoryview:
    """Bytes of a file, read-only; ``holder`` lives as long as any view of them.

    Raises:
        OSError: it cannot be mapped.
    """
    skipped = position % mmap.ALLOCATIONGRANULARITY
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        mapping = _FileMapping(descriptor, size + skipped, access=mmap.ACCESS_READ, offset=position - skipped)
    except ValueError as error:
        raise OSError(f"{path} is shorter than {position + size} bytes: {error}") from error
    finally:
        os.close(descriptor)
    mapping.holder = holder
    return memoryview(mapping)[skipped : skipped + size]
