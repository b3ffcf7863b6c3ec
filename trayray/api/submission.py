"""What remote functions and actor methods have in common: call shapes checked, arguments pickled, references set aside.

Runs in the calling thread, on the hot path. Not here: what happens to a call afterwards (``worker.tasks``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from trayray.api.pickling_errors import describe_failure
from trayray.api.stream_parameters import check_fit, stream_fit
from trayray.wire.serialization import ArgumentSlot, Serialized, serialize, serialize_arguments
from trayray.wire.task_messages import DYNAMIC, STREAMING
from trayray.worker.generators import ObjectRefGenerator, Stream
from trayray.worker.objects import INLINE_BYTES
from trayray.worker.references import ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.pending_task import PendingTask

#: `ObjectRef` with a parameter, for checkers: comparing with it tells them what kind of reference it is.
_REF: type[ObjectRef[Any]] = ObjectRef
#: Types that are passed as they are, without a look inside.
_PLAIN = frozenset({int, float, bool, str, bytes, type(None)})


class CallShape:
    """The parameters of a function as its callers must fill them; pickles without the function's own objects."""

    __slots__ = ("_most", "_needed", "_signature", "_simple", "_streaming", "name")

    def __init__(self, name: str, function: Callable[..., Any], *, skip_first: bool = False) -> None:
        self.name = name
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except ValueError:  # some built-in functions have no signature: anything goes
            parameters = [
                inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
            ]
            skip_first = False
        if skip_first and parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            parameters = parameters[1:]
        self._streaming = stream_fit(function, parameters)
        self._prepare(tuple((p.name, int(p.kind), p.default is not p.empty) for p in parameters))

    def _prepare(self, shape: tuple[tuple[str, int, bool], ...]) -> None:
        kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
        self._signature = shape
        #: Only parameters that may be positional: then counting arguments checks a call without keywords.
        self._simple = all(kind in kinds for _, kind, _ in shape)
        self._most = len(shape)
        self._needed = sum(not has_default for _, _, has_default in shape)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.name, self._signature, int(self._streaming)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.name, shape, self._streaming = state
        self._prepare(shape)

    def names_of(self, count: int) -> list[str]:
        """Names of the parameters that so many positional arguments fill."""
        names: list[str] = []
        for name, kind, _ in self._signature:
            if kind == inspect.Parameter.VAR_POSITIONAL:
                names += [f"{name}[{index}]" for index in range(count - len(names))]
            elif kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
                names.append(name)
        return names[:count]

    def check_stream(self) -> None:
        """Raise TypeError unless the function takes a stream as its first argument, of the kind that it will get."""
        check_fit(self._streaming, self.name)

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError, as Python would, for arguments that do not fit."""
        if self._simple and not kwargs and self._needed <= len(args) <= self._most:
            return
        signature = inspect.Signature(
            [
                inspect.Parameter(
                    name, inspect._ParameterKind(kind), default=None if has_default else inspect.Parameter.empty
                )
                for name, kind, has_default in self._signature
            ]
        )
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None


class Watch(Protocol):
    """Whoever answers for a call that is about to be made."""

    def check(self, shape: CallShape, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError for arguments that do not fit; the executor may add some."""
        ...

    def made(self, call: PendingTask) -> None:
        """This is the call, which goes next."""
        ...


def generates(function: Callable[..., Any]) -> bool:
    """Whether calling ``function`` makes a generator, of either kind."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def number_of_returns(option: int | str | None, name: str, *, generates: bool) -> int:
    """``num_returns`` as it travels: what was asked for, else what fits the function ``name``.

    Raises:
        ValueError: a generator's is asked for, and the function is none.
    """
    if option is None:
        return STREAMING if generates else 1
    if isinstance(option, int):
        return option
    if not generates:
        raise ValueError(
            f"num_returns={option!r} can only be used with generator functions (functions that use 'yield'), and "
            f"{name} is not a generator function."
        )
    return STREAMING if option == "streaming" else DYNAMIC


def retried_exceptions(option: bool | Iterable[type[BaseException]] | None) -> bytes:
    """``retry_exceptions`` as it travels: the pickled tuple of the types, empty for none."""
    if not option:
        return b""
    kinds = (Exception,) if option is True else tuple(option)
    return serialize(kinds).to_bytes() if kinds else b""


def submit_generator(core: CoreWorker, call: PendingTask) -> Any:
    """Submit the call of a generator; what its caller gets: an iterator, or the one reference of a dynamic one."""
    gathered = call.template.define.num_returns == DYNAMIC
    limited = bool(call.template.define.ahead) and not gathered
    call.stream = Stream(core, call.task_id, limited=limited, gathered=gathered)
    core.submit(call)
    return call.returns[0] if gathered else ObjectRefGenerator[Any](call.stream, call.returns[0])


class Packed:
    """The arguments of a call, ready to travel."""

    __slots__ = ("args", "payload", "refs")

    def __init__(self, payload: bytes, args: list[ObjectRef[Any]] | None, refs: list[ObjectRef[Any]] | None) -> None:
        self.payload = payload
        #: Top-level references (large arguments included, which became objects), in the order of their slots.
        self.args = args
        #: References inside the payload.
        self.refs = refs


_EMPTY = Packed(b"", None, None)


def pack_arguments(core: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Packed:
    """Pickle the arguments of a call of ``name``.

    Raises:
        TypeError: an argument cannot be pickled; the text names it and the path inside it.
    """
    if not args and not kwargs:
        return _EMPTY
    refs: list[ObjectRef[Any]] = []
    for value in args:
        if type(value) is _REF:
            refs.append(value)  # noqa: PERF401 -- with few arguments a comprehension, a call of its own, is slower
    if kwargs or refs:
        refs = []
        args = tuple(_slot(value, refs) if type(value) is _REF else value for value in args)
        kwargs = {key: _slot(value, refs) if type(value) is _REF else value for key, value in kwargs.items()}
    serialized = _serialize(name, args, kwargs)
    if serialized.size > INLINE_BYTES:
        args, kwargs = _put_large(core, args, kwargs, refs)
        serialized = _serialize(name, args, kwargs)
    return Packed(serialized.to_bytes(), refs or None, serialized.refs or None)


def _slot(ref: ObjectRef[Any], refs: list[ObjectRef[Any]]) -> ArgumentSlot:
    refs.append(ref)
    return ArgumentSlot(len(refs) - 1)


def _serialize(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Serialized:
    try:
        return serialize_arguments(args, kwargs)
    except Exception as error:
        for key, value in [*enumerate(args), *kwargs.items()]:
            try:
                serialize(value)
            except Exception as cause:
                raise describe_failure(value, f"the argument {key!r} of {name}()", cause) from cause
        raise describe_failure((args, kwargs), f"the arguments of {name}()", error) from error


def _put_large(
    core: Any, args: tuple[Any, ...], kwargs: dict[str, Any], refs: list[ObjectRef[Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Make objects of arguments that are too large to travel inside the call."""

    def reduced(value: Any) -> Any:
        if type(value) in _PLAIN and (not isinstance(value, str | bytes) or len(value) <= INLINE_BYTES):
            return value
        serialized = serialize(value)
        return value if serialized.size <= INLINE_BYTES else _slot(core.objects.put(serialized), refs)

    return tuple(reduced(value) for value in args), {key: reduced(value) for key, value in kwargs.items()}
