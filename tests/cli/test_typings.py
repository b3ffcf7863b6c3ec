"""The stub for pyright. What pyright makes of it: `tests/typing`."""

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from trayray.cli.typings import typings, with_remote

SOURCE = "import sys\n\nclass MethodType:\n    @property\n    def __name__(self) -> str: ...\n\nclass Other: ...\n"


def _members(stub: str, name: str) -> list[str]:
    found = next(node for node in ast.parse(stub).body if isinstance(node, ast.ClassDef) and node.name == name)
    return [member.name for member in found.body if isinstance(member, ast.FunctionDef)]


def test_bound_methods_get_remote_options_and_bind() -> None:
    stub = with_remote(SOURCE)

    assert _members(stub, "MethodType") == ["remote", "options", "bind", "__name__"]
    assert _members(stub, "Other") == []


@pytest.mark.parametrize("source", ["", "class Other: ...\n", SOURCE + SOURCE])
def test_an_unknown_stub_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"no single line 'class MethodType:'"):
        with_remote(source)


def test_pyright_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    result = CliRunner().invoke(typings, [str(tmp_path / "typings")])

    assert result.exit_code == 1
    assert "pyright is not installed" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_pyright_that_does_not_know_its_stubs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "pyright"
    program.write_text("#!/bin/sh\necho its output\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    result = CliRunner().invoke(typings, [str(tmp_path / "typings")])

    assert result.exit_code == 1
    assert "its output" in result.output
    assert not (tmp_path / "typings").exists()


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed; `make types` installs it")
def test_the_command_writes_the_stub_and_says_how_to_use_it(tmp_path: Path) -> None:
    for _ in range(2):  # what is there is written again
        result = CliRunner().invoke(typings, [str(tmp_path / "typings")])

        assert result.exit_code == 0
        assert f'stubPath = "{tmp_path}/typings/stdlib"' in result.output
        assert _members((tmp_path / "typings/stdlib/types.pyi").read_text(), "MethodType")[:2] == ["remote", "options"]
