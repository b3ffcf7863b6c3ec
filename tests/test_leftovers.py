import contextlib
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests import leftovers

WAITS = "import sys; sys.stdin.read()"
#: A process whose parent is gone; it prints its id, and ends when its input does.
ORPHAN = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE_SECONDS", 0.05)


def what_fails(block: contextlib.AbstractContextManager[object]) -> str:
    """What the guard says about a block that leaves its resource open; the resource is closed afterwards."""
    with contextlib.ExitStack() as kept:
        with pytest.raises(pytest.fail.Exception) as caught, leftovers.nothing_left_behind():
            kept.enter_context(block)
        return str(caught.value)


def test_nothing_new_passes():
    with leftovers.nothing_left_behind():
        subprocess.run([sys.executable, "-c", ""], check=True)
        with socket.create_server(("127.0.0.1", 0)):
            pass


def test_child_is_found():
    @contextlib.contextmanager
    def child() -> Iterator[None]:
        with subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE):
            yield

    said = what_fails(child())

    assert "process " in said
    assert WAITS in said


def test_zombie_is_found():
    @contextlib.contextmanager
    def unreaped() -> Iterator[None]:
        process = subprocess.Popen([sys.executable, "-c", ""])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield
        process.wait()

    assert "zombie" in what_fails(unreaped())


@contextlib.contextmanager
def orphan(*arguments: str, **how: Any) -> Iterator[None]:
    """A process that descends from nobody here, with an empty environment unless `how` it is started says otherwise."""
    with contextlib.ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": {}, "cwd": "/"}
        parent = stack.enter_context(subprocess.Popen([sys.executable, "-c", ORPHAN, *arguments], **pipes | how))
        assert parent.stdout
        end = os.pidfd_open(int(parent.stdout.readline()))
        stack.callback(os.close, end)
        parent.wait()
        yield
        signal.pidfd_send_signal(end, signal.SIGKILL)
        select.select([end], [], [])


def test_orphan_is_found_by_its_environment():
    assert "process " in what_fails(orphan(env={"TMPDIR": os.environ["TMPDIR"]}))


def test_orphan_is_found_by_its_command_line():
    assert "process " in what_fails(orphan(f"--session={leftovers.session_root()}/session_x"))


def test_orphan_is_found_by_its_log():
    log = leftovers.session_root() / f"session_{uuid.uuid4().hex}" / "logs" / "worker.err"
    log.parent.mkdir(parents=True)

    with log.open("w") as errors:
        assert "process " in what_fails(orphan(stderr=errors))


def test_stranger_is_not_ours():
    with leftovers.nothing_left_behind(), contextlib.ExitStack() as stack:
        before = leftovers.Surroundings.now()
        stack.enter_context(orphan())

        assert leftovers.Surroundings.now().pids - before.pids
        assert leftovers.left_since(before) == []


@contextlib.contextmanager
def shared_memory_file() -> Iterator[pathlib.Path]:
    path = leftovers.SHARED_MEMORY / f"trayray-test-{uuid.uuid4().hex}"
    path.touch()
    yield path
    path.unlink()


def test_shared_memory_is_found():
    assert "file /dev/shm/trayray-test-" in what_fails(shared_memory_file())


def test_shared_memory_that_a_stranger_uses_is_not_ours():
    before = leftovers.Surroundings.now()
    with shared_memory_file() as path:
        assert leftovers.left_since(before) == [f"file {path}"]

        with path.open() as file, orphan(pass_fds=[file.fileno()]):
            assert leftovers.left_since(before) == []


def test_socket_of_this_process_is_found():
    @contextlib.contextmanager
    def server() -> Iterator[None]:
        with socket.create_server(("127.0.0.1", 0)):
            yield

    assert "open socket:[" in what_fails(server())


def test_bound_socket_and_its_file_are_found():
    @contextlib.contextmanager
    def listener() -> Iterator[None]:
        directory = leftovers.session_root() / f"session_{uuid.uuid4().hex[:8]}" / "sockets"
        directory.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(directory / "raylet"))
            yield
        (directory / "raylet").unlink()

    said = what_fails(listener())

    assert "file " in said
    assert "bound socket " in said
    assert "/sockets/raylet" in said


def test_inside_a_shared_block_single_tests_are_not_judged():
    assert not leftovers.inside_shared_watch()

    with leftovers.nothing_left_behind(shared=True):
        assert leftovers.inside_shared_watch()

    assert not leftovers.inside_shared_watch()
