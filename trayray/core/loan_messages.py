"""What the ownership protocol says between processes; carried by peer links.

Messages that change a count are numbered by their sender for each receiver, from 1: a repetition is recognised.
Not here: what follows from them (``ownership``), values and references on their way (``wire.values``).
"""

from msgspec import Struct


class Borrow(Struct, array_like=True, tag=1):
    """``borrower`` (empty: the sender) holds, or is about to be sent, references to these objects of the receiver."""

    number: int
    objects: list[bytes]
    borrower: str = ""
    #: Answered by `Borrowed`, unless 0.
    request: int = 0


class Borrowed(Struct, array_like=True, tag=2):
    """The owner has registered the borrowers of request ``request``."""

    request: int


class Release(Struct, array_like=True, tag=3):
    """The sender has dropped its last references to these objects of the receiver.

    With each: how many registrations by the owner or by the sender itself end with it, and how many by each of the
    others that have vouched for the sender.
    """

    number: int
    objects: list[tuple[bytes, int, tuple[tuple[str, int], ...]]]


class Inquire(Struct, array_like=True, tag=14):
    """``voucher`` is dead: which registrations of these objects, that it has made for the receiver, does that have?"""

    voucher: str
    objects: list[bytes]


class Holdings(Struct, array_like=True, tag=15):
    """The answer to `Inquire`: so many, and no more will come."""

    number: int
    voucher: str
    objects: list[tuple[bytes, int]]


OwnershipMessage = Borrow | Borrowed | Release | Inquire | Holdings
