"""One rank's part of a group: collective and point-to-point calls on numpy arrays.

Small arrays travel inside the messages of a meeting, and each rank reduces all of them. Of large ones, cut into parts
that are objects in shared memory, rank r gets everybody's part r, reduces it in the order of the ranks, and everybody
gets the result. Either way all ranks have the same bits.
Not here: the meetings (``rendezvous``), arrays (``arrays``), Ray's functions (``collective``).
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from trayray.api.blocking import get, put
from trayray.exceptions import GetTimeoutError, ObjectLostError, RayActorError
from trayray.util.collective import arrays
from trayray.util.collective.meetings import Offer
from trayray.util.collective.rendezvous import Answer
from trayray.util.collective.types import CollectiveError, CollectiveTimeoutError, ReduceOp
from trayray.worker.current import core_worker
from trayray.worker.references import ObjectRef

R = TypeVar("R")

#: Arrays travel inside messages when those of all ranks together are no larger than this (bytes).
_INLINE_BYTES = 64 * 1024
#: Larger arrays go through the store in pieces of this size, so that a call does not fill it (bytes).
_PIECE_BYTES = 32 * 1024 * 1024
#: How much later than its own deadline the rendezvous may answer (seconds).
GRACE_SECONDS = 10.0


class Group:
    """This process as rank ``rank`` of a group whose members have all joined."""

    def __init__(self, name: str, world_size: int, rank: int, rendezvous: Any, seconds: float) -> None:
        self.name = name
        self.world_size = world_size
        self.rank = rank
        self.rendezvous = rendezvous
        self.core = core_worker()
        #: How long a rank waits for the others.
        self.seconds = seconds
        self._lock = threading.Lock()
        self._calls = itertools.count()
        #: Numbers of the messages between two ranks, by sender and receiver.
        self._messages: defaultdict[tuple[int, int], itertools.count[int]] = defaultdict(itertools.count)

    # --- calls of all ranks ---

    def barrier(self) -> None:
        """Wait until all ranks have called it."""
        self._all(lambda call: call.meet("barrier()"))

    def allreduce(self, tensor: Any, op: ReduceOp) -> None:
        """Every rank's tensor becomes the reduction of all."""
        self._all(lambda call: self._reduce_into(call, tensor, op, range(self.world_size), f"allreduce({op.name})"))

    def reduce(self, tensor: Any, dst_rank: int, op: ReduceOp) -> None:
        """The tensor of ``dst_rank`` becomes the reduction of all; the others keep theirs."""
        self._check_rank(dst_rank, "dst_rank")
        self._all(lambda call: self._reduce_into(call, tensor, op, [dst_rank], f"reduce({op.name}, to {dst_rank})"))

    def broadcast(self, tensor: Any, src_rank: int) -> None:
        """Every rank's tensor becomes that of ``src_rank``."""
        self._check_rank(src_rank, "src_rank")

        def body(call: _Call) -> None:
            mine = src_rank == self.rank
            array = arrays.array_of(tensor, "the tensor", written=not mine)
            wish = f"broadcast(from {src_rank}) of {arrays.described(array)}"
            self._hand_over(call, wish, array, mine, src_rank, array.nbytes * self.world_size <= _INLINE_BYTES)

        self._all(body)

    def allgather(self, tensor_list: Any, tensor: Any) -> None:
        """``tensor_list[r]`` becomes the tensor of rank r, on every rank."""

        def body(call: _Call) -> None:
            array = arrays.array_of(tensor, "the tensor", written=False)
            targets = arrays.arrays_of(tensor_list, "tensor_list", self.world_size, array, written=True)
            wish = f"allgather() of {arrays.described(array)}"
            inline = array.nbytes * self.world_size <= _INLINE_BYTES
            rows = [arrays.flat(target) for target in targets]
            for mine, *out in zip(self._pieces(arrays.flat(array)), *map(self._pieces, rows), strict=True):
                brought = call.meet(wish, to_all=mine if inline else (put(mine),))
                for rank, target in enumerate(out):
                    target[...] = mine if rank == self.rank else _received(brought[rank])
            if not inline:
                call.meet(wish)  # until here the objects are needed
            for target, row in zip(targets, rows, strict=True):
                arrays.write_back(target, row)

        self._all(body)

    def reducescatter(self, tensor: Any, tensor_list: Any, op: ReduceOp) -> None:
        """The tensor of rank r becomes the reduction of ``tensor_list[r]`` of all ranks."""

        def body(call: _Call) -> None:
            array = arrays.array_of(tensor, "the tensor", written=True)
            arrays.check_reducible(array)
            sources = arrays.arrays_of(tensor_list, "tensor_list", self.world_size, array, written=False)
            wish = f"reducescatter({op.name}) of {arrays.described(array)}"
            inline = array.nbytes * self.world_size <= _INLINE_BYTES
            row = arrays.flat(array)
            rows = [self._pieces(arrays.flat(source)) for source in sources]
            for target, *given in zip(self._pieces(row), *rows, strict=True):
                target[...] = self._reduced_part(call, wish, given, op, inline)
            if not inline:
                call.meet(wish)
            arrays.write_back(array, row)

        self._all(body)

    # --- calls of two ranks ---

    def send(self, tensor: Any, dst_rank: int) -> None:
        """Give the tensor to ``dst_rank``; waits until it has it."""
        self._check_other(dst_rank, "dst_rank")
        self._pair(self.rank, dst_rank, tensor)

    def recv(self, tensor: Any, src_rank: int) -> None:
        """The tensor becomes what ``src_rank`` sends."""
        self._check_other(src_rank, "src_rank")
        self._pair(src_rank, self.rank, tensor)

    def _pair(self, source: int, target: int, tensor: Any) -> None:
        mine = source == self.rank

        def body(call: _Call) -> None:
            array = arrays.array_of(tensor, "the tensor", written=not mine)
            wish = f"to send {arrays.described(array)} from {source} to {target}"
            self._hand_over(call, wish, array, mine, source, array.nbytes <= _INLINE_BYTES)

        with self._lock:
            number = next(self._messages[source, target])
        self._perform(_Call(self, ("message", source, target, number), [source, target]), body)

    # --- how arrays travel ---

    def _hand_over(self, call: _Call, wish: str, array: Any, mine: bool, source: int, inline: bool) -> None:
        """The array of ``source`` comes to all participants of the call."""
        row = arrays.flat(array)
        for piece in self._pieces(row):
            offered = (piece if inline else (put(piece),)) if mine else None
            brought = call.meet(wish, to_all=offered)
            if not mine:
                piece[...] = _received(brought[source])
        if not inline:
            call.meet(wish)  # until here the objects are needed
        if not mine:
            arrays.write_back(array, row)

    def _reduce_into(self, call: _Call, tensor: Any, op: ReduceOp, receivers: Iterable[int], wish: str) -> None:
        receiving = self.rank in receivers
        array = arrays.array_of(tensor, "the tensor", written=receiving)
        arrays.check_reducible(array)
        wish = f"{wish} of {arrays.described(array)}"
        row = arrays.flat(array)
        if array.nbytes * self.world_size <= _INLINE_BYTES:
            brought = call.meet(wish, to_each=dict.fromkeys(receivers, row))
            if receiving:
                row[...] = arrays.reduced([brought[rank] for rank in range(self.world_size)], op)
        else:
            for piece in self._pieces(row):
                cut = arrays.parts(piece, self.world_size)
                mine = self._reduced_part(call, wish, cut, op, inline=False)
                others = [receiver for receiver in receivers if receiver != self.rank]
                brought = call.meet(wish, to_each=dict.fromkeys(others, (put(mine),) if others else None))
                if receiving:
                    for rank, part in enumerate(cut):
                        part[...] = mine if rank == self.rank else _received(brought[rank])
            call.meet(wish)  # until here the objects are needed
        if receiving:
            arrays.write_back(array, row)

    def _reduced_part(self, call: _Call, wish: str, given: list[Any], op: ReduceOp, inline: bool) -> Any:
        """The reduction of what all ranks give this one; ``given[r]`` is for rank r."""
        offers = {r: part if inline else (put(part),) for r, part in enumerate(given) if r != self.rank}
        brought = call.meet(wish, to_each=offers)
        contributions = [given[r] if r == self.rank else _received(brought[r]) for r in range(self.world_size)]
        return arrays.reduced(contributions, op)

    def _pieces(self, row: Any) -> list[Any]:
        return arrays.pieces(row, _PIECE_BYTES) or [row]  # an empty array is one piece

    # --- meeting ---

    def _all(self, body: Callable[[_Call], R]) -> R:
        with self._lock:
            number = next(self._calls)
        return self._perform(_Call(self, ("call", number), list(range(self.world_size))), body)

    def _perform(self, call: _Call, body: Callable[[_Call], R]) -> R:
        try:
            return body(call)
        except CollectiveError:
            raise  # from a meeting: all ranks have it
        except Exception as error:
            call.refuse(error)
            if isinstance(error, ObjectLostError):
                raise CollectiveError(f"{call.where}: an array of another rank was lost: {error}") from error
            raise

    def ask(self, method: str, where: str, *arguments: Any) -> Any:
        """Call the rendezvous and wait for its answer, whatever has become of it.

        Raises:
            CollectiveError: it is gone.
            CollectiveTimeoutError: it does not answer.
        """
        try:
            return get(getattr(self.rendezvous, method).remote(*arguments), timeout=self.seconds + GRACE_SECONDS)
        except GetTimeoutError as error:
            raise CollectiveTimeoutError(f"{where}: the meeting point of the group does not answer") from error
        except RayActorError as error:
            raise CollectiveError(
                f"{where}: the meeting point of the group is gone, with the process that created the group or because "
                "the other ranks have destroyed the group. Destroy it here too and create it again"
            ) from error

    def _check_rank(self, rank: object, name: str) -> None:
        if type(rank) is not int or not 0 <= rank < self.world_size:
            raise ValueError(f"{name} is {rank!r}; the ranks of group {self.name!r} are 0..{self.world_size - 1}")

    def _check_other(self, rank: object, name: str) -> None:
        self._check_rank(rank, name)
        if rank == self.rank:
            raise ValueError(f"{name} is {rank}, which is this process itself")


