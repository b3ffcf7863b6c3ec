"""Messages of the node link about actors' lives, their supervisors, and what ended processes have left.

Tags are unique within the whole node link (``node_messages``).
"""

from msgspec import Struct


class StartActor(Struct, array_like=True, tag=17):
    """Become this actor: run its constructor. ``spec`` is an encoded `ActorSpec`."""

    spec: bytes
    restarted: bool = False


class ActorStarted(Struct, array_like=True, tag=18):
    """The constructor returned (error empty) or raised (the payload of its exception)."""

    actor: bytes
    error: bytes = b""


class ActorState(Struct, array_like=True, tag=19):
    """What a watcher of an actor must know; ``address`` is set while it is alive."""

    actor: bytes
    state: str
    address: str
    cause: str
    error: bytes = b""
    incarnation: int = 0
    #: Of a supervised actor without a process that waits for its supervisor: how it has ended.
    parked: str = ""


class WatchActor(Struct, array_like=True, tag=20):
    """Send the state of this actor now and at each change."""

    actor: bytes


class ActorUnreachable(Struct, array_like=True, tag=21):
    """No handle to the actor is left anywhere; only its owner sends this."""

    actor: bytes


class KillActor(Struct, array_like=True, tag=46):
    """End the process of an actor, if it is still this incarnation; that counts as a crash."""

    actor: bytes
    incarnation: int
    reason: str


class EndActor(Struct, array_like=True, tag=59):
    """End an actor for good, within so many seconds (0: at once); its calls in progress are interrupted.

    Answered by `ActorEnded` when its process is gone, and all that it had running. ``keep``: a supervised actor is only
    stopped, and may be started again by `ResumeActor`.
    """

    request: int
    actor: bytes
    seconds: float
    reason: str
    keep: bool = False


class ActorEnded(Struct, array_like=True, tag=60):
    """The answer to `EndActor`."""

    request: int


class ResumeActor(Struct, array_like=True, tag=80):
    """Start a supervised actor again; only its supervisor sends this."""

    actor: bytes


class SupervisedNode(Struct, array_like=True):
    """A supervisor or one of its children, as `trayray tree` shows it."""

    id: str
    #: "supervisor", "actor", "task" (a remote function), "async" (a task of the supervisor's process).
    kind: str
    #: "running", "starting", "stopping", "restarting" or "stopped".
    state: str
    #: Of a supervisor; empty for all others.
    strategy: str = ""
    #: Of an actor; empty for all others.
    actor: bytes = b""
    restarts: int = 0
    #: When it entered its state (seconds since the epoch; 0 for never).
    since: float = 0.0
    #: How it ended the last time.
    reason: str = ""
    children: list["SupervisedNode"] = []


class SupervisionTold(Struct, array_like=True, tag=81):
    """A supervision tree of this process as it is now; None: it is no more."""

    number: int
    root: SupervisedNode | None


class AwaitRemains(Struct, array_like=True, tag=61):
    """Answer by `RemainsEnded` when the process at this address is gone, and all that it had running."""

    request: int
    address: str


class RemainsEnded(Struct, array_like=True, tag=62):
    """The answer to `AwaitRemains`."""

    request: int
