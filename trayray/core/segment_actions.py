"""What the table of segments answers and orders (``segments``): grants, refusals, fences, what was given back.

Not here: who decides it (``segments``, ``room``), who carries it out (``node.store``).
"""

import enum
from collections.abc import Sequence

import attrs


@attrs.define
class Granted:
    """`client` may write the segment; it names it by `offset` (bytes into the arena) and `generation`."""

    client: bytes
    request: int
    offset: int
    generation: int


class Refusal(enum.Enum):
    """Why a segment was refused."""

    TOO_LARGE = "too large"  # for good: it would not fit into the empty arena
    FULL = "full"  # for now: it fits once others have given room back


@attrs.define
class Refused:
    """`client` gets no segment for `request`; `reason` is a text for the user."""

    client: bytes
    request: int
    refusal: Refusal
    reason: str
    holders: Sequence[tuple[bytes, int]]  # (client, bytes) of the largest holders, largest first; empty if TOO_LARGE


@attrs.define
class Freed:
    """The segment's bytes are back in the arena."""

    offset: int
    generation: int
    size: int  # bytes


@attrs.define
class NotOwner:
    """`client` freed a segment before its seal, and the seal named another owner: `client` broke the protocol.

    Its `free` had no effect. This is not a ValueError, since it comes to light in the message of an innocent client.
    """

    client: bytes
    offset: int
    generation: int
    owner: bytes


@attrs.define
class SendFence:
    """Send `fence` to each of `clients`; each answers with `fence_ack` on its own link."""

    clients: Sequence[bytes]
    fence: int
    #: Generations of the segments that are to leave memory: owners that read one pin it before they answer.
    leaving: Sequence[int] = ()


@attrs.define
class Left:
    """The bytes of an object are back in the arena; it exists on disk only."""

    generation: int


@attrs.define
class Stayed:
    """An object that was to leave memory is needed there."""

    generation: int


Action = Freed | NotOwner | SendFence | Left | Stayed


@attrs.define
class Statistics:
    """A moment of the store; sizes in bytes, rounding of the arena included."""

    used: int
    capacity: int
    unsealed: int  # segments being written
    objects: int  # all other segments, those that only pins or a fence keep included
    pinned_bytes: int  # of segments with at least one pin
    client_bytes: dict[bytes, int]  # connected client -> what it writes or owns
