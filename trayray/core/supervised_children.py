"""The children of one supervisor: the states of their lives, and their order.

    STOPPED -> STARTING -> RUNNING -> STOPPING -> STOPPED
       ^          |  ^        |
       |          |  |        `-> STOPPED               it ended by itself
       |          v  |
       `------ RESTARTING                               a restart failed and is tried again

Not here: which of them are started and stopped (``supervision``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import attrs

from trayray.model.supervision import ChildPolicy


class ChildState(enum.Enum):
    """Where a child is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    #: It was to be started again and could not be; that is tried once more.
    RESTARTING = "restarting"
    STOPPING = "stopping"


#: Legal transitions; whatever is absent is a bug.
TRANSITIONS: frozenset[tuple[ChildState, ChildState]] = frozenset(
    {
        (ChildState.STOPPED, ChildState.STARTING),
        (ChildState.STARTING, ChildState.RUNNING),
        (ChildState.STARTING, ChildState.STOPPED),  # it could not be started
        (ChildState.STARTING, ChildState.RESTARTING),  # it could not be started again
        (ChildState.STARTING, ChildState.STOPPING),  # its supervisor ends
        (ChildState.RUNNING, ChildState.STOPPING),
        (ChildState.RUNNING, ChildState.STOPPED),  # it ended by itself
        (ChildState.RESTARTING, ChildState.STARTING),
        (ChildState.RESTARTING, ChildState.STOPPED),  # it is not wanted any more
        (ChildState.STOPPING, ChildState.STOPPED),
    }
)


class ExitKind(enum.Enum):
    """How a child has ended. The first two are normal for a transient one."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    ABNORMAL = "abnormal"


#: More of a reason is of no use in a message, a log or a table (characters).
_MAX_REASON: Final = 2000


def sentence(text: str) -> str:
    """``text`` as it may be sent and shown: bounded, and without lone surrogates, which are no text."""
    if len(text) > _MAX_REASON:
        text = f"{text[: _MAX_REASON - 1]}…"
    return text.encode("utf-8", "backslashreplace").decode()


@attrs.frozen
class Exit:
    """The end of a child, or of an attempt to start it."""

    kind: ExitKind
    #: A sentence for the user, without a stop.
    reason: str = attrs.field(converter=sentence)
    error: BaseException | None = attrs.field(default=None, eq=False)


@attrs.define
class Child:
    """One child, from its specification's arrival to its deletion."""

    policy: ChildPolicy
    #: The request by which it was added; 0 for one that was there from the beginning.
    request: int = 0
    state: ChildState = ChildState.STOPPED
    #: Numbers its starts among all of the supervisor: news of another one is late.
    run: int = 0
    #: How often it was started again.
    restarts: int = 0
    #: When it entered its state (seconds).
    since: float = 0.0
    #: It has ended by itself, and the supervisor has not come to deal with that; None otherwise.
    unseen: Exit | None = None
    #: How it ended the last time, or why it could not be started.
    last_exit: Exit | None = None

    @property
    def id(self) -> str:
        return self.policy.id

    def move(self, state: ChildState, now: float) -> None:
        """Enter ``state``.

        Raises:
            RuntimeError: that is no legal transition: a bug.
        """
        if (self.state, state) not in TRANSITIONS:
            raise RuntimeError(f"child {self.id!r} cannot go from {self.state.value} to {state.value}")
        self.state, self.since = state, now
        if state is not ChildState.RUNNING:
            self.unseen = None


class Children:
    """All children of a supervisor in the order of their start."""

    def __init__(self) -> None:
        self._by_id: dict[str, Child] = {}

    def add(self, child: Child) -> None:
        """The last in the order."""
        assert child.id not in self._by_id
        self._by_id[child.id] = child

    def remove(self, child: Child) -> None:
        del self._by_id[child.id]

    def get(self, child_id: str) -> Child | None:
        return self._by_id.get(child_id)

    def __getitem__(self, child_id: str) -> Child:
        return self._by_id[child_id]

    def __iter__(self) -> Iterator[Child]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def from_on(self, child_id: str) -> list[Child]:
        """This child and those after it."""
        ordered = list(self._by_id.values())
        return ordered[ordered.index(self._by_id[child_id]) :]
