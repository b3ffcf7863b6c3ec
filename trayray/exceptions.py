"""Every error that trayray raises at its users: Ray's tree of exceptions with its names, constructors and attributes.

All of them survive pickling. What a task raised travels as ``RayTaskError`` and reaches the caller of ``get`` as an
instance of both ``RayTaskError`` and the user's own class; ``trayray.task_error`` has the making of it. Not here:
deciding which error a failure is, and retries.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, ClassVar, Final, Literal

from trayray.task_error import CrossLanguageError as CrossLanguageError
from trayray.task_error import RayError as RayError
from trayray.task_error import RayTaskError as RayTaskError
from trayray.task_error import UnserializableException as UnserializableException

#: How a cancelled call can end.
CancelStep = Literal["pending", "checkpoint", "interrupt", "async", "kill"]

_STEPS: Final[dict[str, str]] = {
    "pending": "it had not begun and never will",
    "checkpoint": "it ended by itself after it was told",
    "interrupt": "KeyboardInterrupt was raised in it",
    "async": "it was cancelled in its event loop",
    "kill": "its worker process was killed",
}


class TaskCancelledError(RayError):
    """Raised when the task, or one that it depends on, was cancelled.

    ``step`` says what it took: "pending" (it had not begun), "checkpoint" (it ended by itself, told by `is_canceled`),
    "interrupt" (KeyboardInterrupt in its thread), "async" (cancelled in its event loop), "kill" (its process was
    killed); None where that is not known.
    """

    def __init__(
        self, task_id: object = None, error_message: str | None = None, *, step: CancelStep | None = None
    ) -> None:
        super().__init__(task_id, error_message)
        self.task_id = task_id
        self.error_message = error_message
        self.step = step

    def __str__(self) -> str:
        parts = [f"Task: {self.task_id} was cancelled." if self.task_id else "", self.error_message or ""]
        text = " ".join(filter(None, parts)) or "The task was cancelled."
        return text if self.step is None else f"{text} Step {self.step!r}: {_STEPS[self.step]}."


class UserCodeException(RayError):
    """Raised by libraries to mark that code of their user failed."""


# ---------------------------------------------------------------- processes, nodes, actors


class LocalRayletDiedError(RayError):
    """Raised when the node of the task's worker stopped. Look at that node's log."""

    _default = "The node that ran this task's worker died. Its log in the session directory tells why."


class WorkerCrashedError(RayError):
    """Raised when the worker process died while it ran the task, and no retry is left.

    The message tells the exit code or signal and the last lines of output; a crash is mostly in native code or an exit
    in user code.
    """

    _default = "The worker died unexpectedly while executing this task."


class RayActorError(RayError):
    """Raised when an actor could not run a call. ``actor_id`` is hexadecimal text or None."""

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = "The actor experienced an error before finishing this task.",
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        super().__init__(actor_id, error_msg, actor_init_failed, preempted)
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    @property
    def actor_init_failed(self) -> bool:
        """Whether the actor's constructor raised."""
        return self._actor_init_failed

    @property
    def preempted(self) -> bool:
        """Whether the actor's node was taken away."""
        return self._preempted

    def __str__(self) -> str:
        return self.error_msg

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """The error of an actor whose constructor raised."""
        return ActorDiedError(task_error)


class ActorDiedError(RayActorError):
    """Raised when the actor is dead for good.

    ``cause``: what its constructor raised, if that is why; its text is shown then. Otherwise ``error_msg`` says who
    died and why, with the actor's class and id.
    """

    def __init__(
        self,
        cause: RayTaskError | None = None,
        *,
        actor_id: str | None = None,
        error_msg: str | None = None,
        actor_init_failed: bool = False,
    ) -> None:
        if cause is not None:
            actor_id = actor_id or cause._actor_id
            reason = f"The actor died because of an error raised in its creation task, {cause}"
            error_msg = f"{error_msg}\n{cause}" if error_msg else reason
            actor_init_failed = True
        error_msg = error_msg or "The actor died unexpectedly before finishing this task."
        super().__init__(actor_id, error_msg, actor_init_failed)
        self.args = () if cause is None else (cause,)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, vars(self)


class ActorUnavailableError(RayActorError):
    """Raised when the actor cannot be reached now but may come back. The call may have run or not; calling is safe."""

    def __init__(self, error_message: str, actor_id: bytes | None) -> None:
        hex_id = None if actor_id is None else actor_id.hex()
        text = f"The actor {hex_id} is unavailable: {error_message}. The task may or may not have been executed on it."
        super().__init__(hex_id, text)
        self.args = (error_message, actor_id)


