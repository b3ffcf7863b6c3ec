"""Whether a function takes a stream as its first argument: told from its signature, where it is decorated.

Annotations are judged by their text, because a string may name what only a checker imports.
Not here: calling it (``native.streams``).
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

_KIND: Final = re.compile(r"\b(Blocking)?Stream\b(?:\[|$)")
_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


class Fit(enum.IntEnum):
    """Whether a function can be called with a stream, and why not."""

    FITS = 0
    NO_PARAMETER = 1
    OTHER_ANNOTATION = 2
    GENERATOR = 3
    BLOCKS_LOOP = 4
    CANNOT_AWAIT = 5


_WHY: Final = {
    Fit.NO_PARAMETER: "it has no parameter for one; the first one after `self` gets the stream",
    Fit.OTHER_ANNOTATION: "its first parameter is something else; annotate it with trayray.Stream[receives, sends] (in "
    "`async def`) or trayray.BlockingStream[receives, sends] (in `def`)",
    Fit.GENERATOR: "it is a generator; one that has a stream sends its values with stream.send() instead of `yield`",
    Fit.BLOCKS_LOOP: "it is `async def`, and its first parameter is a BlockingStream, which would block its event "
    "loop; annotate it with trayray.Stream",
    Fit.CANNOT_AWAIT: "it is a plain `def`, and its first parameter is a Stream, which has to be awaited; annotate it "
    "with trayray.BlockingStream, or make it `async def`",
}


def stream_fit(function: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> Fit:
    """Whether ``function`` can be called with a stream; ``parameters`` are those that its callers fill.

    A first parameter without an annotation takes anything, and so a stream.
    """
    if not parameters or parameters[0].kind not in _POSITIONAL:
        return Fit.NO_PARAMETER
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return Fit.GENERATOR
    annotation = parameters[0].annotation
    if annotation is inspect.Parameter.empty:
        return Fit.FITS
    found = _KIND.search(annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))
    if found is None:
        return Fit.OTHER_ANNOTATION
    awaits = inspect.iscoroutinefunction(function)
    if awaits and found[1]:
        return Fit.BLOCKS_LOOP
    return Fit.FITS if awaits or found[1] else Fit.CANNOT_AWAIT


def check_fit(fit: int, name: str) -> None:
    """Raise unless the function ``name`` can be called with a stream.

    Raises:
        TypeError: it cannot; the text says why and what to do.
    """
    if fit != Fit.FITS:
        raise TypeError(f"{name}() cannot be called with a stream: {_WHY[Fit(fit)]}")
