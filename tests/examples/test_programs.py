"""The programs of examples/ run on small inputs; each ends with an error when its result is not what it has to be."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "patterns.md").read_text()

#: Arguments of each program, and a line that it prints. `graph.py` runs in tests/processes/test_graphs.py.
PROGRAMS = {
    "batch_prediction.py": (["--batches=4"], "by actors"),
    "gentle_walkthrough.py": ([], "10 look-ups of 8 different books"),
    "highly_parallel.py": (["--trials=20000"], "exactly: 0.5073"),
    "learn_pong.py": ([], "at last:"),
    "model_selection.py": (["--candidates=4"], "1 left, the best: 0."),
    "monte_carlo_pi.py": (["--tasks=4", "--samples=20000"], "Estimated value of π from 80,000 samples: 3.1"),
    "parameter_server.py": ([], "asynchronously"),
    "scoped_crawler.py": (["--pages=15", "--patience=1.5"], "no connection left"),
    "supervised_server.py": (["--kills=3", "--seed=1"], "3 processes killed"),
    "time_series_selection.py": (["--series=1"], "48 fits under way"),
    "web_crawler.py": (["--pages=15", "--workers=3"], "with tasks: 15 pages in"),
    "word_count.py": ([f"--root={ROOT / 'trayray' / 'core'}", "--workers=2"], "different words"),
}
#: Those that say `import ray`.
WITH_RAY = {"word_count.py"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_runs(name: str, tmp_path: pathlib.Path) -> None:
    arguments, line = PROGRAMS[name]
    command = [sys.executable, *(["-m", "trayray", "run"] if name in WITH_RAY else []), str(ROOT / "examples" / name)]

    done = subprocess.run(
        [*command, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert line in done.stdout


def test_every_program_is_run_and_documented() -> None:
    present = {path.name for path in (ROOT / "examples").glob("*.py")}

    assert present == {*PROGRAMS, "graph.py"}
    assert [name for name in sorted(present) if f"](../examples/{name})" not in PAGE] == []
