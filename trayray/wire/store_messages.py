"""Messages of the node link about the object store: segments, who reads them, where bytes are.

Tags are unique within the whole node link (``node_messages``).
"""

from msgspec import Struct

from trayray.wire.values import Place


class Create(Struct, array_like=True, tag=11):
    """A writer wants a segment of ``size`` bytes."""

    request: int
    size: int


class Created(Struct, array_like=True, tag=12):
    """The answer to `Create`: a place, or the reason why there is none."""

    request: int
    place: Place | None
    error: str = ""
    #: What is missing is room on disk, where other objects could be spilled.
    out_of_disk: bool = False


class Locate(Struct, array_like=True, tag=76):
    """A reader, which has pinned the segment before, asks where its bytes are: they may have been spilled."""

    request: int
    offset: int
    generation: int


class Located(Struct, array_like=True, tag=77):
    """The answer to `Locate`: ``offset`` in the arena; or, if that is negative, a file with the bytes at ``position``.

    With an ``error`` they cannot be had.
    """

    request: int
    offset: int
    path: str = ""
    position: int = 0
    error: str = ""


class Seal(Struct, array_like=True, tag=13):
    """The segment is written and belongs to process ``owner`` from now on."""

    offset: int
    generation: int
    owner: str


class Free(Struct, array_like=True, tag=14):
    """The object in this segment is unreachable."""

    offset: int
    generation: int


class Pin(Struct, array_like=True, tag=15):
    """The sender maps the segment and reads it (True), or has dropped every view of it (False)."""

    offset: int
    generation: int
    pinned: bool


class LeftSegments(Struct, array_like=True, tag=70):
    """The process ``writer`` is gone; (offset, generation) of the segments that it wrote and the receiver owns.

    What the receiver does not know of when it has read all that ``writer`` sent, it never will: it frees them.
    """

    writer: str
    segments: list[tuple[int, int]]


class Fence(Struct, array_like=True, tag=16):
    """Answer this once everything sent before has been sent; see ``core.segments``.

    Before that, owners pin what they read of ``leaving``, generations of segments that are to leave memory.
    """

    fence: int
    leaving: list[int] = []
