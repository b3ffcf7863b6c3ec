"""The examples of the documentation run: blocks that open with "```python runnable", those of a file in one process."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python runnable\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def runnable(page: pathlib.Path) -> str:
    """The blocks of a page as one program whose line numbers are the page's."""
    text = page.read_text()
    program = ""
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        program += "\n" * (line - program.count("\n")) + block[1]
    return program


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=lambda page: page.name)
def test_examples_run(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    program = tmp_path / page.name.replace(".md", ".py")
    program.write_text(runnable(page))

    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, f"{page.name}, at the line numbers of the page:\n{done.stderr}"
    printed = done.stdout.splitlines()
    for expected in re.findall(r"^print\(.*\)  # (.*)$", program.read_text(), re.MULTILINE):
        assert expected in printed, f"{page.name} says that it prints {expected!r}, it printed:\n{done.stdout}"


def test_every_page_has_its_place_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()

    missing = [page.name for page in PAGES if page.name != "index.md" and f"{page.name})" not in index]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: pathlib.Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text())

    broken = [target for target in targets if not (page.parent / target).exists()]

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_functions_that_are_named_exist(page: pathlib.Path) -> None:
    """`worker/tasks.py:TaskSubmitter.submit` and the like, with paths below the package or the clone."""
    wrong: list[str] = []
    for path, name in re.findall(r"`((?:\w+/)+\w+\.py)(?::([\w.]+))?`", page.read_text()):
        file = next((base / path for base in (ROOT / "trayray", ROOT) if (base / path).exists()), None)
        if file is None:
            wrong.append(path)
            continue
        source = file.read_text()
        for part in name.split(".") if name else ():
            if not re.search(rf"\b(?:class|def) {part}\b|^\s*(?:self\.)?{part}\b.*=", source, re.MULTILINE):
                wrong.append(f"{path}:{name}")
                break
    assert wrong == []
