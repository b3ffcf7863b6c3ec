"""The root of the error tree, and the error of a task: how what user code raised travels and is raised again.

The rest of the tree is in ``trayray.exceptions``, under which users know the classes here as well. Not here: deciding
which error a failure is, and retries.
"""

from __future__ import annotations

import os
import re
import traceback
import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Final, cast

_PUBLIC_MODULE: Final = "trayray.exceptions"
_INTERNALS: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: set for classes made by a class statement
_TRACEBACK: Final = "Traceback (most recent call last):"
_NESTED_PREFIX: Final = re.compile(
    rf"^([ |]*){re.escape(_PUBLIC_MODULE)}\.RayTaskError(?:\([^()\n]*\))?: ", re.MULTILINE
)


class RayError(Exception):
    """Base of all errors of trayray. Its text is the first argument, or else what the class says."""

    __module__ = _PUBLIC_MODULE
    _default: ClassVar[str] = ""

    def __str__(self) -> str:
        return super().__str__() or self._default

    def to_bytes(self) -> bytes:
        """The error as bytes that ``from_bytes`` reads, in this or another process."""
        return _dumps(("".join(traceback.format_exception(self)), _dumps(self)))

    @staticmethod
    def from_bytes(b: bytes) -> RayError:
        """The error that ``to_bytes`` wrote; ``UnserializableException`` with its traceback if it cannot be rebuilt."""
        import pickle

        text, pickled = pickle.loads(b)
        try:
            return pickle.loads(pickled)
        except Exception as why:  # noqa: BLE001  # user code runs here and may raise anything; it is reported
            return UnserializableException(f"{text}\nIt could not be rebuilt here: {type(why).__name__}: {why}")

    @staticmethod
    def from_ray_exception(ray_exception: Any) -> RayError:
        """The error in a message with the fields ``language`` (0 is Python), ``serialized_exception`` and, for other
        languages, ``formatted_exception_string``."""
        if ray_exception.language == 0:
            return RayError.from_bytes(ray_exception.serialized_exception)
        return CrossLanguageError(ray_exception)


class CrossLanguageError(RayError):
    """Raised when code in another language failed; the text is that language's own."""

    __module__ = _PUBLIC_MODULE

    def __init__(self, ray_exception: Any) -> None:
        text = ray_exception if isinstance(ray_exception, str) else ray_exception.formatted_exception_string
        super().__init__(text)


class UnserializableException(RayError):
    """Raised in place of an exception that cannot be rebuilt in this process; has the text of its traceback."""

    __module__ = _PUBLIC_MODULE

    def __init__(self, original_stack_trace: str) -> None:
        super().__init__(original_stack_trace)
        self._original_stack_trace = original_stack_trace

    def __str__(self) -> str:
        return f"An exception cannot be rebuilt in this process.\nOriginal exception:\n{self._original_stack_trace}"


