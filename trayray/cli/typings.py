"""``trayray typings``: the stub with which pyright accepts ``.remote`` on an actor's methods that are not decorated.

pyright has no plugins, but a project's stub directory comes before its own stubs of the standard library, and it looks
attributes of bound methods up in ``types.MethodType``. The stub is pyright's own ``types.pyi`` with two attributes
added; their calls are untyped. Not here: mypy, which has a plugin for the same (``trayray.mypy``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

_CLASS = "class MethodType:\n"
_HEAD = """\
# Written by `trayray typings`; write it again when pyright was updated. pyright's own types.pyi follows, where
# MethodType has got `remote`, `options` and `bind`: actors' methods that are not decorated have them.
# pyright: basic
from trayray.api.shapes import actors as _shapes
"""
_ADDED = """\
    @property
    def remote(self) -> _shapes.UntypedRemote: ...
    @property
    def options(self) -> _shapes.UntypedOptions: ...
    @property
    def bind(self) -> _shapes.UntypedBind: ...
"""


def write_typings(target: Path) -> Path:
    """Write the stub below the directory ``target``, into one named ``stdlib``: that has to be pyright's ``stubPath``.

    pyright tells by that name that classes of the stub are the standard library's. Returns the path of the file; one
    that is there already is overwritten.

    Raises:
        FileNotFoundError: pyright is not installed, neither for this Python nor on PATH.
        ValueError: pyright does not say where its stubs are, or its stub is not as expected.
        OSError: ``target`` cannot be written.
    """
    text = with_remote(_standard_stub().read_text(encoding="utf-8"))
    stub = target / "stdlib" / "types.pyi"
    stub.parent.mkdir(parents=True, exist_ok=True)
    stub.write_text(text, encoding="utf-8")
    return stub


def with_remote(source: str) -> str:
    """The text of a ``types.pyi`` with ``remote``, ``options`` and ``bind`` added to ``MethodType``.

    Raises:
        ValueError: there is no single ``MethodType``.
    """
    if source.count(_CLASS) != 1:
        raise ValueError(f"pyright's types.pyi has no single line {_CLASS.strip()!r}; this version of it is not known")
    return _HEAD + source.replace(_CLASS, _CLASS + _ADDED)


def _standard_stub() -> Path:
    """Where the installed pyright has its stub of the module ``types``."""
    with tempfile.TemporaryDirectory(prefix="trayray-typings-") as nothing:
        shown = subprocess.run(
            [_pyright(), "--verbose", "--project", nothing],  # without files: it only says where it would look
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    for line in shown.stdout.splitlines():
        stub = Path(line.strip(), "types.pyi")
        if stub.parent.name == "stdlib" and stub.is_file():
            return stub
    raise ValueError(
        "`pyright --verbose` does not say where its stubs of the standard library are; it says:\n"
        f"{shown.stdout}{shown.stderr}"
    )


def _pyright() -> str:
    """The pyright of this environment, else the one on PATH."""
    places = [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
    found = shutil.which("pyright", path=os.pathsep.join(places))
    if found is None:
        raise FileNotFoundError("pyright is not installed: `pip install pyright`, or put the `pyright` command on PATH")
    return found


@click.command()
@click.argument("target", type=click.Path(file_okay=False, path_type=Path), default="typings")
def typings(target: Path) -> None:
    """Write a stub with which pyright accepts `.remote` on actors' methods that are not decorated.

    It is written below the directory TARGET, `typings` by default; tell pyright with its setting `stubPath`, which this
    command shows. Calls of such methods then pass as untyped. Methods with `@trayray.method` keep their types, and need
    no stub. mypy takes the file for a module of the project: if it is run on directories, exclude this one there.
    """
    try:
        stub = write_typings(target)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Wrote {stub}; write it again when pyright was updated. In pyproject.toml:\n")
    click.echo(f'[tool.pyright]\nstubPath = "{stub.parent.as_posix()}"')
