"""Errors of remote work as a Trio program meets them: the user's own exception, with the story of where it was raised.

A failure is met once in a group of exceptions, wherever it was met besides: the call that failed, whoever awaited its
reference, a call that was given it as an argument. Not here: how an error travels (``task_error``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trayray.exceptions import RayError, RayTaskError
from trayray.wire.serialization import deserialize

if TYPE_CHECKING:
    from trayray.wire.values import Value

#: Tells failures apart: the call that has failed; or, of failures of processes, the kind and the text.
FailureKey = bytes | tuple[type[BaseException], str]


def failure_key(error: BaseException) -> FailureKey | None:
    """Which failure an exception tells of; None for one that is not of remote work."""
    told = error.__cause__
    if isinstance(told, RayTaskError) and told.cause is error:  # made by `as_raised`
        return told._task_id or None
    if isinstance(error, RayTaskError) and error._task_id:
        return error._task_id
    if isinstance(error, RayError):
        return type(error), str(error)
    return None


def failure_of(value: Value) -> tuple[BaseException, FailureKey | None]:
    """The exception that an error value stands for, as it is raised in a Trio program, and which failure it is.

    What user code has raised is of its own type: the remote traceback is a note of it, and the `RayTaskError` its
    ``__cause__``.
    """
    error: Any = deserialize(value.data)
    return as_raised(error), failure_key(error)


def as_raised(error: BaseException) -> BaseException:
    """The user's own exception where there is one, with its story."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    if not isinstance(error, RayTaskError) or not isinstance(cause, Exception):
        return error
    known = ("pid", error.pid), ("node", error.ip), ("actor", error.actor_repr)
    place = ", ".join(f"{name} {value}" for name, value in known if value)
    note = f"raised in {error.function_name}() ({place})"
    if not isinstance(cause, BaseExceptionGroup):  # the exceptions in a group have notes of their own
        note += f", remote traceback:\n{error.traceback_str.rstrip()}"
    cause.add_note(note)
    cause.__cause__ = error
    return cause
