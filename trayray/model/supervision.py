"""The words of supervision: strategies, when a child is started again, how it is stopped, and what may go together.

They are OTP's. Not here: what follows from them (``core.supervision``), what a child runs (``native.supervision``).
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

#: What is started again when a child has ended: it alone, all, it and those after it; or children made at run time.
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
#: Whether a child that has ended is started again: always, after an abnormal end, never.
Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
#: How a child is stopped: killed at once, or asked and killed after so many seconds, or waited for.
Shutdown: TypeAlias = Literal["brutal_kill", "infinity"] | float
#: Whether a supervisor ends by itself when significant children have ended.
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]
#: What a child is.
Kind: TypeAlias = Literal["worker", "supervisor"]

#: OTP's default for workers (seconds).
DEFAULT_SHUTDOWN: Final = 5.0


def _one_of(name: str, value: object, choices: Any) -> None:
    words = get_args(choices)
    if value not in words:
        raise ValueError(f"{name}={value!r} is none of {', '.join(map(repr, words))}")


def check_shutdown(value: object) -> None:
    """Raise ValueError for what says nothing about how to stop a child."""
    if isinstance(value, str):
        _one_of("shutdown", value, Literal["brutal_kill", "infinity"])
    elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"shutdown={value!r} is neither a number of seconds nor 'brutal_kill' or 'infinity'")


@attrs.frozen
class ChildPolicy:
    """How one child is supervised.

    Raises:
        ValueError: the words are unknown, or do not go together.
    """

    id: str
    restart: Restart = "permanent"
    shutdown: Shutdown = DEFAULT_SHUTDOWN
    significant: bool = False
    kind: Kind = "worker"

    def __attrs_post_init__(self) -> None:
        if not self.id or not isinstance(self.id, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ValueError(f"a child's id is a text that is not empty, not {self.id!r}")
        try:
            self.id.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"a child's id is a text, and {self.id!r} has lone surrogates: {error.reason}") from None
        _one_of("restart", self.restart, Restart)
        _one_of("kind", self.kind, Kind)
        check_shutdown(self.shutdown)
        if self.significant and self.restart == "permanent":
            raise ValueError(
                f"child {self.id!r} cannot be significant and permanent: it is always started again, so its end can "
                "never end the supervisor; make it transient or temporary"
            )


@attrs.frozen
class SupervisorPolicy:
    """How a supervisor supervises. More than ``intensity`` restarts in ``period`` seconds, and it gives up.

    Raises:
        ValueError: the words are unknown, or do not go together.
    """

    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: AutoShutdown = "never"

    def __attrs_post_init__(self) -> None:
        _one_of("strategy", self.strategy, Strategy)
        _one_of("auto_shutdown", self.auto_shutdown, AutoShutdown)
        if isinstance(self.intensity, bool) or not isinstance(self.intensity, int) or self.intensity < 0:  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ValueError(f"intensity={self.intensity!r} is no number of restarts")
        if isinstance(self.period, bool) or not isinstance(self.period, int | float) or not 0 < self.period < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ValueError(f"period={self.period!r} is no positive number of seconds")
        if self.strategy == "simple_one_for_one" and self.auto_shutdown != "never":
            raise ValueError("auto_shutdown is for supervisors whose children are listed, not for simple_one_for_one")

    def check(self, child: ChildPolicy) -> None:
        """Raise ValueError when a supervisor like this cannot have such a child."""
        if child.significant and self.auto_shutdown == "never":
            raise ValueError(
                f"child {child.id!r} is significant, but its supervisor says auto_shutdown='never'; say "
                "'any_significant' or 'all_significant' there"
            )
