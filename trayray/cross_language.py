"""Ray's ``ray.cross_language``: functions and actor classes of other languages, and the values they share with Python.

This platform runs Python workers only, so that a call ends in an error that says so, after everything that can be
checked has been: the job's code search path and the arguments' types. Not here: MessagePack (``wire.message_pack``).
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from trayray import cloudpickle
from trayray.api.actor_class import ActorHandle
from trayray.api.session import session
from trayray.exceptions import ActorUnschedulableError, TaskUnschedulableError
from trayray.model.options import validate_actor_options, validate_task_options
from trayray.wire import message_pack
from trayray.worker.current import core_worker


class Language:
    """A language of workers: ``Language.PYTHON``, ``Language.JAVA`` or ``Language.CPP``.

    Parameters: ``lang``, the number that stands for it in messages.

    Raises:
        ValueError: no such number.
    """

    PYTHON: ClassVar[Language]
    JAVA: ClassVar[Language]
    CPP: ClassVar[Language]
    _NAMES: ClassVar[tuple[str, ...]] = ("PYTHON", "JAVA", "CPP")

    __slots__ = ("_lang",)

    def __init__(self, lang: int) -> None:
        if lang not in range(len(self._NAMES)):
            raise ValueError(f"there is no language {lang!r}: 0 is Python, 1 is Java, 2 is C++")
        self._lang = lang

    def value(self) -> int:
        """The number that stands for it in messages: 0, 1 or 2."""
        return self._lang

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Language) and other._lang == self._lang

    def __hash__(self) -> int:
        return hash(self._lang)

    def __repr__(self) -> str:
        return self._NAMES[self._lang]

    def __reduce__(self) -> tuple[type[Language], tuple[int]]:
        return Language, (self._lang,)


Language.PYTHON, Language.JAVA, Language.CPP = map(Language, range(3))


class CrossLanguageFunction:
    """A function in another language: call it with ``.remote(...)``."""

    def __init__(self, language: str, name: str) -> None:
        self._language = language
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{self._name}()', "
            f"try '{self._name}.remote()'."
        )

    def options(self, **options: Any) -> CrossLanguageFunction:
        """The same function with other options, for one use.

        Raises:
            ValueError: an option that tasks do not have, or an impossible value.
        """
        validate_task_options(options, in_options=True)
        return self

    def remote(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the function as a task.

        Raises:
            ValueError: the job has no code search path, or an argument is out of range.
            TypeError: keyword arguments, or an argument of a type that languages do not share.
            TaskUnschedulableError: no node has workers of the language, which is always so.
        """
        _check_call(self._language, self._name, args, kwargs)
        raise TaskUnschedulableError(_no_workers(self._language, self._name))

    def __repr__(self) -> str:
        return f"<{self._language} function {self._name}>"


class CrossLanguageActorClass:
    """An actor class in another language: create an actor with ``.remote(...)``."""

    def __init__(self, language: str, name: str) -> None:
        self._language = language
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self._name
        raise TypeError(f"Actors cannot be instantiated directly. Instead of '{name}()', use '{name}.remote()'.")

    def options(self, **options: Any) -> CrossLanguageActorClass:
        """The same class with other options, for one use.

        Raises:
            ValueError: an option that actors do not have, or an impossible value.
        """
        validate_actor_options(options, in_options=True)
        return self

    def remote(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Create an actor.

        Raises:
            ValueError: the job has no code search path, or an argument is out of range.
            TypeError: keyword arguments, or an argument of a type that languages do not share.
            ActorUnschedulableError: no node has workers of the language, which is always so.
        """
        _check_call(self._language, self._name, args, kwargs)
        raise ActorUnschedulableError(_no_workers(self._language, self._name))

    def __repr__(self) -> str:
        return f"<{self._language} actor class {self._name}>"


def java_function(class_name: str, function_name: str) -> CrossLanguageFunction:
    """A static Java method.

    Raises:
        TypeError: a name is no text.
    """
    return CrossLanguageFunction("Java", f"{_text(class_name)}.{_text(function_name)}")


def java_actor_class(class_name: str) -> CrossLanguageActorClass:
    """A Java class whose instances are actors.

    Raises:
        TypeError: the name is no text.
    """
    return CrossLanguageActorClass("Java", _text(class_name))


def cpp_function(function_name: str) -> CrossLanguageFunction:
    """A C++ function.

    Raises:
        TypeError: the name is no text.
    """
    return CrossLanguageFunction("C++", _text(function_name))


def cpp_actor_class(create_function_name: str, class_name: str) -> CrossLanguageActorClass:
    """A C++ class whose instances are actors, made by a factory function.

    Raises:
        TypeError: a name is no text.
    """
    return CrossLanguageActorClass("C++", f"{_text(class_name)}({_text(create_function_name)})")


def pack(value: Any) -> bytes:
    """``value`` as other languages read it: MessagePack.

    Args:
        value: None, a bool, int (-2**63 to 2**64-1), float, str, bytes, a list of such values, or an actor handle,
            whose actor then lives as long as this process. In Java they are null, Boolean, Short to BigInteger, Float
            or Double, String, byte[], arrays and ActorHandle.

    Raises:
        TypeError: a value of another type, subclasses included; the text says where it is.
        ValueError: an int out of range, text that is not Unicode, lists nested too deep.
    """
    return message_pack.pack(value, _packed_handle)


def unpack(data: bytes | memoryview) -> Any:
    """The value of what `pack`, or another language, has packed.

    Raises:
        ValueError: that is no MessagePack, or of a type that languages do not share.
    """
    return message_pack.unpack(data, cloudpickle.loads)


def _packed_handle(value: Any) -> bytes | None:
    return cloudpickle.dumps(value) if isinstance(value, ActorHandle) else None


def _checked_handle(value: Any) -> bytes | None:
    return b"" if isinstance(value, ActorHandle) else None


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"names in other languages are text, not {type(name).__name__}")
    return name


def _check_call(language: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    core = core_worker() or session.core()
    if not core.code_search_path:
        raise ValueError(
            f"Cross language calls need a code search path, and this job has none for the {language} code of {name}. "
            "Pass init(job_config=JobConfig(code_search_path=[...]))."
        )
    if kwargs:
        raise TypeError(f"Cross language calls take no keyword arguments, but {name} was given {sorted(kwargs)}")
    for arg in args:
        message_pack.pack(arg, _checked_handle)


def _no_workers(language: str, name: str) -> str:
    return (
        f"{name} is {language} code, and the nodes of this cluster run Python workers only. Call a Python function "
        "that starts the program or loads the library."
    )


__all__ = (
    "CrossLanguageActorClass",
    "CrossLanguageFunction",
    "Language",
    "cpp_actor_class",
    "cpp_function",
    "java_actor_class",
    "java_function",
    "pack",
    "unpack",
)