class _Call:
    """One call as this rank takes part in it: a row of meetings, which end for all ranks in the same way."""

    def __init__(self, group: Group, key: tuple[str | int, ...], participants: list[int]) -> None:
        self._group = group
        self._key = key
        self._participants = participants
        self._round = 0
        #: For errors.
        self.where = f"group {group.name!r}, rank {group.rank}"

    def meet(self, wish: str, to_all: Any = None, to_each: dict[int, Any] | None = None) -> dict[int, Any]:
        """Give and take; what every rank brought for this one.

        Raises:
            CollectiveError: the ranks disagree, or one of them cannot come.
            CollectiveTimeoutError: one of them has not come.
        """
        group, key = self._group, self._next_key()
        offer = Offer(to_all, to_each or {})
        answer: Answer = group.ask("meet", self.where, key, self._participants, group.rank, wish, offer, group.seconds)
        if answer.failure:
            error = CollectiveTimeoutError if answer.timed_out else CollectiveError
            raise error(f"{self.where}: {answer.failure}")
        return answer.brought

    def refuse(self, error: Exception) -> None:
        """Tell the others that this rank cannot do its part, so that they do not wait."""
        why = f"{type(error).__name__}: {error}"
        group = self._group
        group.rendezvous.refuse.remote(self._next_key(), self._participants, group.rank, why)

    def _next_key(self) -> tuple[str | int, ...]:
        self._round += 1
        return *self._key, self._round


def _received(brought: Any) -> Any:
    """An array from another rank: itself, or in a tuple the reference of its object."""
    return get(cast("tuple[ObjectRef[Any]]", brought)[0]) if isinstance(brought, tuple) else brought


__all__ = ("Group",)
