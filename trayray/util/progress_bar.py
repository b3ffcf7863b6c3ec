"""``progress``: results of tasks as they finish, with a bar that shows how far they are.

In a terminal the bar is drawn by rich, in a notebook as one line of output, and anywhere else a line is written now and
then. Not here: waiting (``worker.arrivals``).
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from typing import IO, Any, Literal, Protocol, TypeVar, cast, overload

from trayray.api.blocking import get
from trayray.api.session import session
from trayray.wire.values import ERROR
from trayray.worker.arrivals import Arrivals
from trayray.worker.current import core_worker
from trayray.worker.generators import ObjectRefGenerator
from trayray.worker.references import ObjectRef

T = TypeVar("T")

#: Pauses between two drawings of a bar, and between two lines where there is no bar (seconds).
_DRAW_SECONDS, _LINE_SECONDS = 0.1, 10.0


@overload
def progress(
    refs: Iterable[ObjectRef[T]],
    *,
    total: int | None = None,
    desc: str = "",
    yield_refs: Literal[False] = False,
    file: IO[str] | None = None,
    disable: bool = False,
) -> Iterator[T]: ...
@overload
def progress(
    refs: Iterable[ObjectRef[T]],
    *,
    total: int | None = None,
    desc: str = "",
    yield_refs: Literal[True],
    file: IO[str] | None = None,
    disable: bool = False,
) -> Iterator[ObjectRef[T]]: ...
def progress(
    refs: Iterable[ObjectRef[Any]],
    *,
    total: int | None = None,
    desc: str = "",
    yield_refs: bool = False,
    file: IO[str] | None = None,
    disable: bool = False,
) -> Iterator[Any]:
    """The values of ``refs`` in the order in which they come, while a bar shows how many have.

    Args:
        refs: references, or the stream of a generator task (``num_returns="streaming"``). A plain generator that makes
            calls is run to its end first, so that all of them are under way.
        total: how many there will be, where that cannot be seen: for a stream.
        desc: what is shown in front of the bar.
        yield_refs: give references that have values or errors, not the values; then an error does not end it.
        file: where to show it; standard error by default.
        disable: show nothing.

    Raises:
        TypeError: not references.
        Exception: what a task raised, when its turn comes.
    """
    core = core_worker() or session.core()
    display = _Nothing() if disable else open_display(file or sys.stderr)
    if isinstance(refs, ObjectRefGenerator):
        finished = _from_stream(cast("ObjectRefGenerator[Any]", refs))
    else:
        listed = list(refs)
        for ref in listed:
            if type(ref) is not ObjectRef:
                raise TypeError(f"progress() takes references of results, such as f.remote() gives, not {ref!r}")
        total = len(listed) if total is None else total
        finished = _from_list(Arrivals(core, listed), len(listed), display.pause)
    return _shown(finished, Meter(desc, total), display, yield_refs=yield_refs)


class Meter:
    """How far it is: counts, and what they mean. Times are seconds of any clock."""

    def __init__(self, desc: str, total: int | None) -> None:
        self.desc = desc
        self.total = total
        self.done = 0
        self.failed = 0
        self.began = 0.0

    @property
    def fraction(self) -> float:
        """0 to 1; 0 where the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def status(self, now: float) -> str:
        """Like ``12/40, 3.1/s, 0:04 gone, 0:09 left, 1 failed``."""
        gone = max(0.0, now - self.began)
        rate = self.done / gone if gone > 0 else 0.0
        texts = [f"{self.done}/{self.total}" if self.total is not None else f"{self.done} done"]
        if self.done:
            texts.append(f"{rate:.3g}/s" if rate >= 0.1 or rate == 0 else f"{1 / rate:.3g} s each")
        texts.append(f"{_clock(gone)} gone")
        if self.total is not None and 0 < self.done < self.total and rate > 0:
            texts.append(f"{_clock((self.total - self.done) / rate)} left")
        if self.failed:
            texts.append(f"{self.failed} failed")
        return ", ".join(texts)

    def line(self, now: float) -> str:
        """The status behind the description."""
        return f"{self.desc}: {self.status(now)}" if self.desc else self.status(now)


