"""``open_supervisor``: children that are started again when they end, by OTP's rules, as long as a block.

Not here: the rules (``core.supervision``), the same for threads (``blocking``).
"""

# Overloads overlap on purpose: the first that fits wins.
# pyright: reportOverlappingOverload=false
# mypy: disable-error-code="overload-overlap, misc"

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import attrs
import trio

from trayray.api.actor_class import ActorClass, ActorHandle, BoundActorClass
from trayray.core.supervision import ChildCounts
from trayray.core.supervision_messages import (
    DeleteChild,
    Event,
    Refusal,
    Reply,
    RestartChild,
    StartChild,
    StartDynamic,
    TerminateChild,
)
from trayray.exceptions import SupervisionError
from trayray.model.supervision import AutoShutdown, Strategy
from trayray.native.calls import connected
from trayray.native.serving import parted
from trayray.native.supervision.child_spec import ChildSpec, Spec, SupervisorSpec, TargetKind, check_children
from trayray.native.supervision.events import EventReader, Events, SupervisorEvent
from trayray.native.supervision.root import SupervisionRoot
from trayray.native.supervision.service import SupervisionService

if TYPE_CHECKING:
    from collections.abc import Callable

    from trayray.api.shapes.actors import HasFactory
    from trayray.api.shapes.calls import Callee

C = TypeVar("C")

#: What a refusal means, and what to do about it.
_ADVICE: Final = {
    Refusal.NOT_FOUND: "has no child {child!r}",
    Refusal.RUNNING: "has a child {child!r} that runs; terminate_child() it first",
    Refusal.RESTARTING: "is just starting its child {child!r} again; terminate_child() stops that",
    Refusal.ALREADY_STARTED: "has a child {child!r} already, which runs or is just started again; terminate_child() "
    "stops it",
    Refusal.ALREADY_PRESENT: "has a child {child!r} already, which does not run; restart_child() starts it, "
    "delete_child() forgets it",
    Refusal.SIMPLE_ONE_FOR_ONE: "is {a} simple_one_for_one supervisor: {rule}",
    Refusal.START_FAILED: "could not start its child {child!r}",
    Refusal.NOT_STARTED: "has not started yet; ask again when its 'started' event has come",
    Refusal.SUPERVISOR_ENDS: "ends, or has ended",
}


@attrs.frozen
class ChildInfo:
    """One child as `Supervisor.which_children` lists it."""

    id: str
    kind: TargetKind
    #: "running", "starting", "stopping", "restarting" (a restart has failed and is tried again) or "stopped".
    state: str
    #: How often it was started again.
    restarts: int
    #: How it ended the last time; empty for never.
    reason: str
    #: See `Supervisor.__getitem__`.
    handle: Any


def not_found(service: SupervisionService, child: str) -> KeyError:
    """The error of a child that is not there."""
    known = ", ".join(repr(each.id) for each in service.machine.children) or "none"
    return KeyError(f"the supervisor {service.path or service.spec.id!r} has no child {child!r}; it has: {known}")


def look_up(service: SupervisionService, child: str) -> Any:
    """The handle of a child; a `SupervisionService` for a supervisor."""
    if service.machine.children.get(child) is None:
        raise not_found(service, child)
    found = service.child(child)
    return None if found is None else found.handle


def checked_actor(handle: object, child: str, cls: Any) -> Any:
    """The handle, which is to be one of this class.

    Raises:
        TypeError: it is another one's, or ``cls`` is no actor class.
    """
    decorated = cls._cls if isinstance(cls, BoundActorClass) else cls
    if not isinstance(decorated, ActorClass):
        raise TypeError(f"{cls!r} is no actor class")
    wanted = decorated._cls.__name__
    if not isinstance(handle, ActorHandle) or handle._ray_info.class_name != wanted:
        raise TypeError(f"the child {child!r} is {handle!r}, not an actor of the class {wanted}")
    return handle


def id_of(service: SupervisionService, child: object) -> str:
    """The id of a child that is given by its id or its handle.

    Raises:
        SupervisionError: it is no child's handle.
    """
    name = service.path or service.spec.id
    if isinstance(child, str):
        return child
    if isinstance(child, Supervisor):
        child = child._service
    for each in service.machine.children:
        found = service.child(each.id)
        if found is not None and found.handle is not None and _same(found.handle, child):
            return each.id
    raise SupervisionError(str(not_found(service, repr(child)).args[0]), name, refusal=Refusal.NOT_FOUND.value)


def _same(handle: object, other: object) -> bool:
    """Actors are the same by their ids: a handle may have been sent."""
    return handle is other or (isinstance(handle, ActorHandle) and handle == other)


