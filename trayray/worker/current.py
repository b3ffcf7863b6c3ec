"""The core worker of this process, and what the running code is: driver, task or actor method.

The only global state of the runtime. Where several members of a cluster live in one process (the in-process mode), each
runs in a context of its own that says which one it is (`Member`).
Not here: how a core worker is started (``api.session``, ``worker.main``, ``node.worker_threads``).
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


@attrs.define(eq=False)
class Member:
    """One of several members of a cluster in this process: a worker whose code runs in threads."""

    core: CoreWorker
    #: The actor that it has become.
    actor: ActorSelf | None = None


#: Whose code the current thread or coroutine executes: None for the driver's. The variable itself is None in processes
#: that have never had but one member, which are nearly all.
_members: contextvars.ContextVar[Member | None] | None = None


def become(member: Member) -> None:
    """What the current context executes from now on, and what is started from it, is ``member``'s."""
    global _members
    if _members is None:
        _members = contextvars.ContextVar("trayray_member", default=None)
    _members.set(member)


def this_member() -> Member | None:
    """The member whose code this is; None for the driver's, and in a process that has one member."""
    return None if _members is None else _members.get()


def core_worker() -> CoreWorker | None:
    """The core worker of the calling code, None while it belongs to no cluster."""
    if _members is not None and (member := _members.get()) is not None:
        return member.core
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
    global _core, _forked, _members
    member, _members = this_member(), None
    core, _core = _core, None
    for each in (core, None if member is None else member.core):
        if each is not None:
            _forked = True
            each.forked()


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
    """The actor that the calling code is part of, None in drivers and task workers."""
    if _members is not None and (member := _members.get()) is not None:
        return member.actor
    return _actor


def set_actor_self(actor: ActorSelf) -> None:
    """The calling worker has become ``actor``."""
    global _actor
    member = this_member()
    if member is None:
        _actor = actor
    else:
        member.actor = actor
