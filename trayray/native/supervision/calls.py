"""Functions as children of a supervisor: tasks in other processes, and Trio tasks of the supervisor's loop.

Returning is a normal end, raising an abnormal one. Not here: calls that a block waits for (``calls``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import trio

from trayray.api.remote_function import BoundFunction, RemoteFunction
from trayray.core.supervised_children import Exit, ExitKind
from trayray.exceptions import TaskCancelledError
from trayray.native.calls import RemoteCall
from trayray.native.supervision.child_runs import STOPPED, ChildRun, described
from trayray.native.supervision.child_spec import takes_task_status

if TYPE_CHECKING:
    from trayray.native.supervision.child_spec import ChildSpec

_RETURNED = Exit(ExitKind.NORMAL, "it returned")


def raised(error: BaseException) -> Exit:
    """The end of a function that has raised ``error``, or could not be run."""
    return Exit(ExitKind.ABNORMAL, f"it raised {described(error)}", error)


def stopped_with(error: BaseException) -> Exit:
    """The end of a function that was told to stop, and has raised ``error`` then."""
    return Exit(ExitKind.SHUTDOWN, f"{STOPPED.reason}, and then raised {described(error)}", error)


class SupervisedCall:
    """A `Supervised` remote function. It is not retried: that is the supervisor's affair."""

    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec
        target: Any = spec.target
        function: RemoteFunction = target if isinstance(target, RemoteFunction) else target._function
        options = function._default_options if isinstance(target, RemoteFunction) else target._options
        self._target = BoundFunction(function, {**options, "max_retries": 0, "retry_exceptions": False})
        self._says_ready = takes_task_status(function._function)
        #: The reference of its result at present.
        self.handle: Any = None

    async def live(self, run: ChildRun) -> Exit:
        call = RemoteCall(math.inf, starts=self._says_ready)
        self.handle = call.make(self._target, self._spec.args, dict(self._spec.kwargs))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, run, call)
            if self._says_ready:
                await call.ready.wait()
            if call.has_started or not self._says_ready:
                run.started()
            await call.gone()
            nursery.cancel_scope.cancel()
        failed = await call.failure()
        if run.stopping.is_set():
            regular = failed is None or run.killed.is_set() or isinstance(failed[0], TaskCancelledError)
            return STOPPED if failed is None or regular else stopped_with(failed[0])
        if failed is not None:
            return raised(failed[0])
        if not run.has_started:
            return raised(RuntimeError("it has returned without calling task_status.started()"))
        return _RETURNED

    async def close(self) -> None:
        self.handle = None


async def _cancel_when(run: ChildRun, call: RemoteCall) -> None:
    await run.stopping.wait()
    if not run.killed.is_set():
        call.cancel(run.seconds)
        await run.killed.wait()
    call.cancel(0.0)


class SupervisedTask:
    """A `Supervised` async function in the supervisor's loop. It is cancelled, and waited for, as Trio does."""

    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec
        self._says_ready = takes_task_status(spec.target)
        self.handle = None

    async def live(self, run: ChildRun) -> Exit:
        failure: BaseException | None = None
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_scope_when, run, scope)
            kwargs = dict(self._spec.kwargs)
            if self._says_ready:
                kwargs["task_status"] = _Ready(run)
            else:
                run.started()
            try:
                with scope:
                    await self._spec.target(*self._spec.args, **kwargs)
            except BaseException as error:
                if _first(error, (trio.Cancelled, GeneratorExit)) is not None:  # not the child's end
                    raise
                failure = error  # sys.exit() ends the child as any exception does
            nursery.cancel_scope.cancel()
        interrupt = None if failure is None else _first(failure, (KeyboardInterrupt,))
        if interrupt is not None:
            raise interrupt
        if run.stopping.is_set():
            return STOPPED if failure is None else stopped_with(failure)
        if failure is not None:
            return raised(failure)
        if not run.has_started:
            return raised(RuntimeError("it has returned without calling task_status.started()"))
        return _RETURNED

    async def close(self) -> None:
        return


def _first(error: BaseException, kinds: tuple[type[BaseException], ...]) -> BaseException | None:
    """The first exception of these kinds in ``error``, which may be a group."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return next((found for each in group.exceptions if (found := _first(each, kinds)) is not None), None)
    return error if isinstance(error, kinds) else None


async def _cancel_scope_when(run: ChildRun, scope: trio.CancelScope) -> None:
    await run.stopping.wait()
    scope.cancel()


class _Ready:
    """The ``task_status`` of an async function."""

    def __init__(self, run: ChildRun) -> None:
        self._run = run

    def started(self, value: object = None) -> None:
        self._run.started()