def described_children(service: SupervisionService, wrap: Callable[[SupervisionService], Any]) -> list[ChildInfo]:
    """The children in the order of their start; ``wrap`` makes a supervisor's handle."""
    found: list[ChildInfo] = []
    for child in service.machine.children:
        spec, runs = service.spec_of(child.id), service.child(child.id)
        handle = None if runs is None else runs.handle
        found.append(
            ChildInfo(
                child.id,
                "supervisor" if spec is None else spec.kind,
                child.state.value,
                child.restarts,
                "" if child.last_exit is None else child.last_exit.reason,
                wrap(handle) if isinstance(handle, SupervisionService) else handle,
            )
        )
    return found


async def ask(service: SupervisionService, make: Callable[[int], Event], spec: Spec | None = None) -> Reply:
    """Make a request of a supervisor, in its loop.

    Raises:
        SupervisionError: it is refused.
    """
    reply = await service.ask(make, spec)
    if reply.refusal is None:
        return reply
    simple = service.machine.template is not None
    text = _ADVICE[reply.refusal].format(
        child=reply.child,
        a="a" if simple else "no",
        rule="its children are made by start_child(*args) and ended by terminate_child()"
        if simple
        else "start_child() takes one ChildSpec or SupervisorSpec",
    )
    name = service.path or service.spec.id
    why = "" if reply.exit is None else f": {reply.exit.reason}"
    error = SupervisionError(f"The supervisor {name!r} {text}{why}.", name, reply.child, reply.refusal.value)
    if reply.exit is not None and reply.exit.error is not None:
        raise error from reply.exit.error
    raise error


