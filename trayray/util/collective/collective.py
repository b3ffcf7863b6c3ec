"""Ray's ``ray.util.collective``: groups of processes, and calls that all of them make together on numpy arrays.

The functions concern the calling process, which has one rank in each group that it has joined. Every rank must make
the same calls in the same order. Not here: how the calls work (``group``), where the ranks meet (``rendezvous``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from trayray.api.blocking import get, kill
from trayray.api.decorators import remote
from trayray.exceptions import GetTimeoutError, RayActorError
from trayray.util.collective.group import GRACE_SECONDS, Group
from trayray.util.collective.rendezvous import Answer, Rendezvous
from trayray.util.collective.types import Backend, CollectiveError, CollectiveTimeoutError, ReduceOp
from trayray.worker.current import core_worker
from trayray.worker.references import ObjectRef

_DEFAULT = "default"
#: How long ranks wait for each other, unless said otherwise (milliseconds, as in Ray).
_TIMEOUT = 30_000
#: Between attempts to reach the meeting point of a group whose predecessor is just ending (seconds).
_RETRY_SECONDS = 0.05

_RendezvousActor = remote(num_cpus=0)(Rendezvous)

_lock = threading.Lock()
_groups: dict[str, Group] = {}
#: Meeting points that this process has made; they live as long as it does, or until all ranks have left.
_made: dict[str, Any] = {}


def init_collective_group(
    world_size: int,
    rank: int,
    backend: str = Backend.GLOO,
    group_name: str = _DEFAULT,
    gloo_timeout: int = _TIMEOUT,
) -> None:
    """Join a group as ``rank``; waits until all its ranks have joined. Call it in each of the processes.

    Args:
        world_size: how many ranks the group has.
        rank: this process's, 0 to ``world_size - 1``.
        backend: "gloo", "cpu" or "trayray", which are the same.
        group_name: groups of one name are one group, within a namespace.
        gloo_timeout: how long ranks wait for each other, now and in later calls (milliseconds).

    Raises:
        ValueError: an impossible number, an unknown backend, or one for GPUs.
        RuntimeError: this process is in the group already.
        CollectiveError: two processes want the same rank, they disagree on the size, or one of them has died.
        CollectiveTimeoutError: not all ranks have joined in time.
    """
    Backend(backend)
    _check_size(world_size, gloo_timeout)
    if type(rank) is not int or not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank!r}; it must be in 0..{world_size - 1}, the ranks of a group of {world_size}")
    present = _find(group_name)
    if present is not None:
        raise RuntimeError(f"this process is rank {present.rank} of group {group_name!r} already")
    seconds = gloo_timeout / 1000
    rendezvous = _join(group_name, world_size, rank, seconds)
    with _lock:
        _groups[group_name] = Group(group_name, world_size, rank, rendezvous, seconds)


def create_collective_group(
    actors: Sequence[Any],
    world_size: int,
    ranks: Sequence[int],
    backend: str = Backend.GLOO,
    group_name: str = _DEFAULT,
    gloo_timeout: int = _TIMEOUT,
) -> None:
    """Have actors join a group, each as the rank at its place in ``ranks``; waits until all have joined.

    The actors must be free to run a method. Parameters are those of `init_collective_group`.

    Raises:
        ValueError: not one rank for each actor, or impossible ranks.
        CollectiveError, CollectiveTimeoutError: as in `init_collective_group`.
        RayActorError: an actor has died.
    """
    Backend(backend)
    _check_size(world_size, gloo_timeout)
    if len(actors) != len(ranks) or len(actors) != world_size:
        raise ValueError(
            f"Each actor should correspond to one rank: there are {len(actors)} actors, {len(ranks)} ranks and a world "
            f"size of {world_size}"
        )
    if sorted(ranks) != list(range(world_size)):
        raise ValueError(f"ranks are {list(ranks)}; each of 0..{world_size - 1} must be there once")

    def join(actor: object, rank: int) -> None:
        init_collective_group(world_size, rank, backend, group_name, gloo_timeout)

    joining = [actor.__ray_call__.remote(join, rank) for actor, rank in zip(actors, ranks, strict=True)]
    try:
        get(joining, timeout=2 * gloo_timeout / 1000)
    except GetTimeoutError as error:
        raise CollectiveTimeoutError(
            f"group {group_name!r}: not all actors have run the method that joins it; are they busy?"
        ) from error


def destroy_collective_group(group_name: str = _DEFAULT) -> None:
    """Leave a group; nothing happens if this process is not in it. It is over once all ranks have left."""
    group = _find(group_name)
    if group is None:
        return
    with _lock:
        _groups.pop(group_name, None)
    try:
        is_last: bool = group.ask("leave", f"group {group_name!r}, rank {group.rank}", group.rank)
    except CollectiveError:
        return  # the meeting point has ended already, and the group with it
    if is_last:
        kill(group.rendezvous)
        _made.pop(group_name, None)


def is_group_initialized(group_name: str = _DEFAULT) -> bool:
    """Whether this process is in the group."""
    return _find(group_name) is not None


def get_rank(group_name: str = _DEFAULT) -> int:
    """This process's rank; -1 when it is not in the group."""
    group = _find(group_name)
    return -1 if group is None else group.rank


def get_collective_group_size(group_name: str = _DEFAULT) -> int:
    """How many ranks the group has; -1 when this process is not in it."""
    group = _find(group_name)
    return -1 if group is None else group.world_size


