"""What `trayray debug` says where nothing waits. Debugging itself: tests/processes/test_debugger.py."""

from trayray.cli.debug import report
from trayray.worker.breakpoints import Waiting


def test_nothing_waits_and_nothing_runs(place):
    done = place.trayray("debug")

    assert (done.returncode, done.stdout, done.stderr) == (0, "No breakpoint waits.\n", "")


def test_nothing_of_that_id_waits(place, address):
    done = place.trayray("debug", f"--address={address}", "1-1")

    assert done.returncode == 1
    assert "no breakpoint 1-1 waits" in done.stderr


def waiting(**changes):
    usual = {
        "id": "7-1",
        "pid": 7,
        "file": "/f.py",
        "line": 3,
        "function": "f",
        "source": "g()",
        "task": "f",
        "task_id": "ab",
        "actor": "",
        "error": "",
        "since": 0.0,
    }
    return Waiting(**usual | changes)


def test_what_the_list_says():
    breakpoints = [
        waiting(),
        waiting(id="7-2", actor="A", task="A.f", error="ValueError: no"),
        waiting(id="8-1", pid=8, task="driver", task_id=""),
    ]

    assert list(report(breakpoints)) == [
        "7-1  f at /f.py:3  task f (ab), pid 7",
        "    g()",
        "7-2  f at /f.py:3  task A.f (ab) in actor A, pid 7",
        "    after ValueError: no: g()",
        "8-1  f at /f.py:3  driver, pid 8",
        "    g()",
    ]
