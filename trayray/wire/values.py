"""Values and references as they travel. Ids are raw bytes.

Not here: how a value is pickled (``serialization``).
"""

from typing import NamedTuple

from msgspec import Struct

#: Kinds of `Value`. END is no object's: it ends a generator's stream of values.
INLINE, STORED, ERROR, END = 0, 1, 2, 3


class Place(NamedTuple):
    """Where a stored value lies in its node's arena. ``generation`` tells a segment from later ones at its offset."""

    offset: int
    generation: int
    size: int


class RefInfo(NamedTuple):
    """A reference as it travels: object id (28 bytes) and the address of the owner's process.

    Inside a value the receiver is registered as its borrower: by the process ``voucher``; by the owner when empty.
    """

    id: bytes
    owner: str
    voucher: str = ""


class Value(Struct, array_like=True):
    """One immutable object value: a payload carried along, a place in the arena, or an exception's payload."""

    kind: int
    data: bytes = b""
    place: Place | None = None
    refs: list[RefInfo] | None = None