class Display(Protocol):
    """Where progress is shown."""

    #: Between two drawings (seconds).
    pause: float

    def draw(self, meter: Meter, now: float) -> None:
        """Show how far it is."""

    def close(self, meter: Meter, now: float) -> None:
        """It is over, or was given up."""


def open_display(file: IO[str]) -> Display:
    """A bar in a terminal, one line of output in a notebook, else lines."""
    if file.isatty():
        return _Bar(file)
    if file is sys.stderr and _in_notebook():
        return _NotebookLine()
    return _Lines(file)


def _in_notebook() -> bool:
    """Whether this is a kernel that displays what it is given: then IPython is loaded and says so."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _Bar:
    """A bar that is drawn over itself, and erased at the end."""

    pause = _DRAW_SECONDS

    def __init__(self, file: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}")
        # No thread of its own: whoever takes results draws.
        self._progress = Progress(*columns, console=Console(file=file), auto_refresh=False, transient=True)
        self._task: Any = None

    def draw(self, meter: Meter, now: float) -> None:
        if self._task is None:
            self._task = self._progress.add_task(_literal(meter.desc), total=meter.total, status="")
            self._progress.start()
        self._progress.update(self._task, completed=meter.done, status=meter.status(now))
        self._progress.refresh()

    def close(self, meter: Meter, now: float) -> None:
        self._progress.stop()


class _NotebookLine:
    """One output of the cell, replaced at each drawing; the last one stays."""

    pause = 5 * _DRAW_SECONDS
    _WIDTH = 30

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, meter: Meter, now: float) -> None:
        text = meter.line(now)
        if meter.total:
            filled = round(self._WIDTH * meter.fraction)
            text = f"{'█' * filled}{'░' * (self._WIDTH - filled)} {text}"
        data = {"text/plain": text}
        if self._handle is None:
            ipython: Any = importlib.import_module("IPython.display")  # is there in every notebook
            self._handle = ipython.display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def close(self, meter: Meter, now: float) -> None:
        self.draw(meter, now)


class _Lines:
    """A line now and then, and one at the end."""

    pause = _LINE_SECONDS

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def draw(self, meter: Meter, now: float) -> None:
        if now - meter.began >= self.pause:  # what is over soon needs no line but the last
            self._file.write(f"{meter.line(now)}\n")
            self._file.flush()

    def close(self, meter: Meter, now: float) -> None:
        self._file.write(f"{meter.line(now)}\n")
        self._file.flush()


class _Nothing:
    """Shows nothing."""

    pause = _LINE_SECONDS

    def draw(self, meter: Meter, now: float) -> None:
        """Nothing to do."""

    def close(self, meter: Meter, now: float) -> None:
        """Nothing to do."""


def _shown(
    finished: Generator[ObjectRef[Any] | None], meter: Meter, display: Display, *, yield_refs: bool
) -> Iterator[Any]:
    """What has finished; the display follows."""
    meter.began = drawn = time.monotonic()
    with contextlib.closing(finished):
        try:
            display.draw(meter, drawn)
            for ref in finished:
                if ref is not None:
                    meter.done += 1
                    meter.failed += ref._value is not None and ref._value.kind == ERROR
                now = time.monotonic()
                if now - drawn >= display.pause:
                    drawn = now
                    display.draw(meter, now)
                if ref is not None:
                    yield ref if yield_refs else get(ref)
        finally:
            display.close(meter, time.monotonic())


def _from_list(arrivals: Arrivals, count: int, pause: float) -> Generator[ObjectRef[Any] | None]:
    """References as they come; None when there is none for a while."""
    try:
        while count:
            ref = arrivals.take(pause)
            count -= ref is not None
            yield ref
    finally:
        arrivals.close()


def _from_stream(stream: ObjectRefGenerator[Any]) -> Generator[ObjectRef[Any] | None]:
    yield from stream


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _literal(text: str) -> str:
    from rich.markup import escape

    return escape(text)