class NodeDiedError(RayError):
    """Raised when the node that ran the task died."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class OutOfMemoryError(RayError):
    """Raised when a worker was killed to keep its node from running out of memory. Ask for ``memory`` or run less."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RaySystemError(RayError):
    """Raised when trayray itself failed, or is used before it was started."""

    def __init__(self, client_exc: object, traceback_str: str | None = None) -> None:
        super().__init__(client_exc, traceback_str)
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        text = f"System error: {self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class AuthenticationError(RayError):
    """Raised when a token is missing or wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RpcError(RayError):
    """Raised when a request to another process failed."""

    def __init__(self, message: str, rpc_code: int | None = None) -> None:
        super().__init__(message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self) -> str:
        return self.message


class PendingCallsLimitExceeded(RayError):
    """Raised when an actor has ``max_pending_calls`` calls waiting. Get some results first."""


class AsyncioActorExit(RayError):
    """Raised by ``exit_actor`` in an asyncio actor."""


class ActorAlreadyExistsError(ValueError, RayError):
    """Raised when the name of a new actor is taken in its namespace."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """Raised when an actor handle is from an earlier ``init`` or another cluster."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


# ---------------------------------------------------------------- objects


class ObjectStoreFullError(RayError):
    """Raised when an object does not fit and nothing can be spilled. Drop references or enlarge the object store."""

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\nThe local object store is full of objects that are still in use and cannot be "
            "spilled. `trayray status` shows how full it is."
        ).lstrip("\n")


class OutOfDiskError(RayError):
    """Raised when an object does not fit into memory and the disk is too full to spill others."""

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\nThe object cannot be created: the local object store is full and the disk is above "
            "its limit for spilling (95 % by default). `df` shows the disks, `trayray status` the objects."
        ).lstrip("\n")


class ObjectLostError(RayError):
    """Raised when an object's value is gone. ``object_ref_hex`` is its id; the subclasses and the text say why."""

    _why: ClassVar[str] = "All copies of the object have been lost, because the nodes that held them failed."

    def __init__(self, object_ref_hex: str, owner_address: bytes | str | None, call_site: str) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site

    def __str__(self) -> str:
        made = (
            f"The ObjectRef was created at: {self.call_site}."
            if self.call_site
            else "To see where the ObjectRef was created, set the environment variable "
            "TRAYRAY_record_ref_creation_sites=1 for `trayray start` and `trayray.init()`."
        )
        return f"Failed to retrieve object {self.object_ref_hex}. {made}\n\n{self._explanation()}"

    def _explanation(self) -> str:
        return self._why


class ObjectFetchTimedOutError(ObjectLostError):
    """Raised when no node was found in time that has the object."""

    _why = "No location of the object was found in time, though its owner counts it as alive."


class ObjectFreedError(ObjectLostError):
    """Raised when the object was freed by hand. Free objects only when nobody will get them."""

    _why = "The object was freed by `free`. Call it only for objects that are no longer needed."


class OwnerDiedError(ObjectLostError):
    """Raised when the process that owns the object has exited: the one that called ``.remote()`` or ``put``."""

    _why = (
        "The owner of the object has exited: the process that made the ObjectRef by `.remote()` or `put()`. "
        "Its log in the session directory tells why; keep objects alive by making them in a process that lives longer."
    )


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """Raised when the object was deleted although a reference exists: a mistake of trayray, or a reference that was
    pickled by hand."""

    _why = "The object has been deleted by reference counting although it was still referenced. This should not happen."


class ReconstructionFailure(IntEnum):
    """Why a lost object could not be made again; the numbers are Ray's."""

    MAX_ATTEMPTS_EXCEEDED = 12
    LINEAGE_EVICTED = 13
    PUT = 27
    RETRIES_DISABLED = 28
    BORROWED = 29
    REF_NOT_FOUND = 30
    TASK_CANCELLED = 31
    LINEAGE_DISABLED = 32


