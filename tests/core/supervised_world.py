"""A world for `trayray.core.supervision` in which children start and stop as soon as they are told to, unless the test
says otherwise; and what was done there, in a word a step."""

from collections.abc import Iterable
from typing import Any

from trayray.core.supervised_children import Exit, ExitKind
from trayray.core.supervision import Supervision
from trayray.core.supervision_messages import (
    Command,
    DeleteChild,
    End,
    Event,
    Exited,
    Forget,
    Outcome,
    Refusal,
    Reply,
    Request,
    RestartChild,
    ShutDown,
    Start,
    StartChild,
    StartDynamic,
    Started,
    StartFailed,
    Stop,
    TerminateChild,
)
from trayray.model.supervision import ChildPolicy, SupervisorPolicy

CRASH = Exit(ExitKind.ABNORMAL, "it crashed")
NORMAL = Exit(ExitKind.NORMAL, "it returned")
SHUTDOWN = Exit(ExitKind.SHUTDOWN, "it was shut down")
NO_START = Exit(ExitKind.ABNORMAL, "it does not start")


class World:
    """One supervisor and its children."""

    def __init__(self, *children: ChildPolicy, failing: Iterable[str] = (), slow: Iterable[str] = (), **policy: Any):
        """``failing``: they do not start. ``slow``: the test says when they have started or stopped."""
        self.failing = set(failing)
        self.slow = set(slow)
        self.now = 100.0
        self.done: list[str] = []
        self.replies: dict[int, Reply] = {}
        self.outcome: Outcome | None = None
        self.reasons: list[str] = []
        self.again: list[bool] = []
        self._requests = 0
        self.supervision = Supervision(SupervisorPolicy(**policy), children)
        self._carry_out(self.supervision.start(self.now))

    def _carry_out(self, commands: list[Command]) -> None:
        self.supervision.check_invariants()
        for command in commands:
            match command:
                case Start(child, run, reason, again):
                    self.done.append(f"start {child}")
                    self.reasons.append(reason)
                    self.again.append(again)
                    if child in self.failing:
                        self._tell(StartFailed(child, run, NO_START))
                    elif child not in self.slow:
                        self._tell(Started(child, run))
                case Stop(child, run, shutdown):
                    self.done.append(f"stop {child} {shutdown}")
                    if child not in self.slow:
                        self._tell(Exited(child, run, SHUTDOWN))
                case Forget(child):
                    self.done.append(f"forget {child}")
                case Reply():
                    self.replies[command.request] = command
                case End(outcome):
                    self.done.append("end")
                    self.outcome = outcome

    def _tell(self, event: Event) -> None:
        self._carry_out(self.supervision.handle(event, self.now))

    # --- what a test makes happen ---

    def exits(self, child: str, how: Exit = CRASH) -> list[str]:
        """The child ends by itself, or has been stopped; what is done then."""
        self.done = []
        self._tell(Exited(child, self.run(child), how))
        return self.done

    def has_started(self, child: str) -> list[str]:
        self.done = []
        self._tell(Started(child, self.run(child)))
        return self.done

    def shut_down(self) -> list[str]:
        self.done = []
        self._tell(ShutDown())
        return self.done

    def ask(self, request: type[Request], *arguments: Any) -> Reply | None:
        """The answer to a request, if there is one already; `done` has what was done."""
        self._requests += 1
        self.done = []
        self._tell(request(self._requests, *arguments))
        return self.replies.get(self._requests)

    def refusal(self, request: type[Request], *arguments: Any) -> Refusal | None:
        """Why a request is refused; None when it is granted."""
        reply = self.ask(request, *arguments)
        assert reply is not None
        return reply.refusal

    # --- what a test looks at ---

    def run(self, child: str) -> int:
        return self.supervision.children[child].run

    @property
    def states(self) -> dict[str, str]:
        return {child.id: child.state.value for child in self.supervision.children}


def child(name: str, restart: Any = "permanent", **policy: Any) -> ChildPolicy:
    return ChildPolicy(name, restart, **policy)


__all__ = (
    "CRASH",
    "NORMAL",
    "NO_START",
    "SHUTDOWN",
    "DeleteChild",
    "RestartChild",
    "StartChild",
    "StartDynamic",
    "TerminateChild",
    "World",
    "child",
)
