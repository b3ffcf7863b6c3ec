"""The messages of peer links: borrowers and owners, callers and executors, whoever asks what waits for what.

Who borrows what is said in ``core.loan_messages`` (tags 1 to 3, 14 and 15).
"""

from msgspec import Struct

from trayray.core.loan_messages import OwnershipMessage
from trayray.core.waiting import Fact, Subject
from trayray.wire.values import Value


class Want(Struct, array_like=True, tag=4):
    """Send these objects' values as soon as they exist."""

    objects: list[bytes]


class Ready(Struct, array_like=True, tag=5):
    """The value of an object; None says that the owner does not know the object (freed or never there)."""

    id: bytes
    value: Value | None


class CancelRemote(Struct, array_like=True, tag=6):
    """Cancel the task that produces this object; the receiver owns it."""

    id: bytes
    force: bool = False
    recursive: bool = True


class Cancel(Struct, array_like=True, tag=7):
    """The caller no longer wants this task; it must not start, and if it runs it should stop.

    Peer links carry this and `Reclaim`: the worker's loop reads them while its main thread is busy.
    """

    task: bytes
    #: How: a `core.cancellation.Step`.
    step: str
    #: Calls that it has made go too; those of tasks by force with ``force``.
    recursive: bool = True
    force: bool = False


class ChildrenEnd(Struct, array_like=True, tag=16):
    """A cancelled call of the receiver's waits until what it has started is gone, or (False) its own code goes on."""

    task: bytes
    waits: bool


class Reclaim(Struct, array_like=True, tag=8):
    """The sender wants held-back replies at once and, unless they are actor calls, its unstarted tasks back."""


class Consumed(Struct, array_like=True, tag=9):
    """So many values of a generator were taken by its consumer."""

    task: bytes
    taken: int


class Explain(Struct, array_like=True, tag=11):
    """What does the receiver know of these subjects; answered by `Explained`. See ``core.waiting``.

    ``thorough``: a person asks, who may wait for a longer search.
    """

    request: int
    subjects: list[Subject]
    thorough: bool = False


class Explained(Struct, array_like=True, tag=12):
    """The answer to `Explain`: a fact a subject."""

    request: int
    facts: list[Fact]


class Recheck(Struct, array_like=True, tag=13):
    """The receiver's wait of this number seems to be the one of a deadlock that has to give up: look at it now."""

    wait: int


PeerMessage = (
    Cancel
    | ChildrenEnd
    | Reclaim
    | OwnershipMessage
    | Want
    | Ready
    | CancelRemote
    | Consumed
    | Explain
    | Explained
    | Recheck
)
