"""``ActorPool``: values mapped over a fixed set of actors, each of which does one call at a time.

``map`` sends an actor further calls before the present one has been answered, as long as calls have proved to be short
(`CallsAhead`): otherwise most of their time would be spent between processes.
Not here: processes without actors of the user's own (``multiprocessing``).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar, cast

import attrs

from trayray.api.actor_class import ActorHandle
from trayray.api.blocking import get, wait
from trayray.exceptions import ActorDiedError
from trayray.worker.references import ObjectRef

A = TypeVar("A")
V = TypeVar("V")
R = TypeVar("R")

#: What a call gives: a reference, or those of several returns.
Result: TypeAlias = "ObjectRef[Any] | list[ObjectRef[Any]]"

#: So much work (seconds) may wait at an actor; also the longest that a value waits there while another actor is free.
_AHEAD_SECONDS = 0.02
#: And at most so many calls.
_MOST_AHEAD = 512
#: Calls go ahead only while so many values or more wait for each actor: then their even distribution is no matter.
_LEAST_WAITING = 10


class CallsAhead:
    """Decides how many calls one actor may have at once: one, or as many short ones as fill ``_AHEAD_SECONDS``."""

    __slots__ = ("_since", "limit")

    def __init__(self) -> None:
        self.limit = 1
        self._since = 0.0

    def decide(self, now: float, finished: int, waiting: int, actors: int) -> int:
        """The limit from now on, when so many calls have finished since the last time.

        Args:
            now: seconds on any clock.
            waiting: values that wait for any of so many ``actors``.
        """
        if finished:
            taken = max(now - self._since, 1e-9)
            fitting = min(int(_AHEAD_SECONDS * finished / taken), _MOST_AHEAD)
            if fitting > self.limit:
                self.limit = min(2 * self.limit, fitting)
            elif taken > _AHEAD_SECONDS:  # else a few calls took long because of their way, not of their work
                self.limit = max(1, fitting)
        self._since = now
        if waiting < _LEAST_WAITING * actors:
            return 1
        return min(self.limit, waiting // actors)


@attrs.define(eq=False)
class _Member:
    """One actor of the pool."""

    actor: Any
    #: Calls after the first may wait at the actor: it runs them one by one, in the order sent.
    ordered: bool
    ahead: CallsAhead = attrs.field(factory=CallsAhead)
    #: Calls sent and not yet taken by the pool's user; how many they were after the last were sent.
    in_flight: int = 0
    fed: int = 0
    #: More are sent once there are so few: each portion is one message to the actor.
    low: int = 0
    #: It left the pool: dead, or given away.
    gone: bool = False


#: A value that was given to an actor: to whom, its result, and what the user's function raised instead of a call.
#: A plain tuple, as the next: one is made for each value.
_Call: TypeAlias = "tuple[_Member, Result, BaseException | None]"
#: A value that waits for an actor: the function, the value, and whether it may be sent while the actor is still busy.
_Pending: TypeAlias = "tuple[Callable[[Any, Any], Any], Any, bool]"


class ActorPool(Generic[A]):
    """Spreads values over actors. ``fn(actor, value)`` makes the call and returns its reference.

    Not for several threads at once.

    Args:
        actors: handles of the actors; each belongs to a pool once.

    Raises:
        TypeError: not a handle of an actor.
        ValueError: the same actor twice.
    """

    def __init__(self, actors: Iterable[A]) -> None:
        self._members: dict[A, _Member] = {}
        #: All and only members without a call in flight, longest idle first.
        self._idle: deque[_Member] = deque()
        #: Calls whose result was not taken, by their number in the order of submission.
        self._calls: dict[int, _Call] = {}
        #: Values that no actor has taken; none while an actor is idle.
        self._pending: deque[_Pending] = deque()
        self._next_number = 0
        self._next_result = 0
        #: Whether results may have been taken out of their order.
        self._unordered = False
        #: Replaced by every ``map``, whose results end with it.
        self._map = object()
        for actor in actors:
            self.push(actor)

    # --- whole series ---

    def map(self, fn: Callable[[A, V], ObjectRef[R]], values: Iterable[V]) -> Iterator[R]:
        """The results for ``values``, in their order. ``values`` is read to its end at once.

        Earlier submissions are given up: those not started never are, and results not taken are dropped.

        Raises:
            Exception: while iterating: what the call of the next value raised. The others can still be had by
                ``get_next``.
        """
        return self._results(self._begin_map(fn, values, may_go_ahead=True), self.get_next, ordered=True)

    def map_unordered(self, fn: Callable[[A, V], ObjectRef[R]], values: Iterable[V]) -> Iterator[R]:
        """As `map`, each result as soon as it is there."""
        return self._results(self._begin_map(fn, values, may_go_ahead=False), self.get_next_unordered, ordered=False)

    def _begin_map(self, fn: Callable[[Any, Any], Any], values: Iterable[Any], *, may_go_ahead: bool) -> object:
        values = list(values)  # the user's iterable may raise: before anything is given up
        self._pending.clear()
        for member, _, _ in self._calls.values():
            self._settle(member)
        self._calls.clear()
        self._next_result = self._next_number
        self._unordered = False
        self._map = this = object()
        waiting = iter(values)
        for value in islice(waiting, len(self._idle)):
            self._submit((fn, value, may_go_ahead))
        self._pending.extend((fn, value, may_go_ahead) for value in waiting)
        return this

    def _results(self, this: object, take: Callable[[], Any], *, ordered: bool) -> Iterator[Any]:
        calls = self._calls
        while calls or self._pending:
            if self._map is not this:
                raise ValueError("these results were given up when the pool's next map() began")
            if ordered and not self._unordered and self._next_result in calls:  # what get_next would find
                self._next_result += 1
                yield self._take(self._next_result - 1)
            else:
                yield take()

    # --- one by one ---

    def submit(self, fn: Callable[[A, V], ObjectRef[Any]], value: V) -> None:
        """Have the next free actor do ``fn(actor, value)``; ``fn`` is called once there is one."""
        self._submit((fn, value, False))

    def _submit(self, pending: _Pending) -> None:
        if not self._idle:
            self._pending.append(pending)
            return
        member = self._idle[0]
        result = _called(pending[0], member.actor, pending[1])
        self._idle.popleft()
        self._calls[self._next_number] = member, result, None
        self._next_number += 1
        member.in_flight += 1

    def has_next(self) -> bool:
        """Whether there are results to wait for."""
        return bool(self._calls or self._pending)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submission.

        Args:
            timeout: seconds to wait; None waits as long as it takes.
            ignore_if_timedout: give the result up at the timeout, and count its actor as free; otherwise it can be
                asked for again.

        Raises:
            StopIteration: nothing was submitted that has not been taken.
            TimeoutError: not there in time.
            ValueError: an earlier result was passed over by ``get_next_unordered``.
            Exception: what the call raised; its actor is free again, unless it is dead.
        """
        number = self._next_result
        if number not in self._calls or (self._unordered and next(iter(self._calls)) != number):
            self._refuse_next()
            raise ValueError(
                "get_next() is not allowed after get_next_unordered() has passed over an earlier result; take the "
                "remaining results with get_next_unordered()"
            )
        if timeout is not None:
            _, result, error = self._calls[number]
            refs = result if isinstance(result, list) else [result]
            if error is None and wait(refs, num_returns=len(refs), timeout=timeout)[1]:
                if ignore_if_timedout:
                    self._next_result = number + 1
                    self._give_up(number)
                raise _timed_out(timeout, ignore_if_timedout)
        self._next_result = number + 1
        return self._take(number)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result that is there, whichever it is; parameters and errors as of `get_next`."""
        if not self._calls:
            self._refuse_next()
        self._unordered = True
        number = self._first_finished(timeout)
        if number is None:
            assert timeout is not None
            if ignore_if_timedout:
                number = next(iter(self._calls))
                self._next_result = max(self._next_result, number + 1)
                self._give_up(number)
            raise _timed_out(timeout, ignore_if_timedout)
        self._next_result = max(self._next_result, number + 1)
        return self._take(number)

    def _first_finished(self, timeout: float | None) -> int | None:
        numbers: dict[ObjectRef[Any], int] = {}
        for number, (_, result, error) in self._calls.items():
            if error is not None:
                return number
            # The last of several returns: they become ready together.
            numbers[result[-1] if isinstance(result, list) else result] = number
        ready, _ = wait(list(numbers), timeout=timeout)
        return numbers[ready[0]] if ready else None

    def _refuse_next(self) -> None:
        """There is no call to take the result of.

        Raises:
            StopIteration: there is no value either.
            ActorDiedError: a value waits, but there is no actor left; it is given up.
        """
        if self._calls:
            return
        if not self._pending:
            raise StopIteration("No more results to get: everything that was submitted has been taken.")
        self._pending.popleft()
        raise ActorDiedError(
            error_msg="The pool has no actor left, so that this value was never given to one: its actors have died or "
            "were taken out by pop_idle(). Add one with push()."
        )

    def _take(self, number: int) -> Any:
        member, result, error = self._calls.pop(number)
        try:
            if error is not None:
                raise error
            return get(result)
        except ActorDiedError as death:
            # A call may fail so for another actor that it has asked itself.
            if death.actor_id == member.actor._ray_info.actor_id.hex():
                self._remove(member)
            raise
        finally:
            self._settle(member)

    def _give_up(self, number: int) -> None:
        self._settle(self._calls.pop(number)[0])

    def _settle(self, member: _Member) -> None:
        """One call of ``member`` less: it gets the next values, or is idle."""
        member.in_flight -= 1
        if member.in_flight > member.low or member.gone:
            return
        if self._pending:
            self._feed(member)
        elif not member.in_flight:
            self._idle.append(member)

    def _feed(self, member: _Member) -> None:
        limit = 1
        if member.ordered and self._pending[0][2]:
            finished = member.fed - member.in_flight
            limit = member.ahead.decide(time.monotonic(), finished, len(self._pending), len(self._members))
        pending, calls, actor = self._pending, self._calls, member.actor
        while pending and member.in_flight < limit:
            fn, value, may_go_ahead = pending[0]
            if member.in_flight and not may_go_ahead:
                break
            pending.popleft()
            try:
                calls[self._next_number] = member, _called(fn, actor, value), None
            except Exception as error:  # noqa: BLE001 -- the user's function; raised where its result is asked for
                calls[self._next_number] = member, [], error
            self._next_number += 1
            member.in_flight += 1
        member.fed = member.in_flight
        member.low = limit // 2

    # --- actors ---

    def has_free(self) -> bool:
        """Whether an actor is idle."""
        return bool(self._idle)

    def pop_idle(self) -> A | None:
        """Take an idle actor out of the pool; None when all are busy."""
        if not self._idle:
            return None
        member = self._idle.popleft()
        self._remove(member)
        return member.actor

    def push(self, actor: A) -> None:
        """Add an actor; it gets work at once if values wait.

        Raises:
            TypeError: not a handle.
            ValueError: it belongs to the pool already.
        """
        handle: Any = actor
        if not isinstance(handle, ActorHandle):
            raise TypeError(f"an ActorPool takes handles of actors, not {type(actor).__name__}; .remote() gives them")
        if actor in self._members:
            raise ValueError(f"{actor!r} already belongs to this ActorPool; an actor can be in it once")
        member = self._members[actor] = _Member(actor, handle._ray_info.ordered)
        if self._pending:
            self._feed(member)
        else:
            self._idle.append(member)

    def _remove(self, member: _Member) -> None:
        member.gone = True
        self._members.pop(member.actor, None)

    def __repr__(self) -> str:
        return (
            f"<ActorPool: {len(self._members)} actors, {len(self._idle)} idle | {len(self._calls)} results to take, "
            f"{len(self._pending)} values waiting>"
        )


def _called(fn: Callable[[Any, Any], Any], actor: Any, value: Any) -> Result:
    result: object = fn(actor, value)
    if type(result) is ObjectRef:
        return cast("ObjectRef[Any]", result)
    refs = cast("list[object]", result) if isinstance(result, list) else []
    if not refs or any(type(ref) is not ObjectRef for ref in refs):
        raise TypeError(
            "the function given to an ActorPool must return the reference of a call, such as "
            f"actor.method.remote(value); it returned {result!r}"
        )
    return cast("list[ObjectRef[Any]]", refs)


def _timed_out(timeout: float, ignored: bool) -> TimeoutError:
    given_up = "it is given up" if ignored else "ask again for it"
    return TimeoutError(f"Timed out waiting for a result: none within {timeout} s; {given_up}")
