"""The core worker of this process, and what the running code is: driver, task or actor method.

The only global state of the runtime. Not here: how a core worker is started (``api.session``, ``worker.main``).
"""

from __future__ import annotations

import contextvars
import os
from typing import TYPE_CHECKING, Any

import attrs

from trayray.exceptions import RaySystemError

if TYPE_CHECKING:
    from trayray.worker.child_scopes import ChildScope
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.pending_task import PendingTask

_core: CoreWorker | None = None
#: This process is a fork of a cluster's member, and none itself.
_forked = False


def core_worker() -> CoreWorker | None:
    """This process's core worker, None while it belongs to no cluster."""
    return _core


def set_core_worker(core: CoreWorker | None) -> None:
    """Make ``core`` the process's core worker (None: it has left)."""
    global _core, _forked
    _core = core
    _forked = False


def check_not_forked() -> None:
    """Raise where nothing works because user code has forked this process.

    Raises:
        RaySystemError: it has, and the process has not joined a cluster of its own since.
    """
    if _forked:
        raise RaySystemError(
            "this process was forked from one that belongs to a cluster, which only that one does: its threads and "
            "links were not copied. Use tasks and actors instead of os.fork and multiprocessing's fork method, start "
            "processes with the method 'spawn', or call init() here"
        )


def _leave_to_parent() -> None:
    global _core, _forked
    core, _core = _core, None
    if core is not None:
        _forked = True
        core.forked()


os.register_at_fork(after_in_child=_leave_to_parent)


@attrs.define
class Running:
    """What runs in a worker: one task or one actor call."""

    task_id: bytes
    #: The name given by options, or the function's.
    name: str
    #: With its module; of a method its bare name.
    function_name: str
    resources: dict[str, float]
    job: bytes
    owner: str = ""
    runtime_env: dict[str, Any] = attrs.field(factory=dict[str, Any])
    #: The placement group that it runs in; empty for none.
    placement_group: bytes = b""
    #: What it starts, if it ends after that.
    children: ChildScope | None = None


#: The task that the current thread or coroutine executes; None in drivers and idle workers.
running: contextvars.ContextVar[Running | None] = contextvars.ContextVar("trayray_running", default=None)


def running_task() -> bytes | None:
    """The id of the task or actor call that the current thread or coroutine executes."""
    task = running.get()
    return None if task is None else task.task_id


def join_caller(call: PendingTask) -> None:
    """``call`` is made by what the current thread or coroutine executes, which may have to answer for it."""
    task = running.get()
    if task is not None:
        call.parent = task.task_id
        if task.children is not None:
            task.children.add(call)


@attrs.define
class ActorSelf:
    """The actor that lives in this worker."""

    actor_id: bytes
    name: str
    class_name: str
    instance: Any
    handle: bytes
    restarted: bool
    is_async: bool
    #: What it holds while it lives.
    resources: dict[str, float]
    #: The placement group that it lives in; empty for none.
    placement_group: bytes = b""


_actor: ActorSelf | None = None


def actor_self() -> ActorSelf | None:
    """The actor that this process is, None in drivers and task workers."""
    return _actor


def set_actor_self(actor: ActorSelf) -> None:
    """This process has become ``actor``."""
    global _actor
    _actor = actor
