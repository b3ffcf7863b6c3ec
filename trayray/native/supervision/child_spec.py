"""What a supervisor supervises, as data: specifications of children and of supervisors.

Not here: the words and what may go together (``model.supervision``), running it (``service``).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from trayray.api.actor_class import ActorClass, ActorMethod, BoundActorClass
from trayray.api.remote_function import BoundFunction, RemoteFunction
from trayray.model.supervision import (
    DEFAULT_SHUTDOWN,
    AutoShutdown,
    ChildPolicy,
    Restart,
    Shutdown,
    Strategy,
    SupervisorPolicy,
)

#: What runs as a child: an actor, a task in another process, a Trio task in this loop, or another supervisor.
TargetKind: TypeAlias = Literal["actor", "task", "async", "supervisor"]

#: What `supervised` actors' options must not say: how often they are started again is the supervisor's affair.
_NOT_FOR_ACTORS: Final = ("max_restarts", "get_if_exists")


def kind_of(target: object) -> TargetKind:
    """What a child with this target is.

    Raises:
        TypeError: nothing that can be supervised; the text says what can.
    """
    if isinstance(target, ActorClass | BoundActorClass):
        return "actor"
    if isinstance(target, RemoteFunction | BoundFunction):
        return "task"
    if isinstance(target, ActorMethod):
        raise TypeError("a method of an actor cannot be supervised; supervise the actor, and call its method")
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "func", None)):
        return "async"
    raise TypeError(
        f"a child of a supervisor is an actor class or a remote function (with or without .options), an async function "
        f"for this loop, or a SupervisorSpec, not {target!r}"
    )


def _check_options(target: object, where: str) -> None:
    options: Mapping[str, Any] = {}
    if isinstance(target, BoundActorClass):
        options = target._options
    elif isinstance(target, ActorClass):
        options = target._default_options
    if options.get("lifetime") == "detached":
        raise ValueError(f"{where} is a detached actor, which outlives its supervisor; leave lifetime out")
    said = [name for name in _NOT_FOR_ACTORS if options.get(name)]
    if said:
        raise ValueError(f"{where}: {' and '.join(said)} cannot be said of a supervised actor; say restart= instead")


@attrs.frozen
class ChildSpec:
    """One child of a supervisor.

    Args:
        id: its name there.
        target: an actor class or a remote function, with or without ``.options``; or an async function, which becomes
            a Trio task of the supervisor's loop. A function is a long-running task: returning is a normal end.
        args, kwargs: for each start.
        restart: "permanent" children are always started again, "transient" ones after an abnormal end (an exception, a
            crash), "temporary" ones never.
        shutdown: how it is stopped: within so many seconds, in which it cleans up; "brutal_kill", at once; "infinity".
        significant: its end may end the supervisor, see ``auto_shutdown`` of `SupervisorSpec`.

    Raises:
        TypeError: the target cannot be supervised.
        ValueError: the words are unknown or do not go together.
    """

    id: str
    target: Any
    args: tuple[Any, ...] = attrs.field(default=(), converter=tuple[Any, ...])
    kwargs: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    restart: Restart = attrs.field(default="permanent", kw_only=True)
    shutdown: Shutdown = attrs.field(default=DEFAULT_SHUTDOWN, kw_only=True)
    significant: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        kind_of(self.target)
        _check_options(self.target, f"child {self.id!r}")
        self.policy  # noqa: B018 -- what is said is checked where it is said

    @property
    def policy(self) -> ChildPolicy:
        """How it is supervised."""
        return ChildPolicy(self.id, self.restart, self.shutdown, self.significant)

    @property
    def kind(self) -> TargetKind:
        """What it is."""
        return kind_of(self.target)


@attrs.frozen
class SupervisorSpec:
    """A supervisor: the root of a tree, or a child of another one.

    Args:
        children: in the order of their start; they are stopped in reverse order. For "simple_one_for_one" the one that
            all children are made like.
        id: its name.
        strategy: "one_for_one": a child that ends is started again alone; "one_for_all": with all others;
            "rest_for_one": with those after it; "simple_one_for_one": children are made at run time, all alike.
        intensity, period: with more than so many restarts within so many seconds it gives up.
        auto_shutdown: "any_significant" or "all_significant": it ends when the first or the last of its significant
            children has ended by itself.
        restart, shutdown, significant: as for `ChildSpec`, when it is a child.

    Raises:
        TypeError: a child is no specification.
        ValueError: the words are unknown or do not go together, or two children have one id.
    """

    children: tuple[ChildSpec | SupervisorSpec, ...] = attrs.field(
        default=(), converter=tuple["ChildSpec | SupervisorSpec", ...]
    )
    id: str = "supervisor"
    strategy: Strategy = attrs.field(default="one_for_one", kw_only=True)
    intensity: int = attrs.field(default=1, kw_only=True)
    period: float = attrs.field(default=5.0, kw_only=True)
    auto_shutdown: AutoShutdown = attrs.field(default="never", kw_only=True)
    restart: Restart = attrs.field(default="permanent", kw_only=True)
    shutdown: Shutdown = attrs.field(default="infinity", kw_only=True)
    significant: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_children(self.children)
        supervisor = self.supervisor_policy
        seen: set[str] = set()
        for child in self.children:
            supervisor.check(child.policy)
            if child.id in seen:
                raise ValueError(f"two children of {self.id!r} have the id {child.id!r}")
            seen.add(child.id)
        if self.strategy == "simple_one_for_one" and len(self.children) != 1:
            raise ValueError(
                f"{self.id!r} is a simple_one_for_one supervisor: it has one child specification, which all children "
                f"are made like, not {len(self.children)}"
            )
        self.policy  # noqa: B018 -- what is said is checked where it is said

    @property
    def policy(self) -> ChildPolicy:
        """How it is supervised itself."""
        return ChildPolicy(self.id, self.restart, self.shutdown, self.significant, "supervisor")

    @property
    def supervisor_policy(self) -> SupervisorPolicy:
        """How it supervises."""
        return SupervisorPolicy(self.strategy, self.intensity, self.period, self.auto_shutdown)

    @property
    def kind(self) -> TargetKind:
        """What it is."""
        return "supervisor"


Spec: TypeAlias = ChildSpec | SupervisorSpec


def check_children(children: Iterable[object]) -> None:
    """Raise TypeError for what is no specification."""
    for child in children:
        if not isinstance(child, ChildSpec | SupervisorSpec):
            raise TypeError(f"a supervisor's children are described by ChildSpec and SupervisorSpec, not {child!r}")


def takes_task_status(function: Callable[..., Any]) -> bool:
    """Whether a function says by itself when it is ready."""
    try:
        return "task_status" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C: it has none
        return False


def local_functions(spec: Spec) -> list[str]:
    """The ids of all children that are async functions for the supervisor's own loop."""
    if isinstance(spec, SupervisorSpec):
        return [name for child in spec.children for name in local_functions(child)]
    return [spec.id] if spec.kind == "async" else []


def seconds_to_stop(spec: Spec) -> float:
    """How long stopping a child that is no supervisor may take (seconds)."""
    if spec.kind == "async" or spec.shutdown == "infinity":  # a task of this loop cannot be killed
        return math.inf
    return 0.0 if spec.shutdown == "brutal_kill" else float(spec.shutdown)
