"""``trayray run``: a program that says ``import ray``, unchanged, as Python itself would run it.

The program runs in this process as ``__main__``, so that what it defines is pickled by value, with its own arguments,
import path and exit code. Not here: what ``import ray`` then gives (``worker.ray_alias``).
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
from collections.abc import Callable
from types import CodeType, ModuleType, TracebackType
from typing import Any

import click


class Program:
    """A script, or a module with ``-m``, and its arguments.

    Args:
        target: path of a script, or of a directory or archive with a ``__main__.py``; a module's name if ``is_module``.
        arguments: what ``sys.argv`` holds after the program's name.
    """

    def __init__(self, target: str, arguments: tuple[str, ...], *, is_module: bool) -> None:
        self._target = target
        self._arguments = arguments
        self._is_module = is_module
        self._main = ModuleType("__main__")

    def run(self) -> None:
        """Run it; whatever it raises, SystemExit included, is left to the interpreter, as without us."""
        from trayray.api.install import install_as_ray

        install_as_ray()
        vars(self._main).update(__builtins__=builtins, __cached__=None)
        sys.excepthook = self._without_our_frames(sys.excepthook)
        path, code = self._load_module() if self._is_module else self._load_path()
        sys.argv[:] = [path, *self._arguments]
        sys.modules["__main__"] = self._main
        exec(code(), vars(self._main))

    def _load_path(self) -> tuple[str, Callable[[], CodeType]]:
        path = self._target
        if os.path.isfile(path) and not importlib.machinery.PathFinder.find_spec("__main__", [path]):
            self._put_on_path(os.path.dirname(os.path.realpath(path)))
            file = os.path.abspath(path)
            vars(self._main).update(__file__=file, __package__=None)
            with io.open_code(file) as stream:
                source = stream.read()
            return path, lambda: compile(source, file, "exec")
        self._put_on_path(os.path.abspath(path))
        spec = importlib.machinery.PathFinder.find_spec("__main__", [path])
        if spec is None:
            raise SystemExit(f"trayray run: can't find a '__main__' module in {path!r}")
        return path, self._code_of(spec)

    def _load_module(self) -> tuple[str, Callable[[], CodeType]]:
        self._put_on_path(os.getcwd())
        name = self._target
        try:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.submodule_search_locations is not None:
                name = f"{name}.__main__"
                spec = importlib.util.find_spec(name)
        except ModuleNotFoundError as error:  # a parent package is missing, or something that it imports
            raise SystemExit(f"trayray run: error while finding module {name!r}: {error}") from error
        if spec is None:
            raise SystemExit(f"trayray run: no module named {name!r}")
        return spec.origin or name, self._code_of(spec)

    def _code_of(self, spec: importlib.machinery.ModuleSpec) -> Callable[[], CodeType]:
        loader: Any = spec.loader
        vars(self._main).update(
            __file__=spec.origin, __spec__=spec, __loader__=loader, __package__=spec.parent, __cached__=spec.cached
        )
        return lambda: loader.get_code(spec.name)

    @staticmethod
    def _put_on_path(entry: str) -> None:
        """In the place of the command's own entry; Python's -P leaves out both."""
        if not sys.flags.safe_path:
            sys.path[0] = entry

    def _without_our_frames(self, show: Callable[..., object]) -> Callable[..., object]:
        """An exception hook that begins tracebacks at the program's first frame, if it got that far."""

        def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            own = trace
            while own is not None and own.tb_frame.f_globals is not vars(self._main):
                own = own.tb_next
            if own is not None or isinstance(error, SyntaxError):
                trace = own
            show(kind, error.with_traceback(trace), trace)

        return hook


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-m", "is_module", is_flag=True, help="SCRIPT is the name of a module, as with `python -m`.")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
def run(is_module: bool, script: str, arguments: tuple[str, ...]) -> Program:
    """Run a program that says `import ray`, unchanged.

    `import ray` gives trayray in the program, in what it imports, and in its workers. The exit code is the program's.

    \b
      trayray run script.py --its-own-options
      trayray run -m package.module
    """
    if not is_module and not os.path.exists(script):
        raise click.ClickException(f"there is no file {script!r}; a module is run with `trayray run -m {script}`")
    return Program(script, arguments, is_module=is_module)
