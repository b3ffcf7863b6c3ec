"""A driver program in a directory of its own, and everything on the machine that belongs to its cluster.

The directory is its temporary and its working directory, so that whatever the cluster starts can be told by the working
directory it inherits, also after it has changed its title, its parent, its session or its environment.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Self

from tests import leftovers

PROGRAM = pathlib.Path(__file__).with_name("busy_driver.py")
#: What the project promises: so long after the end of any process nothing is left.
PROMISED_SECONDS = 2.0
POLL_SECONDS = 0.03


class Scene:
    """One driver and its cluster. Use it as a context manager: it kills the driver, and whatever outlives that."""

    def __init__(self, *orders: str) -> None:
        self._orders = orders
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="k")).resolve()
        #: Where the program's tasks say that they run: outside, so that the directory holds the cluster's files alone.
        self.notes = pathlib.Path(tempfile.mkdtemp(prefix="n")).resolve()
        self.ports: set[int] = set()
        self._shared_memory = set(os.listdir(leftovers.SHARED_MEMORY))

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        with (self.notes / "driver.err").open("wb") as errors:
            self.driver = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(self.notes), *self._orders],
                cwd=self.directory,
                env=os.environ | {"TMPDIR": str(self.directory)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.kill()
        self.driver.wait()
        deadline = time.monotonic() + PROMISED_SECONDS
        while left := self.processes():
            if time.monotonic() > deadline:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        assert self.driver.stdin is not None
        assert self.driver.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.driver.stdin.close()
        self.driver.stdout.close()
        shutil.rmtree(self.directory)
        shutil.rmtree(self.notes)

    # --- what the program says and is told ---

    def said(self) -> str:
        """The program's next line; empty at its end."""
        assert self.driver.stdout is not None
        return self.driver.stdout.readline().decode().strip()

    def tell(self, order: str) -> None:
        assert self.driver.stdin is not None
        self.driver.stdin.write(f"{order}\n".encode())
        self.driver.stdin.flush()

    def errors(self) -> str:
        return (self.notes / "driver.err").read_text()

    def running(self) -> set[str]:
        """Names of what the program has running on its cluster."""
        return {path.name for path in self.notes.iterdir()} - {"driver.err"}

    # --- processes ---

    def processes(self) -> dict[int, str]:
        """Processes of the cluster, with what they are; not the driver."""
        return {
            pid: leftovers._describe(pid)
            for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
            if pid != self.driver.pid and _working_directory(pid) == str(self.directory)
        }

    def children(self, parent: int) -> list[int]:
        """Also those that have ended and were not waited for."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if leftovers._parent(pid) == parent]

    def node(self) -> int | None:
        """The node's process id, once it runs the node's program."""
        return self._child_of(self.driver.pid, b"trayray.node.main")

    def fork_server(self) -> int | None:
        """The fork server's process id, once it says what it is."""
        node = self.node()
        return None if node is None else self._child_of(node, b"ray::fork server")

    def _child_of(self, parent: int, command: bytes) -> int | None:
        return next((pid for pid in self.children(parent) if command in leftovers._read(pid, "cmdline")), None)

    # --- files and sockets ---

    def sessions(self) -> list[pathlib.Path]:
        return [path for path in self._paths() if path.name.startswith("session_") and not path.is_symlink()]

    def _paths(self) -> list[pathlib.Path]:
        """All that is below the directory, while others may be removing it."""
        return [
            pathlib.Path(where) / name
            for where, directories, files in os.walk(self.directory)
            for name in (*directories, *files)
        ]

    def note_ports(self) -> None:
        """Remember what the cluster listens on, to be looked for when it is gone."""
        for session in self.sessions():
            with contextlib.suppress(FileNotFoundError):
                address: dict[str, Any] = json.loads((session / "address.json").read_text())
                self.ports.add(int(address["address"].rpartition(":")[2]))

    def left(self) -> list[str]:
        """One line for each thing of the cluster that exists: nothing but logs may be left of one that has ended."""
        found = [f"process {pid}: {what}" for pid, what in self.processes().items()]
        ended = [pid for pid in self.children(self.driver.pid) if _working_directory(pid) == ""]
        found += [f"zombie {pid} of the driver" for pid in ended]
        found += [f"file {path}" for path in self._paths() if not self._may_stay(path)]
        found += [f"bound socket {path}" for path in _bound_below(self.directory)]
        found += [f"port {port}" for port in self.ports & listening_ports()]
        new = set(os.listdir(leftovers.SHARED_MEMORY)) - self._shared_memory
        return found + [f"shared memory {name}" for name in new if name.startswith("trayray")]

    def _may_stay(self, path: pathlib.Path) -> bool:
        parts = path.relative_to(self.directory).parts
        if path.is_symlink():
            return False
        session = next((place for place, part in enumerate(parts) if part.startswith("session_")), None)
        if session is None:
            return path.is_dir()
        return len(parts) == session + 1 or parts[session + 1] == "logs"

    def seconds_until_clean(self, since: float) -> float:
        """How long after ``since`` nothing was left; fails the test when that takes longer than promised."""
        while left := self.left():
            if time.monotonic() - since > PROMISED_SECONDS:
                text = "\n  ".join(left)
                raise AssertionError(f"left {PROMISED_SECONDS} s after the kill:\n  {text}\n{self.errors()}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - since

    def log(self) -> str:
        """What the node has written into its log."""
        (session,) = self.sessions()
        return (session / "logs" / "node.log").read_text()

    def assert_logs_stay(self) -> None:
        (session,) = self.sessions()
        assert (session / "logs" / "node.log").exists()


def listening_ports() -> set[int]:
    """TCP ports that somebody listens on, at any address of this machine."""
    return {port for _, port in listening_sockets()}


def listening_sockets() -> dict[tuple[str, int], int]:
    """(address in hexadecimal, port) of each listening TCP socket, and its inode."""
    found: dict[tuple[str, int], int] = {}
    for name in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # TCP_LISTEN
                address, _, port = fields[1].partition(":")
                found[address, int(port, 16)] = int(fields[9])
    return found


def _bound_below(directory: pathlib.Path) -> list[str]:
    lines = pathlib.Path("/proc/net/unix").read_text().splitlines()
    return [path for line in lines if str(directory) in line and (path := line.split(maxsplit=7)[-1])]


def _working_directory(pid: int) -> str:
    """Empty for a process that has ended."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
