"""``open_nursery``: remote calls as children of a block, in whatever processes they run.

Not here: one call (``calls``), errors (``failures``).
"""

# Overloads overlap on purpose: the first that fits wins.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import trio

from trayray.native.calls import RemoteCall, connected, is_remote
from trayray.native.failures import FailureKey, failure_key

if TYPE_CHECKING:
    from trayray.api.shapes.calls import T1, T2, T3, Arg, Callee, ObjectRefGenerator, Out, Returning
    from trayray.worker.references import ObjectRef

P = ParamSpec("P")
R = TypeVar("R")


class Nursery:
    """The children of one `open_nursery` block."""

    def __init__(self, children: trio.Nursery, outer_deadline: float, raised: dict[FailureKey, BaseException]) -> None:
        self._children = children
        #: When the scopes around the block end it (of Trio's clock).
        self._outer_deadline = outer_deadline
        #: Failures that children have raised, and the exceptions that they were raised as.
        self._raised = raised

    @property
    def cancel_scope(self) -> trio.CancelScope:
        """The scope around the block and all its children: cancel it, or give it a deadline."""
        return self._children.cancel_scope

    @property
    def local(self) -> trio.Nursery:
        """Trio's nursery, for children that are tasks of this loop."""
        return self._children

    # As for `trayray.call`: see there.
    @overload
    def start_soon(self, function: Callee[P, Out], /, *args: P.args, **kwargs: P.kwargs) -> Out: ...
    @overload
    def start_soon(self, function: Returning[Callable[[T1], Any], Out], a: Arg[T1], /) -> Out: ...
    @overload
    def start_soon(self, function: Returning[Callable[[T1, T2], Any], Out], a: Arg[T1], b: Arg[T2], /) -> Out: ...
    @overload
    def start_soon(
        self, function: Returning[Callable[[T1, T2, T3], Any], Out], a: Arg[T1], b: Arg[T2], c: Arg[T3], /
    ) -> Out: ...
    @overload
    def start_soon(
        self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> ObjectRef[R]: ...
    @overload
    def start_soon(
        self, function: Callable[P, Iterator[R] | AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> ObjectRefGenerator[R]: ...
    @overload
    def start_soon(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R]: ...
    def start_soon(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Make a remote call that is a child of the block; what ``function.remote(*args, **kwargs)`` would return.

        The reference may be awaited, passed on, and kept: its value stays when the block has been left.

        Raises:
            TypeError: not remote (`local` is for tasks of this loop), or arguments that do not fit.
        """
        _check_remote(function)
        call = RemoteCall(self._seconds_left())
        self._children.start_soon(self._see, call)  # first: a nursery that has ended refuses, and nothing was called
        return call.make(function, args, kwargs)

    async def start(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Make a remote call that is a child of the block, and wait until it says that it is ready.

        The function must have a parameter ``task_status``, whose ``started(value)`` it calls in its own process.

        Returns:
            That value.

        Raises:
            RuntimeError: it has returned without saying so.
            Exception: what it raised before it was ready.
            TypeError: arguments that do not fit, or no parameter ``task_status``.
        """
        _check_remote(function)
        return await self._children.start(self._run_started, function, args, kwargs)

    async def _run_started(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, task_status: trio.TaskStatus[Any]
    ) -> None:
        call = RemoteCall(self._seconds_left(), starts=True)
        await call.make_in_turn(function, args, kwargs)
        try:
            await call.ready.wait()
            value = await call.started_value() if call.has_started else None
        except BaseException:  # cancelled, or the value cannot be loaded here: nothing of the call may be left
            with trio.CancelScope() as scope:
                scope.cancel()
                await self._see(call)
            raise
        if call.has_started:
            task_status.started(value)
            await self._see(call)
            return
        await call.gone()
        failed = await call.failure()
        if failed is None:
            raise RuntimeError(f"{call.name}() has returned without calling task_status.started()")
        raise failed[0]  # by `start`, which may be answered: not one of the block's failures

    def _seconds_left(self) -> float:
        return min(self._outer_deadline, self.cancel_scope.deadline) - trio.current_time()

    async def _see(self, call: RemoteCall) -> None:
        """Wait for the end of a call, and raise what it raised unless another child has raised the same failure."""
        if not call.is_made:  # `start_soon` has raised
            return
        await call.gone()
        failed = await call.failure()
        if failed is None:
            return
        error, key = failed
        if key is not None and self._raised.setdefault(key, error) is not error:
            return
        raise error


@asynccontextmanager
async def open_nursery() -> AsyncGenerator[Nursery]:
    """A block whose children are remote calls, and Trio tasks if wanted: it ends when all of them have ended.

    When a child fails or the block raises, all others are cancelled, with all that they have started, in all processes;
    the block ends when nothing of it is left. Leaving it early by a cancel scope or a deadline does the same.

    Raises:
        ExceptionGroup: what children and the block have raised, each failure once.
        RaySystemError: this process belongs to no cluster.
    """
    connected()
    raised: dict[FailureKey, BaseException] = {}
    try:
        async with trio.open_nursery() as children:
            yield Nursery(children, trio.current_effective_deadline(), raised)
    except BaseExceptionGroup as group:
        rest = group.split(lambda error: _is_repeated(error, raised))[1]
        if rest is None or rest.exceptions == group.exceptions:
            raise
        raise rest from None


def _check_remote(function: object) -> None:
    if not is_remote(function):
        raise TypeError(
            f"children of this nursery are remote functions and actors' methods, not {function!r}; "
            "a task of this loop is started by `nursery.local.start_soon`, of the same block"
        )


def _is_repeated(error: BaseException, raised: dict[FailureKey, BaseException]) -> bool:
    """Whether the exception tells of a failure that a child has raised already, as another exception."""
    key = failure_key(error)
    first = None if key is None else raised.get(key)
    return first is not None and first is not error
