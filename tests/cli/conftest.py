"""The command in processes of its own, each test with a temporary directory of its own."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from tests import leftovers

SECONDS = 60
STORE = "--object-store-memory=100000000"


@attrs.frozen
class Place:
    """A temporary directory, and what is started in it."""

    path: pathlib.Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TRAYRAY_"))}
        return inherited | {"TMPDIR": str(self.path), "NO_COLOR": "1"}

    @property
    def sessions(self) -> list[pathlib.Path]:
        """Session directories that a node runs for."""
        return [path.parent for path in self.path.glob("**/session_*/address.json")]

    def trayray(self, *arguments: object, **how: Any) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end."""
        return self.python("-m", "trayray", *arguments, **how)

    def driver(self, source: str, *arguments: object, **how: Any) -> "subprocess.CompletedProcess[str]":
        """Run a program in which `ray` is trayray to its end; it has to succeed."""
        done = self.python("-c", "import trayray as ray\n" + textwrap.dedent(source), *arguments, **how)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def python(
        self, *arguments: object, cwd: pathlib.Path | None = None, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            cwd=cwd,
            env=env or self.environment,
        )

    def popen(self, *arguments: object) -> "subprocess.Popen[str]":
        """Start a Python process that is talked to."""
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )


@pytest.fixture
def place(nothing_left_behind: None) -> Iterator[Place]:
    """Clusters that the test has left in it are killed at its end."""
    with leftovers.nothing_left_behind():
        place = Place(pathlib.Path(tempfile.mkdtemp(prefix="c", dir=os.environ["TMPDIR"])))
        yield place
        if place.sessions:
            place.trayray("stop", "--force")
        shutil.rmtree(place.path)


@pytest.fixture
def address(place: Place) -> str:
    """Of a cluster with two CPUs that `trayray start` has started in `place`."""
    started = place.trayray("start", "--head", "--port=0", "--num-cpus=2", STORE, '--resources={"gadget": 3}')
    assert started.returncode == 0, started.stderr
    return started.stdout.partition("Local node address: ")[2].split()[0]


Blocking = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_blocking(place: Place) -> Iterator[Blocking]:
    """Starts `trayray start --head --block` and returns when it says that it runs."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        process = place.popen(
            "-m", "trayray", "start", "--head", "--port=0", "--num-cpus=1", "--block", STORE, *arguments
        )
        processes.append(process)
        assert process.stdout
        assert any("Ray runtime started" in line for line in process.stdout), process.communicate()
        return process

    yield start
    for process in processes:
        with process:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
