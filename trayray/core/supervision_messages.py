"""What happens to a supervisor, what it has its service do, and how it ends.

Not here: what follows from what (``supervision``).
"""

from __future__ import annotations

import enum

import attrs

from trayray.core.supervised_children import Exit
from trayray.model.supervision import ChildPolicy, Shutdown

# --- events ---


@attrs.frozen
class Started:
    """The start number ``run`` of a child has succeeded."""

    child: str
    run: int


@attrs.frozen
class StartFailed:
    """A start has not succeeded, and nothing is left of it."""

    child: str
    run: int
    exit: Exit


@attrs.frozen
class Exited:
    """A child is gone: by itself, or because it was stopped."""

    child: str
    run: int
    exit: Exit


@attrs.frozen
class StartChild:
    """Somebody asks for one more child."""

    request: int
    policy: ChildPolicy


@attrs.frozen
class StartDynamic:
    """Somebody asks for one more child like the one that a simple_one_for_one supervisor knows."""

    request: int


@attrs.frozen
class TerminateChild:
    """Somebody asks to stop a child."""

    request: int
    child: str


@attrs.frozen
class RestartChild:
    """Somebody asks to start a stopped child."""

    request: int
    child: str


@attrs.frozen
class DeleteChild:
    """Somebody asks to forget a stopped child."""

    request: int
    child: str


@attrs.frozen
class ShutDown:
    """The supervisor is to end."""


Request = StartChild | StartDynamic | TerminateChild | RestartChild | DeleteChild
Event = Started | StartFailed | Exited | Request | ShutDown


# --- commands ---


@attrs.frozen
class Start:
    """Start a child; `Started` or `StartFailed` follows."""

    child: str
    run: int
    #: Why: a sentence for the user, without a stop.
    reason: str
    #: Children are being restarted, and this is one of them.
    again: bool = False


@attrs.frozen
class Stop:
    """Stop a child in this way; `Exited`, or `StartFailed` for one that was starting, follows."""

    child: str
    run: int
    shutdown: Shutdown
    reason: str


@attrs.frozen
class Forget:
    """The child's specification is no more."""

    child: str


class Refusal(enum.Enum):
    """Why a request was not granted."""

    NOT_FOUND = "not found"
    RUNNING = "running"
    RESTARTING = "restarting"
    ALREADY_STARTED = "already started"
    ALREADY_PRESENT = "already present"
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"
    START_FAILED = "start failed"
    NOT_STARTED = "the supervisor has not started"
    SUPERVISOR_ENDS = "the supervisor ends"


@attrs.frozen
class Reply:
    """Answer a request."""

    request: int
    #: The child that it is about; empty where there is none.
    child: str
    refusal: Refusal | None = None
    #: Why it could not be started.
    exit: Exit | None = None


class Ending(enum.Enum):
    """Why a supervisor ends."""

    SHUT_DOWN = "it was shut down"
    INTENSITY = "its children were restarted too often"
    AUTO_SHUTDOWN = "a significant child has ended"
    START_FAILED = "a child could not be started"


@attrs.frozen
class Outcome:
    """How a supervisor has ended."""

    ending: Ending
    #: The child that it ended for; empty for none.
    child: str = ""
    #: What led to the end, oldest first: each child with its end.
    exits: tuple[tuple[str, Exit], ...] = ()


@attrs.frozen
class End:
    """All children are stopped: the supervisor has ended. Nothing follows."""

    outcome: Outcome


Command = Start | Stop | Forget | Reply | End
