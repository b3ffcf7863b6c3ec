"""References that the user pickles by other means than calls and objects: nobody can tell where they go.

Not here: how they are pickled inside of calls and objects (``references``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from trayray.exceptions import OufOfBandObjectRefSerializationException, RaySystemError
from trayray.worker.current import core_worker
from trayray.worker.references import ObjectRef, revive

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

#: Ray's setting, in the environment: "0" forbids it.
_ALLOWED: Final = "allow_out_of_band_object_ref_serialization"


def reduce_out_of_band(
    core: CoreWorker, ref: ObjectRef[Any]
) -> tuple[Callable[..., ObjectRef[Any]], tuple[str | bytes, ...]]:
    """How ``ref`` is pickled outside of arguments, results and objects: nobody can tell where the pickle goes.

    Raises:
        OufOfBandObjectRefSerializationException: the environment forbids it.
    """
    allowed = os.environ.get(f"TRAYRAY_{_ALLOWED}", os.environ.get(f"RAY_{_ALLOWED}", "1"))
    if allowed.lower() in ("0", "false"):
        raise OufOfBandObjectRefSerializationException(
            f"{ref!r} was pickled outside of the arguments and results of tasks, which TRAYRAY_{_ALLOWED}=0 (or "
            "RAY_...) forbids. Pass the reference to a task, return it, or put it inside a list; or set the variable "
            "to 1: the object then stays as long as this process."
        )
    core.references.export(ref)
    core.references.pin_out_of_band(ref)
    return revive_out_of_band, (ref._id, ref._owner or core.address, core.welcome.session)


def revive_out_of_band(object_id: bytes, owner: str, session: str) -> ObjectRef[Any]:
    """The reference that a pickle of the user's names; unpickling calls this.

    Raises:
        RaySystemError: this process belongs to no cluster, or to another one than the reference.
    """
    check_session(f"ObjectRef({object_id.hex()})", session)
    return revive(object_id, owner)


def check_session(what: str, session: str) -> None:
    """Raise unless this process belongs to the cluster that ``what``, which was pickled by the user, came from.

    Raises:
        RaySystemError: it does not.
    """
    core = core_worker()
    present = None if core is None else core.welcome.session
    if present != session:
        where = "to none" if present is None else f"to that of {present}"
        raise RaySystemError(
            f"{what} belongs to the cluster of {session}, but this process {where}. It can be loaded only in processes "
            "of its own cluster, while that runs; call init(address=...) with its address first"
        )