def allreduce(tensor: Any, group_name: str = _DEFAULT, op: ReduceOp = ReduceOp.SUM) -> None:
    """Reduce the tensors of all ranks; the result is written into each of them.

    Args:
        tensor: a numpy array of numbers, of the same shape and type on every rank.
        op: how; the ranks' tensors are combined in the order of the ranks, so that all have the same bits.

    Raises:
        RuntimeError: this process is not in the group.
        TypeError, ValueError: not a writable array of numbers. The other ranks get a `CollectiveError`.
        CollectiveError: the ranks disagree (call, operation, shape or type), or one of them has died or left.
        CollectiveTimeoutError: a rank has not made the call in time.
    """
    _group(group_name).allreduce(tensor, _checked(op))


def reduce(tensor: Any, dst_rank: int = 0, group_name: str = _DEFAULT, op: ReduceOp = ReduceOp.SUM) -> None:
    """Reduce the tensors of all ranks into that of ``dst_rank``; the others keep theirs. See `allreduce`."""
    _group(group_name).reduce(tensor, dst_rank, _checked(op))


def broadcast(tensor: Any, src_rank: int = 0, group_name: str = _DEFAULT) -> None:
    """Write the tensor of ``src_rank`` into those of all others. See `allreduce` for errors."""
    _group(group_name).broadcast(tensor, src_rank)


def allgather(tensor_list: list[Any], tensor: Any, group_name: str = _DEFAULT) -> None:
    """Write the tensor of rank r into ``tensor_list[r]``, on every rank. See `allreduce` for errors.

    Args:
        tensor_list: as many arrays as there are ranks, each of the shape and type of ``tensor``.
    """
    _group(group_name).allgather(tensor_list, tensor)


def reducescatter(tensor: Any, tensor_list: list[Any], group_name: str = _DEFAULT, op: ReduceOp = ReduceOp.SUM) -> None:
    """Reduce all ranks' ``tensor_list[r]`` into the tensor of rank r. See `allreduce` for errors.

    Args:
        tensor_list: as many arrays as there are ranks, each of the shape and type of ``tensor``.
    """
    _group(group_name).reducescatter(tensor, tensor_list, _checked(op))


def send(tensor: Any, dst_rank: int, group_name: str = _DEFAULT) -> None:
    """Send a tensor to another rank; waits until that has received it. See `allreduce` for errors."""
    _group(group_name).send(tensor, dst_rank)


def recv(tensor: Any, src_rank: int, group_name: str = _DEFAULT) -> None:
    """Receive a tensor from another rank, written into this one. See `allreduce` for errors."""
    _group(group_name).recv(tensor, src_rank)


def barrier(group_name: str = _DEFAULT) -> None:
    """Wait until all ranks have called it. See `allreduce` for errors."""
    _group(group_name).barrier()


def nccl_available() -> bool:
    """Whether arrays of GPUs can be moved: no."""
    return False


def gloo_available() -> bool:
    """Whether arrays of CPUs can be moved: yes."""
    return True


def _find(name: str) -> Group | None:
    """This process's part of a group of its present cluster."""
    with _lock:
        group = _groups.get(name)
        if group is not None and group.core is not core_worker():  # of a cluster that it has left
            del _groups[name]
            group = None
        return group


def _group(name: str) -> Group:
    group = _find(name)
    if group is None:
        raise RuntimeError(
            f"this process is not in the collective group {name!r}; call init_collective_group in it, or "
            "create_collective_group with its actor"
        )
    return group


def _checked(op: object) -> ReduceOp:
    if not isinstance(op, ReduceOp):
        raise TypeError(f"op must be a ReduceOp, such as ReduceOp.SUM, not {op!r}")
    return op


def _check_size(world_size: object, timeout: object) -> None:
    if type(world_size) is not int or world_size <= 0:
        raise ValueError(f"world_size is {world_size!r}; it must be a positive int")
    if not isinstance(timeout, int | float) or timeout <= 0:
        raise ValueError(f"gloo_timeout is {timeout!r}; it must be a positive number of milliseconds")


def _join(name: str, world_size: int, rank: int, seconds: float) -> Any:
    """The meeting point of a group, once this process is a member."""
    where = f"group {name!r}, rank {rank}"
    deadline = time.monotonic() + seconds
    while True:
        rendezvous = _meeting_point(name)
        left = max(0.0, deadline - time.monotonic())
        core = core_worker()
        assert core is not None  # `_meeting_point` connects
        try:
            joining: ObjectRef[Answer] = rendezvous.join.remote(rank, world_size, core.address, left)
            answer = get(joining, timeout=left + GRACE_SECONDS)
        except GetTimeoutError as error:
            raise CollectiveTimeoutError(f"{where}: the meeting point of the group does not answer") from error
        except RayActorError as error:  # that of a group which was just ending: make another one
            if time.monotonic() >= deadline:
                raise CollectiveError(f"{where}: the meeting point of the group has ended: {error}") from error
            time.sleep(_RETRY_SECONDS)
            continue
        if answer.failure:
            raised = CollectiveTimeoutError if answer.timed_out else CollectiveError
            raise raised(f"{where}: {answer.failure}")
        return rendezvous


def _meeting_point(name: str) -> Any:
    handle: Any = _RendezvousActor.options(name=f"collective:{name}", get_if_exists=True).remote()
    if handle._ray_ref is not None:
        _made[name] = handle
    return handle
