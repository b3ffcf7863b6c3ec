"""Names that collective calls take, and the errors that they raise. Not here: the calls (``collective``)."""

from __future__ import annotations

from enum import Enum

from trayray.exceptions import RayError


class ReduceOp(Enum):
    """How the arrays of all ranks become one, element by element, in the order of the ranks."""

    SUM = 0
    PRODUCT = 1
    MIN = 2
    MAX = 3


class Backend:
    """How arrays travel. ``Backend(name)`` is the text of the name, in lower case.

    ``gloo``, ``cpu`` and ``trayray`` all mean what this platform has: arrays in the memory of CPUs, through the object
    store. ``nccl`` is for GPUs and is refused.
    """

    GLOO = "gloo"
    CPU = "cpu"
    TRAYRAY = "trayray"
    NCCL = "nccl"
    UNRECOGNIZED = "unrecognized"

    def __new__(cls, name: str) -> str:
        """The backend of that name.

        Raises:
            ValueError: there is none, or it is for GPUs.
        """
        known = name.lower()
        if known == cls.NCCL:
            raise ValueError(
                "the NCCL backend moves arrays between GPUs, which is not available here; use backend='gloo' for "
                "arrays in the memory of CPUs"
            )
        if known not in (cls.GLOO, cls.CPU, cls.TRAYRAY):
            raise ValueError(f"there is no collective backend {name!r}; use 'gloo' ('cpu' and 'trayray' mean the same)")
        return known


class CollectiveError(RayError, RuntimeError):
    """Raised on every rank when a collective call cannot be made: the ranks disagree, or one of them is gone.

    The text says which rank and why. After a disagreement the group can be used again; after a death destroy it and
    create another one.
    """


class CollectiveTimeoutError(CollectiveError, TimeoutError):
    """Raised on every rank when not all of them made a call within the group's timeout. The text says who did not."""


__all__ = ("Backend", "CollectiveError", "CollectiveTimeoutError", "ReduceOp")
