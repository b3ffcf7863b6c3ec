"""One remote call as a Trio operation: it ends with all that it has started, and cancelling it ends the remote work.

Not here: several at once (``nursery``), errors (``failures``), the worker's side (``worker.closing_calls``).
"""

# Overloads overlap on purpose: the first that fits wins.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast, overload

import trio

from trayray.api.actor_class import ActorMethod
from trayray.api.remote_function import BoundFunction, RemoteFunction
from trayray.api.session import session
from trayray.exceptions import PendingCallsLimitExceeded, RaySystemError, TaskCancelledError
from trayray.native.failures import FailureKey, failure_of
from trayray.wire.values import ERROR, Value
from trayray.worker.awaiting import trio_is_awaited
from trayray.worker.call_values import take_result
from trayray.worker.current import core_worker, running
from trayray.worker.generators import ObjectRefGenerator
from trayray.worker.references import AnyRef, ObjectRef
from trayray.worker.wake import Wake

if TYPE_CHECKING:
    from trayray.api.shapes.calls import T1, T2, T3, A, Arg, B, Callee, Returning
    from trayray.api.submission import CallShape
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.pending_task import PendingTask, Watcher

P = ParamSpec("P")
R = TypeVar("R")

#: A cancelled call is killed after two graces at most, and so is each that it has called, at the same time; actors that
#: it has created may clean up, one after the other. After so long (seconds, besides) something is broken.
_BROKEN_AFTER: Final = 60.0
#: A deadline that is so close (seconds) is why a call was cancelled at the remote side.
_CLOSE_SECONDS: Final = 0.05
_PACKAGE: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
#: The id of an object that has no reference.
_NOBODYS: Final = bytes(ObjectRef.size())

#: `ObjectRef` with a parameter, for checkers.
_REF: type[ObjectRef[Any]] = ObjectRef
_REMOTE = RemoteFunction, BoundFunction, ActorMethod


def is_remote(function: object) -> bool:
    """Whether ``function`` is a remote function or an actor's method, with or without options; or one's ``remote``."""
    return isinstance(_target(function), _REMOTE)


def _target(function: Any) -> Any:
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, _REMOTE) and getattr(function, "__name__", "") == "remote" else function


def connected() -> CoreWorker:
    """The core worker of this process, for a Trio task.

    Raises:
        RuntimeError: this is none.
        RaySystemError: the process belongs to no cluster.
    """
    if not trio_is_awaited():
        raise RuntimeError(
            "scopes are for Trio programs; elsewhere, under asyncio too, use `.remote()` and await references"
        )
    core = core_worker()
    if core is None:
        session.check_alive()
        raise RaySystemError(
            "this process belongs to no cluster: use `async with trayray.open_cluster()` or trayray.init()"
        )
    return core


def seconds_left() -> float:
    """Until the running Trio task is cancelled by a deadline; infinite where there is none."""
    return trio.current_effective_deadline() - trio.current_time()


