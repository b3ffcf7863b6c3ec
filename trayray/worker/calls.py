"""One call in a worker: its function, its arguments unpacked, its results packed.

Runs in whichever thread executes the call. Not here: where calls come from and in which order they run
(``execution``, ``async_execution``).
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import closing, contextmanager
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final

import attrs

from trayray.core.cancellation import Step
from trayray.core.marks import mark_of
from trayray.exceptions import RayError, RayTaskError
from trayray.wire.serialization import ArgumentSlot, copied, deserialize, serialize
from trayray.wire.task_messages import (
    DYNAMIC,
    MAY_RETRY,
    METHOD,
    MID_STREAM,
    STREAMING,
    Define,
    Done,
    Push,
    Started,
    Yielded,
)
from trayray.wire.values import ERROR, INLINE, STORED, RefInfo, Value
from trayray.worker.cancel_ladder import cancelled_error
from trayray.worker.cancelling import Steps
from trayray.worker.child_scopes import ChildScope
from trayray.worker.closing_async import closing_async
from trayray.worker.current import Running, actor_self, running
from trayray.worker.exits import ActorExit
from trayray.worker.generators import replay_error
from trayray.worker.objects import INLINE_BYTES
from trayray.worker.references import ObjectRef, adopting
from trayray.worker.returns import Results, TooManyResults, lend_to

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.reading import ReadPin
    from trayray.worker.yielding import Flow

#: Results that are no value: their items are.
_GENERATORS: Final = (GeneratorType, Steps)


@attrs.define(eq=False)
class Target:
    """A call number of a link: what to call and how."""

    define: Define
    #: None until it is loaded, and when it cannot be; `error` says why.
    function: Callable[..., Any] | None = None
    error: BaseException | None = None
    _retried: tuple[type[BaseException], ...] | None = None

    def load(self) -> Callable[..., Any]:
        """The function; user code runs when a task's is unpickled, so a thread of the user's calls this.

        Raises:
            RayError: it cannot be unpickled here.
            AttributeError: the actor has no such method.
        """
        if self.function is None:
            if self.error is not None:
                raise self.error
            self.function = _find_method(self.define) if self.define.kind == METHOD else self._unpickled()
        return self.function

    def may_retry(self, error: BaseException) -> bool:
        """Whether the caller wants calls repeated that end so."""
        if not self.define.retry_on:
            return False
        kinds = self._retried
        if kinds is None:
            try:
                kinds = self._retried = deserialize(self.define.retry_on)
            except Exception as cause:  # the caller gets ``error`` all the same, and hears why it was the last attempt
                note = (
                    f"retry_exceptions of {self.define.name}() could not be loaded in the worker: "
                    f"{type(cause).__name__}: {cause}. What it names must be importable there too."
                )
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)
                return False
        return isinstance(error, kinds)

    def _unpickled(self) -> Callable[..., Any]:
        define = self.define
        try:
            return deserialize(define.body)
        except Exception as error:
            self.error = RayError(
                f"The remote function {define.name} could not be loaded in the worker: "
                f"{type(error).__name__}: {error}. What the function imports or refers to must be importable there too."
            )
            raise self.error from error


def _find_method(define: Define) -> Callable[..., Any]:
    actor = actor_self()
    assert actor is not None, "a method call reached a worker that is no actor"
    method = _IMPLICIT.get(define.title) or getattr(actor.instance, define.title, None)
    if method is None:
        raise AttributeError(f"the actor has no method {define.title!r}")
    return method


def _call_on_instance(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    actor = actor_self()
    assert actor is not None
    return function(actor.instance, *args, **kwargs)


def _terminate() -> None:
    raise ActorExit(patient=True)


#: Methods that every actor has (Ray's names).
_IMPLICIT: dict[str, Callable[..., Any]] = {
    "__ray_ready__": lambda: True,
    "__ray_terminate__": _terminate,
    "__ray_call__": _call_on_instance,
}


class Call:
    """One execution."""

    __slots__ = ("_core", "_met", "flow", "owner", "produced", "push", "repeats", "running", "stored", "target")

    def __init__(self, core: CoreWorker, push: Push, target: Target, owner: str) -> None:
        self._core = core
        self.push = push
        self.target = target
        self.owner = owner
        #: How often it may still be repeated where it is.
        self.repeats = push.repeats
        #: Values that the generator has yielded; None while the call is not one that runs.
        self.produced: int | None = None
        #: How far it may run ahead of its consumer, once it has begun to yield.
        self.flow: Flow | None = None
        #: The caller owns segments that it learns of by the reply.
        self.stored = False
        define = target.define
        self.running = Running(push.task, push.name or define.name, define.title, define.resources, define.job, owner)
        if push.seconds is not None:
            self.running.children = ChildScope(core, core.now() + push.seconds, keeps=define.kind == METHOD)
        self._met: list[weakref.ref[ObjectRef[Any]]] = []

    @property
    def seconds_left(self) -> float:
        """Until the call is to have ended; infinite where nobody says."""
        children = self.running.children
        return math.inf if children is None else children.deadline - self._core.now()

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The unpickled arguments, top-level references replaced by their values."""
        push = self.push
        if not push.payload:
            return (), {}
        met: list[ObjectRef[Any]] = []
        adopting.refs = met
        try:
            args, kwargs = deserialize(push.payload)
            if push.values:
                values = [self._value(info, value) for info, value in push.values]
                args = tuple(values[a.index] if type(a) is ArgumentSlot else a for a in args)
                kwargs = {k: values[a.index] if type(a) is ArgumentSlot else a for k, a in kwargs.items()}
        finally:
            adopting.refs = None
            self._met += [weakref.ref(ref) for ref in met]
        return args, kwargs

    def load_class(self, body: bytes) -> Any:
        """The class of an actor; what references it captures outlive its constructor, as arguments may."""
        met: list[ObjectRef[Any]] = []
        adopting.refs = met
        try:
            return deserialize(body)
        finally:
            adopting.refs = None
            self._met += [weakref.ref(ref) for ref in met]

    def spilled_arguments(self) -> list[ReadPin]:
        """Pins of arguments whose bytes may be away: bring them and hold them, so that `arguments` need not wait."""
        core = self._core
        pins: list[ReadPin] = []
        for info, value in self.push.values or ():
            if value.place is not None and core.arena.marks[mark_of(value.place.generation)]:
                pin = core.objects.pin_if_away(value, core.references.adopt(info.id, info.owner))
                if pin is not None:
                    pins.append(pin)
        return pins

    def _value(self, info: RefInfo, value: Value) -> Any:
        if value.kind == STORED:
            return deserialize(self._core.objects.view(value, self._core.references.adopt(info.id, info.owner)))
        if value.kind == ERROR:  # it was lost while the call waited for its turn
            raise self._core.objects.error_of(value)
        return deserialize(value.data)

    def done(self, result: Any) -> Done:
        """The reply for a result."""
        count = self.target.define.num_returns
        generated = type(result) in _GENERATORS
        if count == 1 and not generated:
            values = [self._pack(result)]
        elif count == 0:
            values = []
        elif generated:
            values = self._generated(result, count)
        else:
            values = self._all_of(_split(result, count, self.running.name), count)
        del result
        return Done(self.push.task, values, self._kept())

    async def done_async(self, result: AsyncGenerator[Any]) -> Done:
        """`done` for an async generator."""
        count = self.target.define.num_returns
        if count == 0:
            return self.done(result)
        results = self._results(count)
        try:
            async with closing_async(result):
                async for item in result:
                    results.add(item)
            results.check()
        except BaseException as error:
            values = self._broken(results, error)
        else:
            values = self._handed_over(results)
        return Done(self.push.task, values, self._kept())

    def _results(self, count: int) -> Results:
        return Results(self._core, self.owner, count, self.running.name)

    def _all_of(self, items: Iterable[Any], count: int) -> list[Value]:
        results = self._results(count)
        try:
            for item in items:
                results.add(item)
        except BaseException:
            results.discard()
            raise
        return self._handed_over(results)

    def _generated(self, items: Generator[Any, Any, Any], count: int) -> list[Value]:
        """The values of a generator for ``count`` references; what it raises is the value of those that remain."""
        results = self._results(count)
        try:
            with closing(items):
                for item in items:
                    results.add(item)
            results.check()
        except BaseException as error:
            return self._broken(results, error)
        return self._handed_over(results)

    def _broken(self, results: Results, error: BaseException) -> list[Value]:
        """The values of a generator that has raised ``error``, or has yielded too few or too many.

        Raises:
            BaseException: ``error``, when it is no result, or the call may be executed once more for it.
        """
        if isinstance(error, TooManyResults):
            results.discard()
            error = ValueError(str(error))
        elif not isinstance(error, Exception) or self.target.may_retry(error):
            results.discard()
            raise error
        missing = results.missing
        return self._handed_over(results) + self._errors(self.error_of(error), missing)

    def _handed_over(self, results: Results) -> list[Value]:
        values = results.hand_over()
        self.stored = any(value.kind == STORED for value in values)
        return values

    # --- generators ---

    @property
    def streams(self) -> bool:
        """Whether values are sent as they are yielded."""
        return self.target.define.num_returns in (STREAMING, DYNAMIC)

    def begin_stream(self) -> None:
        """The call's result is about to be iterated."""
        self.produced = 0

    def yielded(self, item: Any) -> Yielded | None:
        """The message for the next value; None for one that the caller has from an earlier run."""
        index = self.produced or 0
        self.produced = index + 1
        skip = self.push.skip
        if skip and self.target.define.ahead:
            skip -= 1  # the caller answers the last one once more with how many were taken since this run was ordered
        return None if index < skip else Yielded(self.push.task, index, self._pack(item))

    def end_stream(self) -> Done:
        """The reply of a generator that has returned.

        Raises:
            StreamingGeneratorReplayInconsistentError: it has yielded less than when it ran before.
        """
        produced = self.produced or 0
        if produced < self.push.skip:
            raise replay_error(self.running.name, produced, self.push.skip)
        return Done(self.push.task, [self._pack(None)], self._kept())

    def started(self, value: Any) -> Started:
        """The message that the call is ready."""
        return Started(self.push.task, self._pack(value))

    def may_repeat(self, error: BaseException) -> bool:
        """Whether the call is to be executed once more, here and now, after this exception; counts it."""
        if self.repeats == 0 or not self.target.may_retry(error):
            return False
        self.repeats -= self.repeats > 0
        self.push.skip = max(self.push.skip, self.produced or 0)  # what was sent is not sent again
        self.produced = None
        return True

    def _pack(self, result: Any) -> Value:
        serialized = serialize(result)
        refs = serialized.refs
        if serialized.size <= INLINE_BYTES:
            return Value(INLINE, serialized.to_bytes(), None, lend_to(self._core, refs, self.owner) if refs else None)
        objects = self._core.objects
        place = objects.write(serialized)
        infos = lend_to(self._core, refs, self.owner) if refs else None
        self.stored = True
        objects.seal([place], self.owner)
        return Value(STORED, b"", place, infos)

    @contextmanager
    def entered(self) -> Generator[None]:
        """Within the block, this call is what runs in the thread."""
        token = running.set(self.running)
        try:
            yield
        finally:
            running.reset(token)

    def failed(self, error: BaseException) -> Done:
        """The reply for an exception."""
        flags = MAY_RETRY if self.target.may_retry(error) else 0
        if self.produced is not None:
            flags |= MID_STREAM
        return self._error(self.error_of(error), flags)

    def error_of(self, error: BaseException) -> RayTaskError:
        """The exception as its caller will meet it."""
        actor = actor_self()
        failure = RayTaskError.from_exception(
            error,
            function_name=self.running.name,
            proctitle=f"ray::{self.running.name}",
            pid=os.getpid(),
            ip=self._core.node_ip,
            actor_repr=_repr_of(actor.instance) if actor is not None else None,
            actor_id=actor.actor_id.hex() if actor is not None else None,
            copied=copied,
        )
        failure._task_id = self.push.task
        return failure

    def cancelled(self, step: Step) -> Done:
        """The reply of a call that was cancelled."""
        return self._error(cancelled_error(self.push.task, step))

    def _error(self, error: BaseException, flags: int = 0) -> Done:
        count = 1 if self.streams else self.target.define.num_returns
        if count == 0 and self.push.seconds is not None:  # somebody answers for the call, whose error is not lost
            count = 1
        return Done(self.push.task, self._errors(error, count), self._kept(), flags)

    def _errors(self, error: BaseException, count: int) -> list[Value]:
        """One value for each of ``count`` references; each holds what references the exception has inside."""
        serialized = serialize(error)
        payload, refs = serialized.to_bytes(), serialized.refs
        if not refs:
            return [Value(ERROR, payload)] * count
        return [Value(ERROR, payload, None, lend_to(self._core, refs, self.owner)) for _ in range(count)]

    def register_kept(self) -> None:
        """Tell all owners of references that outlive the call, for a call whose reply carries no such list."""
        self._keep("")

    def _kept(self) -> list[bytes] | None:
        """References from the arguments that outlive the call; their owners count this process as a borrower."""
        return self._keep(self.owner) if self._met else None

    def _keep(self, caller: str) -> list[bytes] | None:
        alive = {ref._id: ref for ref in (weak() for weak in self._met) if ref is not None}
        kept, requests = self._core.references.keep(alive.values(), caller)
        if requests:
            self._core.run_async(self._core.peers.answered, requests)
        return kept or None


def _split(result: Any, count: int, name: str) -> list[Any]:
    try:
        items = list(result)
    except TypeError:
        raise TypeError(
            f"{name} has num_returns={count} and must return that many values, "
            f"but it returned one {type(result).__name__}"
        ) from None
    if len(items) != count:
        raise ValueError(f"Task {name} returned {len(items)} objects, but num_returns={count}.")
    return items


def _repr_of(instance: Any) -> str | None:
    try:
        return repr(instance)
    except Exception as error:  # a user's broken __repr__ must not hide the error that is being reported
        return f"<unprintable {type(instance).__name__}: {error}>"
