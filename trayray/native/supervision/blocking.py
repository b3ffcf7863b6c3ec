"""``supervise``: the supervisor of a program that blocks. It runs in the core worker's loop; the block is a thread's.

Not here: the same in Trio programs (``supervisor``).
"""

# Overloads overlap on purpose: the first that fits wins.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

import trio

from trayray.api.session import session
from trayray.core.supervision import ChildCounts
from trayray.native.supervision.child_spec import Spec, SupervisorSpec, local_functions
from trayray.native.supervision.events import EventReader, SupervisorEvent
from trayray.native.supervision.root import SupervisionRoot
from trayray.native.supervision.service import SupervisionService
from trayray.native.supervision.supervisor import (
    ChildInfo,
    checked_actor,
    delete_child,
    described_children,
    look_up,
    restart_child,
    start_child,
    terminate_child,
)
from trayray.worker.current import core_worker

if TYPE_CHECKING:
    from trayray.api.shapes.actors import HasFactory
    from trayray.api.shapes.calls import Callee

R = TypeVar("R")
C = TypeVar("C")


class BlockingSupervisor:
    """A running supervisor for threads, made by `supervise`. See `trayray.native.supervisor.Supervisor`."""

    def __init__(self, root: SupervisionRoot, service: SupervisionService) -> None:
        self._root = root
        self._service = service

    def _in_loop(self, function: Callable[..., R], *arguments: Any) -> R:
        async def call() -> R:
            return function(*arguments)

        return self._ask(call)

    def _ask(self, function: Callable[..., Awaitable[R]], *arguments: Any) -> R:
        if self._root.error is not None:
            raise self._root.error
        return self._root.core.run_async(function, *arguments)

    def _wrap(self, handle: Any) -> Any:
        return BlockingSupervisor(self._root, handle) if isinstance(handle, SupervisionService) else handle

    def __getitem__(self, child: str) -> Any:
        """The handle of a child; of a supervisor a `BlockingSupervisor`.

        Raises:
            KeyError: there is no such child.
            SupervisorGaveUpError: the supervisor has given up.
        """
        return self._wrap(self._in_loop(look_up, self._service, child))

    @overload
    def actor(self, child: str, cls: HasFactory[Callable[..., C]]) -> C: ...
    @overload
    def actor(self, child: str, cls: Callee[..., C]) -> C: ...
    @overload
    def actor(self, child: str, cls: Callable[..., C]) -> C: ...
    def actor(self, child: str, cls: Any) -> Any:
        """The handle of a child that is an actor of the class ``cls``, typed as such. See `Supervisor.actor`."""
        return checked_actor(self[child], child, cls)

    def which_children(self) -> list[ChildInfo]:
        """All children in the order of their start."""
        return self._in_loop(described_children, self._service, self._wrap)

    def count_children(self) -> ChildCounts:
        """How many children there are, and run."""
        return self._in_loop(self._service.machine.count)

    def start_child(self, /, *args: Any, **kwargs: Any) -> Any:
        """Add a child and wait until it has started; its handle. See `Supervisor.start_child`."""
        for spec in args:
            if isinstance(spec, Spec):
                _check_local(spec)
        return self._wrap(self._ask(start_child, self._service, args, kwargs))

    def terminate_child(self, child: Any) -> None:
        """Stop a child, given by its id or its handle, and wait until it is gone."""
        self._ask(terminate_child, self._service, child._service if isinstance(child, BlockingSupervisor) else child)

    def restart_child(self, child: str) -> Any:
        """Start a child that is stopped; its handle."""
        return self._wrap(self._ask(restart_child, self._service, child))

    def delete_child(self, child: str) -> None:
        """Forget a child that is stopped."""
        self._ask(delete_child, self._service, child)

    def events(self) -> Iterator[SupervisorEvent]:
        """What happens in the whole tree from now on, until the supervisor has ended. See `Supervisor.events`."""
        more = threading.Event()
        reader = EventReader(more.set)
        self._in_loop(self._root.events.add, reader)
        return _events(reader, more)

    def wait(self) -> None:
        """Wait until the supervisor has ended.

        Raises:
            SupervisorGaveUpError: because it has given up.
        """
        self._ask(self._root.over.wait)
        if self._root.error is not None:
            raise self._root.error


def _events(reader: EventReader, more: threading.Event) -> Iterator[SupervisorEvent]:
    while True:
        more.clear()
        closed = reader.closed  # first: what is put before it closes is taken below
        while (event := reader.take()) is not None:
            yield event
        if closed:
            return
        more.wait()


@contextmanager
def supervise(spec: SupervisorSpec | Iterable[Spec]) -> Generator[BlockingSupervisor]:
    """Supervise children as long as the block, in a program that is no Trio program. See `open_supervisor`.

    A supervisor that gives up cannot interrupt the block: what is asked of it raises the error from then on, and so
    does the end of the block.

    Args:
        spec: the supervisor, or only its children, in the order of their start.

    Raises:
        SupervisorStartError: a child could not be started; those before it have been stopped.
        SupervisorGaveUpError: it has given up.
        RaySystemError: this process belongs to no cluster.
        RuntimeError: called in the runtime's own loop, which a Trio program has: `open_supervisor` is for it.
        ValueError: a child is an async function: there is no loop of yours in which it could run.
    """
    spec = spec if isinstance(spec, SupervisorSpec) else SupervisorSpec(tuple(spec))
    _check_local(spec)
    core = core_worker() or session.core()
    core.check_may_wait("supervise()")
    root = SupervisionRoot(core, spec)
    failure: BaseException | None = None
    try:
        core.run_async(_start, root)
        yield BlockingSupervisor(root, root.service)
    except BaseException as error:
        failure = error
        raise
    finally:
        if not root.over.is_set():  # else it has given up, or shutdown() was called in the block
            core.run_async(_stop, root)
        if failure is not None and root.error is not None and root.error is not failure:
            failure.add_note(f"Besides, {type(root.error).__name__}: {root.error}")
    error = root.error or core.lost
    if error is not None:
        raise error


def _check_local(spec: Spec) -> None:
    local = local_functions(spec)
    if local:
        raise ValueError(
            f"{', '.join(map(repr, local))}: an async function runs in the loop of the supervisor, and supervise() has "
            "none of yours; decorate it with @trayray.task, which runs it in another process, or use open_supervisor() "
            "in a Trio program"
        )


async def _start(root: SupervisionRoot) -> None:
    root.core.nursery.start_soon(_run, root)
    await root.settled.wait()
    if root.outcome is not None:
        await root.over.wait()
    if root.error is not None:
        raise root.error


async def _run(root: SupervisionRoot) -> None:
    """A child of the core worker: its end, or the node's death, is the supervisor's."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_when_cancelled, root)
        await root.run(nursery.cancel_scope.cancel)


async def _end_when_cancelled(root: SupervisionRoot) -> None:
    try:
        await trio.sleep_forever()
    finally:
        root.shut_down()


async def _stop(root: SupervisionRoot) -> None:
    root.shut_down()
    if root.begun:  # else it was interrupted before, and will start nothing any more
        await root.over.wait()