class RemoteCall:
    """A call that this Trio task answers for: a `Watch` while it is made, a `Watcher` of it until it has ended."""

    def __init__(self, seconds: float, *, starts: bool = False) -> None:
        """``seconds``: what is left to it, perhaps infinite. ``starts``: it is to say when it is ready."""
        self._core = connected()
        self._seconds = seconds
        self._starts = starts
        self._over = Wake()
        self._call: PendingTask
        self.is_made = False
        #: Who answers for the code that makes the call.
        self._outer: Watcher | None = None
        #: Set when it is ready, or has ended without.
        self.ready = Wake()
        self._started: ObjectRef[Any] | None = None

    def make(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call; what ``function.remote`` would return.

        Raises:
            TypeError: not a remote function, or arguments that do not fit.
        """
        target = _target(function)
        if not isinstance(target, _REMOTE):
            raise TypeError(
                f"a remote function or an actor's method is called here, not {function!r}; "
                "decorate a function with @trayray.remote, or @trayray.task if it is async"
            )
        return target._watched(self, args, kwargs)

    async def make_in_turn(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`make`, as soon as the actor has room for the call (``max_pending_calls``)."""
        target = _target(function)
        info = target._handle._ray_info if isinstance(target, ActorMethod) else None
        if info is None or not info.max_pending_calls:
            return self.make(function, args, kwargs)
        mailbox = self._core.actors.client(info.actor_id, ordered=info.ordered).mailbox
        began = trio.current_time()
        while True:
            await mailbox.room(info.max_pending_calls)
            self._seconds -= trio.current_time() - began
            began = trio.current_time()
            try:
                return self.make(function, args, kwargs)
            except PendingCallsLimitExceeded:  # another thread was quicker
                await trio.lowlevel.checkpoint()

    # --- `Watch` ---

    def check(self, shape: CallShape, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        shape.check(args, {**kwargs, "task_status": None} if self._starts else kwargs)

    def made(self, call: PendingTask) -> None:
        self._call = call
        self.is_made = True
        self._outer = call.watcher
        call.watcher = self
        left = math.inf if call.deadline is None else call.deadline
        call.deadline = min(left, self._core.now() + self._seconds)
        call.starts = self._starts
        if not call.returns:
            call.returns = [AnyRef(_NOBODYS)]  # nobody else's: its error shall not be lost
        call.site = _site()

    # --- `Watcher` ---

    def ended(self, call: PendingTask) -> None:
        if self._outer is not None:
            self._outer.ended(call)
        self._core.ends.after(call, self._gone)

    def _gone(self) -> None:
        self.ready.set()
        self._over.set()

    def started(self, call: PendingTask, value: Value) -> bool:
        if not self._starts or self._started is not None:
            return False
        self._started = AnyRef(_NOBODYS)
        take_result(self._core, self._started, value)
        self.ready.set()
        return True

    # --- waiting ---

    async def gone(self) -> None:
        """Wait until the call has ended with all that it has started; being cancelled cancels it.

        A call that has been cancelled and has ended regularly all the same counts as one that was not cancelled.
        """
        try:
            await self._over.wait()
        except trio.Cancelled:
            self.cancel()
            # Nothing of the call may be left when this returns. The ladder of cancellation bounds it.
            limit = 4 * self._core.cancellations.grace + 2 * self._core.cleanup_seconds + _BROKEN_AFTER
            with (
                trio.CancelScope(shield=True, deadline=trio.current_time() + limit) as scope,
                self._core.ends.awaited(),
            ):
                await self._over.wait()
            if scope.cancelled_caught:
                raise RaySystemError(
                    f"{self.name}() was cancelled and has not ended within {limit:g} s, though its worker was killed"
                ) from None
            value = self._value
            if value.kind == ERROR and isinstance(failure_of(value)[0], TaskCancelledError):
                raise

    def cancel(self, seconds: float | None = None) -> None:
        """The call is not wanted any more; `gone` follows. It is killed after so long (0: at once; None: as usual)."""
        if seconds is not None:
            self._call.grace = seconds
        self._core.call_soon(self._cancel, seconds == 0)

    def _cancel(self, force: bool) -> None:
        core = self._core
        with core.state_lock:
            core.cancel_call(self._call, force=force, recursive=True)
            core.flush()

    @property
    def name(self) -> str:
        """The name of what was called."""
        return self._call.template.define.name

    @property
    def _value(self) -> Value:
        value = self._call.returns[0]._value
        assert value is not None, "a call that has ended has its value"
        return value

    async def failure(self) -> tuple[BaseException, FailureKey | None] | None:
        """How a call that has ended has failed; None if it has not. Call `gone` before."""
        if self._call.stream is not None and self._call.stream.failure is not None:
            value = self._call.stream.failure
        else:  # a generator with several returns has its failure behind what it has yielded
            values = [ref._value for ref in self._call.returns]
            value = next((each for each in values if each is not None and each.kind == ERROR), self._value)
        if value.kind != ERROR:
            return None
        error, key = failure_of(value)
        if isinstance(error, TaskCancelledError):
            await self._cancelled_too()
        return error, key

    async def _cancelled_too(self) -> None:
        """Where the code that has made the call is being cancelled too, that is what has happened here, no failure."""
        if self._call.parent_cancelled:  # its own thread hears of it next
            await trio.sleep(2 * self._core.cancellations.grace)
        assert self._call.deadline is not None, "it is set when the call is made"
        left = self._call.deadline - self._core.now()
        if left < _CLOSE_SECONDS:  # the deadline has travelled along, and the remote side was a little quicker
            await trio.sleep(max(0.0, left))

    @property
    def has_started(self) -> bool:
        """Whether it has said that it is ready."""
        return self._started is not None

    async def started_value(self) -> Any:
        """What the call has said when it was ready; of one that `has_started`."""
        assert self._started is not None, "it has not said that it is ready"
        return await self._started


def _site() -> Any:
    """Where user code makes the call: for the error of a crash."""
    here: Any = sys._getframe(2)
    frame = here
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame.f_globals.get("__name__", "").startswith("trio."):  # made by a task of ours: the line would tell nothing
        frame = here
    return frame.f_code, frame.f_lineno


# References may stand for positional arguments, as with `.remote`. A method of a handle, which is typed as the user's
# own class, is a plain function to checkers.
@overload
async def call(function: Callee[P, ObjectRef[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
@overload
async def call(
    function: Callee[P, tuple[ObjectRef[A], ObjectRef[B]]], /, *args: P.args, **kwargs: P.kwargs
) -> tuple[A, B]: ...
@overload
async def call(function: Callee[P, None], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
@overload
async def call(function: Returning[Callable[[T1], Any], ObjectRef[R]], a: Arg[T1], /) -> R: ...
@overload
async def call(function: Returning[Callable[[T1, T2], Any], ObjectRef[R]], a: Arg[T1], b: Arg[T2], /) -> R: ...
@overload
async def call(
    function: Returning[Callable[[T1, T2, T3], Any], ObjectRef[R]], a: Arg[T1], b: Arg[T2], c: Arg[T3], /
) -> R: ...
@overload
async def call(function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
@overload
async def call(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
async def call(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Make a remote call and wait for its value. Cancelling this cancels the call, wherever it has got to.

    It returns, or raises, when the call has ended with all that it has started. Deadlines around it travel along: the
    remote code sees them (`time_left`, ``trio.current_effective_deadline``).

    Args:
        function: a remote function or an actor's method, with or without ``.options``.
        args, kwargs: as for ``.remote``.

    Returns:
        The value; a tuple of values for several returns.

    Raises:
        Exception: what the call raised, of its own type; the remote traceback is a note.
        RayError: the call failed otherwise: its process died, its resources do not exist.
        TypeError: not remote, a generator, or arguments that do not fit.
    """
    made = RemoteCall(seconds_left())
    result = await made.make_in_turn(function, args, kwargs)
    if isinstance(result, ObjectRefGenerator):
        made.cancel()
        await made.gone()
        raise TypeError(
            f"{made.name}() is a generator: start it by a nursery and iterate over what `start_soon` returns, "
            "`async for ref in generator`"
        )
    await made.gone()
    failed = await made.failure()
    if failed is not None:
        raise failed[0]
    if isinstance(result, list):
        return tuple([await ref for ref in cast("list[ObjectRef[Any]]", result)])
    if result is None:
        return None
    return await result


def time_left() -> float:
    """Seconds until the running call, or the running Trio task, is to have ended; infinite for no limit.

    In a remote call this is what the caller's deadlines leave.
    """
    task, core = running.get(), core_worker()
    left = math.inf
    if task is not None and task.children is not None and core is not None:
        left = task.children.deadline - core.now()
    try:
        return min(left, seconds_left())
    except RuntimeError:  # no Trio task
        return left
