"""What an owner knows of one task or actor call until it has finished, and what all calls of its kind share.

Not here: where it goes (``tasks``, ``actor_calls``).
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol

from trayray.link.port import Link
from trayray.model.scheduling import Scheduling
from trayray.wire.serialization import serialize
from trayray.wire.task_messages import METHOD, MID_STREAM, Define, Done, Push, StreamMessage, TaskMessage
from trayray.wire.values import INLINE, Value
from trayray.worker.call_values import drop_results, take_result
from trayray.worker.references import ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.generators import Stream

_numbers = itertools.count(1)


#: What a call without results gives to whoever waits for its end.
_NOTHING = [Value(INLINE, serialize(None).to_bytes())]


class Watcher(Protocol):
    """Whoever answers for a call: it is told of its end, and of the moment when it is ready."""

    def ended(self, call: PendingTask) -> None:
        """The call has its result. From any thread, under `CoreWorker.state_lock`; must not block."""
        ...

    def started(self, call: PendingTask, value: Value) -> bool:
        """The call says that it is ready, with this value; False when nobody wants to know."""
        ...


class Conversation(Protocol):
    """This end of the stream that a call has to its caller."""

    def begin(self, push: Push, link: Link[TaskMessage], address: str) -> None:
        """The call is being sent over ``link`` to the process at ``address``, by this message."""
        ...

    def handle(self, message: StreamMessage) -> None:
        """The executor has sent something."""
        ...


#: Where this package's own code lies.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


class TaskTemplate:
    """What all calls of one remote function with one set of options share; its number names it on every link."""

    __slots__ = ("captured", "define", "max_retries", "resources", "scheduling")

    def __init__(
        self,
        define: Define,
        resources: dict[str, float],
        max_retries: int,
        scheduling: Scheduling | None = None,
        captured: Sequence[ObjectRef[Any]] = (),
    ) -> None:
        define.call = next(_numbers)
        define.at_most_once = define.kind != METHOD and max_retries == 0
        self.define = define
        self.resources = resources
        self.max_retries = max_retries
        #: Where the tasks may run; None for anywhere.
        self.scheduling = scheduling
        #: References inside the pickled function: a task that is pending needs them, also when nobody else does.
        self.captured = captured


class PendingTask:
    """A task that has not finished, at its owner. It holds its arguments and its return references."""

    __slots__ = (
        "args",
        "cancelled",
        "closing",
        "conversation",
        "deadline",
        "failures",
        "grace",
        "keeper",
        "lost_at",
        "parent",
        "parent_cancelled",
        "payload",
        "refs",
        "retries",
        "returns",
        "site",
        "starts",
        "stream",
        "task_id",
        "template",
        "watcher",
    )

    def __init__(
        self,
        task_id: bytes,
        template: TaskTemplate,
        payload: bytes,
        args: list[ObjectRef[Any]] | None,
        refs: list[ObjectRef[Any]] | None,
        returns: list[ObjectRef[Any]],
    ) -> None:
        self.task_id = task_id
        self.template = template
        self.payload = payload
        #: Top-level references: their values travel with the call.
        self.args = args
        #: References inside the payload: they travel as references and are held until the result.
        self.refs = refs
        self.returns = returns
        #: How often it may still be tried again (-1: for ever), and how often it has failed.
        self.retries = template.max_retries
        self.failures = 0
        #: Where the values of a generator go; `returns` is the reference of its end then.
        self.stream: Stream | None = None
        #: This end of the stream that the call has to its caller, if it has one.
        self.conversation: Conversation | None = None
        #: Where the user's code made the call: its code and line.
        self.site: tuple[CodeType, int] | None = None
        self.cancelled = False
        #: What each step of its cancellation may take, where that is not the usual (seconds).
        self.grace: float | None = None
        #: The task or actor call of this worker that has made this one; None in drivers.
        self.parent: bytes | None = None
        #: That call was cancelled, and this one with it.
        self.parent_cancelled = False
        #: Who waits for its end; None for a call that nobody answers for. Then it ends after all that it has started,
        #: before this moment of `CoreWorker.now`, perhaps infinite.
        self.watcher: Watcher | None = None
        self.deadline: float | None = None
        #: The watcher that keeps it for longer than the deadline, as long as nobody else watches it.
        self.keeper: Watcher | None = None
        #: Its code has ended, and it waits for what it has started.
        self.closing = False
        #: The watcher wants to know when the call is ready.
        self.starts = False
        #: The addresses of the processes that died with it, or with an attempt at it.
        self.lost_at: tuple[str, ...] = ()

    def push_directly(self, core: CoreWorker) -> bool:
        """Send the task to an idle worker, if there is one; under `CoreWorker.state_lock`, in any thread."""
        return core.tasks.push_directly(self)

    def stamp(self, push: Push, now: float) -> None:
        """Say in the message for the executor what somebody who answers for the call wants."""
        if self.deadline is not None:
            kept = self.keeper is not None and self.keeper is self.watcher
            push.seconds = math.inf if kept else max(0.0, self.deadline - now)
            push.starts = self.starts
            self.closing = False

    def started(self, core: CoreWorker, value: Value) -> None:
        """The executor says that the call is ready."""
        if self.watcher is None or not self.watcher.started(self, value):
            drop_results(core, [value])

    def finish(self, core: CoreWorker, message: Done) -> None:
        """The executor has answered."""
        if self.cancelled:
            core.cancellations.ended(self.task_id)
        if self.stream is not None:
            self.stream.finish(self.returns[0], message.results[0], mid_stream=bool(message.flags & MID_STREAM))
        elif not self.returns:  # an error, at most
            drop_results(core, message.results)
        else:
            for ref, value in zip(self.returns, message.results or _NOTHING, strict=True):
                take_result(core, ref, value)
        if self.watcher is not None:
            self.watcher.ended(self)

    def fail(self, core: CoreWorker, error: Value) -> None:
        """There will be no answer: every reference's value is ``error``."""
        if self.cancelled:
            core.cancellations.ended(self.task_id)
        if self.stream is not None:
            self.stream.finish(self.returns[0], error, mid_stream=False)
        else:
            for ref in self.returns:
                core.references.complete(ref, error)
        if self.watcher is not None:
            self.watcher.ended(self)


def described_site(task: PendingTask) -> str:
    """Where a call was made, as part of a sentence."""
    if task.site is None:
        return ""
    code, line = task.site
    if code.co_filename.startswith(_PACKAGE):  # made by a graph or a utility: the line would tell nothing
        return ""
    return f", called at {code.co_filename}:{line} in {code.co_name},"