class RayTaskError(RayError):
    """Raised when user code in a task or actor call raised ``cause``.

    Parameters: the function's name; the text of the remote traceback; the exception; then, where known, the title and
    id of the process, the address of its node, and the ``repr`` and hexadecimal id of its actor.
    """

    __module__ = _PUBLIC_MODULE
    function_name: str
    traceback_str: str
    cause: BaseException | None
    proctitle: str | None
    pid: int | None
    ip: str | None
    actor_repr: str | None
    _actor_id: str | None
    #: The call that raised it: tells one failure that is met in several places from several that look alike.
    _task_id: bytes = b""

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException | None,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        super().__init__(function_name, traceback_str, cause, proctitle, pid, ip)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle
        self.pid = pid
        self.ip = ip
        self.actor_repr = actor_repr
        self._actor_id = actor_id

    @classmethod
    def from_exception(
        cls,
        exc: BaseException,
        *,
        function_name: str,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
        copied: Callable[[BaseException], object] | None = None,
    ) -> RayTaskError:
        """The error to send for what user code raised; call it where ``exc`` was caught.

        The text has the frames of ``exc`` and of what it was raised from, without those of trayray unless there are no
        others. An ``exc`` that a nested ``get`` raised keeps its innermost cause, and its text follows the frames. A
        cause that cannot be pickled and read back is replaced by a ``RayError`` with its type and message; ``copied``
        does both, cloudpickle by default.
        """
        cause = exc
        while isinstance(cause, RayTaskError) and cause.cause is not None:
            cause = cause.cause
        cause = _sendable(cause, copied or _copied)
        return RayTaskError(function_name, _remote_text(exc), cause, proctitle, pid, ip, actor_repr, actor_id)

    def as_instanceof_cause(self) -> RayTaskError:
        """The error to raise: an instance of the cause's class too, if that class can be subclassed, else itself.

        What is no ``Exception`` (``KeyboardInterrupt``, ``SystemExit``) is not taken over: it would end the caller.
        """
        if not isinstance(self.cause, Exception) or isinstance(self, type(self.cause)):
            return self
        try:
            return self.make_dual_exception_instance()
        except Exception:  # hooks of the user's class run here and may raise anything; it is logged
            import logging

            logging.getLogger(__name__).warning(
                "%s cannot be subclassed, so that `except %s` will not catch what task %s raised; catch RayTaskError "
                "and look at its cause instead.",
                type(self.cause),
                type(self.cause).__name__,
                self.function_name,
                exc_info=True,
            )
            return self

    def make_dual_exception_instance(self) -> RayTaskError:
        """A new instance of ``RayTaskError(<class of the cause>)``; raises what making that class raises."""
        cause = self.cause
        if cause is None:
            raise ValueError(f"The error of task {self.function_name} has no cause")
        dual = _dual_class(type(cause))
        native: Any = dual
        while native.__flags__ & _HEAP_TYPE:
            native = native.__base__
        # Constructors of the user's class are not run: nobody knows their arguments.
        if isinstance(cause, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", cause)
            error = native.__new__(dual, group.message, group.exceptions)
        else:
            error = native.__new__(dual)
            _copy_native_fields(native, cause, error)
        Exception.__setattr__(error, "args", (cause,))
        # The cause's attributes are copied so that they win over defaults in its class; ours win over both.
        # Notes are not: the text of the traceback has them.
        error.__dict__.update({**vars(cause), **vars(self)})
        error.__dict__.pop("__notes__", None)
        return error

    def __str__(self) -> str:
        where = {"pid": self.pid, "ip": self.ip, "actor_id": self._actor_id, "repr": self.actor_repr}
        known = ", ".join(f"{name}={value}" for name, value in where.items() if value is not None)
        header = f"{self.proctitle or self.function_name}()" + (f" ({known})" if known else "")
        text = self.traceback_str.rstrip("\n")
        return f"{header}\n{text.removeprefix(_TRACEBACK).removeprefix(chr(10))}"

    def __reduce__(self) -> tuple[Any, ...]:
        place = (self.proctitle, self.pid, self.ip, self.actor_repr, self._actor_id)
        dual = type(self) is not RayTaskError
        return _rebuild_task_error, (dual, self._task_id, self.function_name, self.traceback_str, self.cause, *place)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()  # not the one that the cause's class may have


def _rebuild_task_error(dual: bool, task_id: bytes, *args: Any) -> RayTaskError:
    error = RayTaskError(*args)
    if task_id:
        error._task_id = task_id
    return error.as_instanceof_cause() if dual else error


# Bounded, not weak: a class made here keeps its key alive, since the key is among its bases.
@lru_cache(maxsize=256)
def _dual_class(cause: type[BaseException]) -> type[RayTaskError]:
    name = f"RayTaskError({cause.__name__})"
    body = {
        "__module__": _PUBLIC_MODULE,
        "__doc__": f"What a task raised: a {cause.__name__}.",
        "__getattr__": _cause_attribute,
    }
    return types.new_class(name, (RayTaskError, cause), exec_body=lambda namespace: namespace.update(body))


def _cause_attribute(self: RayTaskError, name: str) -> Any:
    # Special names are looked up by protocols such as copying, which must meet the dual and not its cause.
    if name.startswith("__") or "cause" not in vars(self):
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
    return getattr(self.cause, name)


def _copy_native_fields(native: type[BaseException], cause: BaseException, error: BaseException) -> None:
    """Copy what C classes keep outside of ``__dict__``, such as ``errno`` of OSError."""
    for kind in native.__mro__:
        if kind in (Exception, BaseException):
            return
        for name, field in vars(kind).items():
            if isinstance(field, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                try:
                    BaseException.__setattr__(error, name, getattr(cause, name))
                except (AttributeError, TypeError):
                    continue  # a field that is not set in the cause, or that takes no value


def _sendable(cause: BaseException, copied: Callable[[BaseException], object]) -> BaseException:
    try:
        copy = copied(cause)
        if isinstance(copy, BaseException):
            return cause
        why = f"it comes back as a {type(copy).__name__}"
    except Exception as error:  # noqa: BLE001  # user code runs here and may raise anything; it is reported
        why = f"{type(error).__name__}: {error}"
    original = "".join(traceback.TracebackException.from_exception(cause).format_exception_only()).strip()
    return RayError(f"{original}\n(This is only the text of the exception, which could not be pickled and read: {why})")


def _remote_text(exc: BaseException) -> str:
    told = traceback.TracebackException.from_exception(exc)
    pairs = [(told, exc)]
    while pairs:
        one, error = pairs.pop()
        frames = [frame for frame in one.stack if not frame.filename.startswith(_INTERNALS)]
        if frames:
            one.stack = traceback.StackSummary.from_list(frames)
        if isinstance(error.__cause__, RayTaskError) and getattr(error, "__notes__", None):
            one.__cause__ = None  # the notes have its text
        if one.__cause__ is not None and error.__cause__ is not None:
            pairs.append((one.__cause__, error.__cause__))
        if one.__context__ is not None and error.__context__ is not None:
            pairs.append((one.__context__, error.__context__))
        if isinstance(error, RayTaskError):
            one.exceptions = None  # its own text has the group already
        elif isinstance(error, BaseExceptionGroup) and one.exceptions is not None:
            pairs.extend(zip(one.exceptions, cast("BaseExceptionGroup[BaseException]", error).exceptions, strict=False))
    return _NESTED_PREFIX.sub(r"\1", "".join(told.format()))


def _copied(cause: BaseException) -> object:
    import pickle

    return pickle.loads(_dumps(cause))


def _dumps(value: object) -> bytes:
    import cloudpickle

    return cast("Callable[[object], bytes]", cloudpickle.dumps)(value)  # pyright: ignore[reportUnknownMemberType]  # untyped