async def start_child(service: SupervisionService, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Add a child; its handle. See `Supervisor.start_child`."""
    template = service.spec.children[0] if service.machine.template is not None else None
    if isinstance(template, ChildSpec):
        spec: Spec = attrs.evolve(template, args=(*template.args, *args), kwargs={**template.kwargs, **kwargs})
        make: Callable[[int], Event] = StartDynamic
    elif template is not None:
        if args or kwargs:
            raise TypeError("a supervisor that is made like the others takes no arguments")
        spec, make = template, StartDynamic
    else:
        if len(args) != 1 or kwargs:
            raise TypeError("start_child() takes one ChildSpec or SupervisorSpec")
        check_children(args)
        spec = args[0]
        policy = spec.policy
        service.machine.policy.check(policy)
        make = lambda request: StartChild(request, policy)  # noqa: E731 -- one of three ways to ask
    reply = await ask(service, make, spec)
    return _handle(service, reply.child)


async def terminate_child(service: SupervisionService, child: object) -> None:
    """See `Supervisor.terminate_child`."""
    child_id = id_of(service, child)
    await ask(service, lambda request: TerminateChild(request, child_id))


async def restart_child(service: SupervisionService, child: str) -> Any:
    """See `Supervisor.restart_child`."""
    await ask(service, lambda request: RestartChild(request, child))
    return _handle(service, child)


def _handle(service: SupervisionService, child: str) -> Any:
    """The handle of a child that has just started; None when it has ended for good since."""
    found = service.child(child)
    return None if found is None else found.handle


async def delete_child(service: SupervisionService, child: str) -> None:
    """See `Supervisor.delete_child`."""
    await ask(service, lambda request: DeleteChild(request, child))


class Supervisor:
    """A running supervisor as a Trio program sees it, made by `open_supervisor`. Use it in that block's loop."""

    def __init__(self, service: SupervisionService, events: Events) -> None:
        self._service = service
        self._events = events

    def __getitem__(self, child: str) -> Any:
        """The handle of a child.

        Returns:
            Of an actor the handle, which stays valid over restarts; of a remote function the reference of its present
            result; of a supervisor a `Supervisor`; of an async function None, and of a child that has never started.

        Raises:
            KeyError: there is no such child.
        """
        return self._wrap(look_up(self._service, child))

    @overload
    def actor(self, child: str, cls: HasFactory[Callable[..., C]]) -> C: ...
    @overload
    def actor(self, child: str, cls: Callee[..., C]) -> C: ...
    @overload
    def actor(self, child: str, cls: Callable[..., C]) -> C: ...
    def actor(self, child: str, cls: Any) -> Any:
        """The handle of a child that is an actor of the class ``cls``, typed as such.

        Raises:
            KeyError: there is no such child.
            TypeError: it is something else.
        """
        return checked_actor(self[child], child, cls)

    def _wrap(self, handle: Any) -> Any:
        return Supervisor(handle, self._events) if isinstance(handle, SupervisionService) else handle

    def which_children(self) -> list[ChildInfo]:
        """All children in the order of their start."""
        return described_children(self._service, self._wrap)

    def count_children(self) -> ChildCounts:
        """How many children there are, and run."""
        return self._service.machine.count()

    async def start_child(self, /, *args: Any, **kwargs: Any) -> Any:
        """Add a child and wait until it has started; its handle.

        Args:
            args: one `ChildSpec` or `SupervisorSpec`; of a simple_one_for_one supervisor further arguments of the
                child, behind those that its specification has.

        Raises:
            SupervisionError: the id is taken, the child could not be started, or the supervisor ends.
            ValueError: the specification does not go together with the supervisor's.
        """
        return self._wrap(await start_child(self._service, args, kwargs))

    async def terminate_child(self, child: Any) -> None:
        """Stop a child and wait until it is gone; it stays known unless it is temporary.

        Args:
            child: its id or its handle.

        Raises:
            SupervisionError: it is not known.
        """
        await terminate_child(self._service, child)

    async def restart_child(self, child: str) -> Any:
        """Start a child that is stopped; its handle.

        Raises:
            SupervisionError: it is not known, runs, or could not be started.
        """
        return self._wrap(await restart_child(self._service, child))

    async def delete_child(self, child: str) -> None:
        """Forget a child that is stopped.

        Raises:
            SupervisionError: it is not known, or runs.
        """
        await delete_child(self._service, child)

    def events(self) -> EventStream:
        """What happens in the whole tree from now on, until the supervisor has ended; for ``async for``.

        At most a thousand events wait for a slow reader; what is dropped then, the oldest, is said by one.
        """
        return EventStream(self._events)


class EventStream:
    """An asynchronous iterator over events, made by `Supervisor.events`."""

    def __init__(self, events: Events) -> None:
        self._more = trio.Event()
        self._reader = EventReader(self._wake)
        events.add(self._reader)

    def _wake(self) -> None:
        self._more.set()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> SupervisorEvent:
        while True:
            self._more = trio.Event()
            event = self._reader.take()
            if event is not None:
                await trio.lowlevel.checkpoint()
                return event
            if self._reader.closed:
                raise StopAsyncIteration
            await self._more.wait()


@asynccontextmanager
async def open_supervisor(
    children: Iterable[Spec] | SupervisorSpec = (),
    *,
    strategy: Strategy = "one_for_one",
    intensity: int = 1,
    period: float = 5.0,
    auto_shutdown: AutoShutdown = "never",
    name: str = "supervisor",
) -> AsyncGenerator[Supervisor]:
    """Supervise children as long as the block: it begins when all have started, in order, and ends when all are gone.

    Children that end are started again by the rules of their specifications. When the block is left, however, they are
    stopped in reverse order, each within its own deadline. A supervisor that gives up cancels the block, and so does
    one that ends with a significant child (``auto_shutdown``), which is no error.

    Args:
        children: `ChildSpec` and `SupervisorSpec`, in the order of their start; or a `SupervisorSpec` that says it all.
        strategy, intensity, period, auto_shutdown: as for `SupervisorSpec`.
        name: shown in errors and by ``trayray tree``.

    Raises:
        SupervisorStartError: a child could not be started; those before it have been stopped.
        SupervisorGaveUpError: more restarts than ``intensity`` within ``period``; the causes are in it.
        RaySystemError: this process belongs to no cluster.
        TypeError, ValueError: the specifications are wrong.
    """
    if isinstance(children, SupervisorSpec):
        spec = children
    else:
        spec = SupervisorSpec(
            tuple(children),
            id=name,
            strategy=strategy,
            intensity=intensity,
            period=period,
            auto_shutdown=auto_shutdown,
        )
    core = connected()
    root = SupervisionRoot(core, spec)
    failure: BaseException | None = None
    try:
        with ExitStack() as at_end:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(root.run, nursery.cancel_scope.cancel)
                try:
                    await root.settled.wait()
                    if root.outcome is None:
                        yield Supervisor(root.service, root.events)
                    else:
                        await root.over.wait()
                except BaseException as error:  # noqa: BLE001 -- raised below, as it is
                    failure, cancellation = parted(error)
                    if cancellation is not None:
                        raise cancellation from None
                finally:
                    root.shut_down()
                    at_end.enter_context(core.ends.awaited())
    except BaseException as error:
        if failure is None or parted(error)[0] is not None:
            raise
    if failure is not None:
        if root.error is not None and root.error is not failure:
            failure.add_note(f"Besides, {type(root.error).__name__}: {root.error}")
        raise failure
    reason = root.interrupted or root.error
    if reason is not None:
        raise reason
