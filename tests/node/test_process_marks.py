"""Marks: who bears them, and who ends those that do."""

import os
import subprocess
import sys

import pytest

from tests.processes.waiting import eventually
from trayray.node.process_control import has_ended
from trayray.node.process_marks import end_marked, is_marked, mark_of, session_mark, worker_mark

#: Bears the mark and starts a child without an environment, in a session of its own, whose id it says.
PROGRAM = """
import subprocess, sys, time
from trayray.node.process_marks import mark_this_process, worker_mark

mark_this_process(worker_mark(sys.argv[1], 7))
child = subprocess.Popen(["env", "-i", "sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def marked():
    """Starts a process of a session that has a child; both their ids."""
    processes = []

    def start(session):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, session], stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        return process.pid, int(process.stdout.readline())

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_marks_tell_sessions_and_workers() -> None:
    marks = {worker_mark(session, number) for session in ("a", "b") for number in range(100)}

    assert len(marks) == 200
    assert all(mark < 1 << 62 for mark in marks), "it is a limit, and larger than any that is meant as one"
    assert all(mark >= 1 << 61 for mark in marks)
    assert worker_mark("a", 1 << 20) == worker_mark("a", 0) == session_mark("a"), "numbers begin again"


def test_descendants_are_marked_and_this_process_is_not(marked) -> None:
    parent, child = marked("one")

    assert mark_of(parent) == mark_of(child) == worker_mark("one", 7)
    assert is_marked(child, worker_mark("one", 7), b"worker")
    assert not is_marked(child, worker_mark("one", 8), b"worker")
    assert mark_of(os.getpid()) == 0
    end_marked("one", 5)


def test_what_is_left_of_a_session_is_ended_and_nothing_else(marked) -> None:
    one, two = marked("one"), marked("two")

    end_marked("one", 5)
    assert all(has_ended(pid) for pid in one)
    assert not any(has_ended(pid) for pid in two)
    end_marked("two", 5)
    eventually(lambda: all(has_ended(pid) for pid in two))


def test_a_process_that_is_gone_has_no_mark() -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    assert mark_of(process.pid) == 0
    assert not is_marked(process.pid, worker_mark("one", 7), b"worker")
    assert has_ended(process.pid)


def test_the_environment_tells_where_the_kernel_refuses_marks() -> None:
    environment = os.environ | {"TRAYRAY_WORKER_ID": b"worker".hex()}
    for _ in range(20):  # an exec that has closed its pipe may have no environment to be read yet
        with subprocess.Popen(["sleep", "600"], env=environment) as process:
            try:
                assert is_marked(process.pid, worker_mark("one", 7), b"worker")
                assert not is_marked(process.pid, worker_mark("one", 7), b"other")
            finally:
                process.kill()