class ObjectReconstructionFailedError(ObjectLostError):
    """Raised when an object was lost and its task could not be run again. ``reason`` is a ``ReconstructionFailure``."""

    REASON_MESSAGES: ClassVar[dict[int, str]] = {
        ReconstructionFailure.MAX_ATTEMPTS_EXCEEDED: "The task that makes it has used up its retries. "
        "Allow more with `@remote(max_retries=N)`.",
        ReconstructionFailure.LINEAGE_EVICTED: "The description of the task that makes it was dropped to save memory. "
        "Keep more with the environment variable TRAYRAY_max_lineage_bytes (1 GiB by default).",
        ReconstructionFailure.PUT: "It was made by `put()`, not by a task that could run again. "
        "Return the value from a task instead.",
        ReconstructionFailure.RETRIES_DISABLED: "The task that makes it has max_retries=0. "
        "Allow retries with `@remote(max_retries=N)`.",
        ReconstructionFailure.BORROWED: "Only the owner of an object can make it again, and this process borrowed it.",
        ReconstructionFailure.REF_NOT_FOUND: "Its reference is not known to the owner any more.",
        ReconstructionFailure.TASK_CANCELLED: "The task that makes it was cancelled.",
        ReconstructionFailure.LINEAGE_DISABLED: "Lineage reconstruction is switched off for this cluster.",
    }
    _reason: ClassVar[int | None] = None

    def __init__(
        self,
        object_ref_hex: str,
        reason: int | None = None,
        reason_message: str | None = None,
        owner_address: bytes | str | None = None,
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = self._reason if reason is None else reason
        self.reason_message = reason_message
        self.args = (object_ref_hex, reason, reason_message, owner_address, call_site)

    def _explanation(self) -> str:
        if self.reason is None:
            return self.reason_message or "The object was lost and could not be made again; the reason is not known."
        known = self.REASON_MESSAGES.get(self.reason)
        name = ReconstructionFailure(self.reason).name if known else str(int(self.reason))
        return f"[{name}] The object cannot be made again. {self.reason_message or known or ''}".rstrip()


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """Raised when the task that makes the object has used up its retries. Raise ``max_retries``."""

    _reason = ReconstructionFailure.MAX_ATTEMPTS_EXCEEDED


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """Raised when the description of the task that makes the object was dropped. Raise ``max_lineage_bytes``."""

    _reason = ReconstructionFailure.LINEAGE_EVICTED


class GetTimeoutError(RayError, TimeoutError):
    """Raised when ``get`` did not have all values in time. The tasks go on; get them again or cancel them."""

    _default = "Get timed out: some object(s) not ready."


class DeadlockError(RayError):
    """Raised by a ``get`` or ``wait`` that could never end, because what it waits for waits for it.

    The text tells the whole circle. ``calls``: names of the calls in it. Of all that wait for each other only the one
    that began to wait last is given up, so that the others can go on.
    """

    def __init__(self, message: str, calls: tuple[str, ...] = ()) -> None:
        super().__init__(message, calls)
        self.message = message
        self.calls = calls

    def __str__(self) -> str:
        return self.message


class PlasmaObjectNotAvailable(RayError):
    """Raised when an object is not in the object store of this node (any more)."""


class ObjectRefStreamEndOfStreamError(RayError):
    """Raised inside of trayray when a generator's stream of references ends."""


class OufOfBandObjectRefSerializationException(RayError):
    """Raised when an ObjectRef is pickled outside of tasks and objects although that is forbidden. Ray spells it so."""


# ---------------------------------------------------------------- supervision


class SupervisionError(RayError):
    """Raised when a supervisor cannot do what it was asked for.

    ``refusal`` says why: "not found", "running", "restarting", "already started", "already present", "start failed",
    "simple_one_for_one", "the supervisor has not started", "the supervisor ends"; empty for the subclasses. ``causes``
    are what ended its children, where that is the reason, oldest first; they are the ``__cause__`` too.
    """

    def __init__(
        self,
        message: str,
        supervisor: str = "",
        child: str = "",
        refusal: str = "",
        causes: tuple[BaseException, ...] = (),
    ) -> None:
        super().__init__(message, supervisor, child, refusal, causes)
        self.message = message
        self.supervisor = supervisor
        self.child = child
        self.refusal = refusal
        self.causes = causes

    def __str__(self) -> str:
        return self.message


class SupervisorGaveUpError(SupervisionError):
    """Raised when a supervisor's children were restarted more often than its ``intensity`` allows.

    ``child`` is the one whose end was too much.
    """


class SupervisorStartError(SupervisionError):
    """Raised when a child could not be started with its supervisor: those before it were stopped again."""


# ---------------------------------------------------------------- placement, environment, channels


class RuntimeEnvSetupError(RayError):
    """Raised when the runtime environment of a task, actor or job could not be made. The text says which part."""

    def __init__(self, error_message: str | None = None) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return "\n".join(filter(None, ["Failed to set up runtime environment.", self.error_message]))


class TaskPlacementGroupRemoved(RayError):
    """Raised when the placement group of the task was removed."""

    _default = "The placement group corresponding to this task has been removed."


class ActorPlacementGroupRemoved(RayError):
    """Raised when the placement group of the actor was removed."""

    _default = "The placement group corresponding to this Actor has been removed."


class TaskUnschedulableError(RayError):
    """Raised when no node can ever run the task as it was asked for. Change its scheduling strategy or resources."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"The task is not schedulable: {self.error_message}"


class ActorUnschedulableError(RayError):
    """Raised when no node can ever run the actor as it was asked for. Change its scheduling strategy or resources."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"The actor is not schedulable: {self.error_message}"


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """Raised when a retried generator yields something else than it did before."""


class RayChannelError(RaySystemError):
    """Raised when a channel of a compiled graph is broken or closed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """Raised when a channel of a compiled graph had nothing to read, or no room to write, in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """Raised when a compiled graph has too many executions in flight. Get some results first."""


class RayDirectTransportError(RaySystemError):
    """Raised when a tensor could not be sent directly between workers."""


RAY_EXCEPTION_TYPES: Final[list[type[RayError]]] = [
    kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, RayError)
]
