"""`trayray tree`: jobs, supervisors with their children in whatever process, other actors; once and live."""

import io
import re

import pytest
from rich.console import Console

from tests.cli.conftest import Place
from trayray.cli.tree import follow, report
from trayray.wire.proto.trayray import v1

PROGRAM = """
import sys, trio
from trayray import ChildSpec, SupervisorSpec

@ray.remote(num_cpus=0)
class Child:
    def __init__(self, refuses=False):
        if refuses:
            raise ValueError("it does not want to")
    def pid(self):
        import os
        return os.getpid()
    def leave(self):
        ray.actor.exit_actor()

@ray.remote(num_cpus=0)
class Host:
    async def supervise(self):
        async with ray.open_supervisor([ChildSpec("inner", Child)], name="inside"):
            await trio.sleep_forever()

@ray.remote(num_cpus=0)
def forever():
    import time
    time.sleep(1000)

ray.init(address="auto", log_to_driver=False)
alone = Child.options(name="alone").remote()
pool = SupervisorSpec([ChildSpec("one", Child), ChildSpec("gone", Child, restart="transient")], "pool",
                      strategy="rest_for_one")
with ray.supervise(SupervisorSpec([pool, ChildSpec("host", Host), ChildSpec("job", forever)], "root")) as supervisor:
    events = supervisor.events()
    running = supervisor["host"].supervise.remote()
    ray.kill(supervisor["pool"]["one"])
    next(e for e in events if (e.kind, e.path) == ("started", "pool/gone") and e.count)
    supervisor["pool"]["gone"].leave.remote()
    next(e for e in events if (e.kind, e.path) == ("exited", "pool/gone"))
    print("ready", ray.get(alone.pid.remote()), flush=True)
    sys.stdin.read()
"""


def test_nothing_runs(place: Place, address: str) -> None:
    shown = place.trayray("tree")

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "no job runs in this cluster\n"


def test_no_cluster(place: Place) -> None:
    shown = place.trayray("tree")

    assert shown.returncode == 1
    assert "no cluster of this user runs on this machine" in shown.stderr


def test_supervisors_children_and_other_actors(place: Place, address: str) -> None:
    live = place.popen("-u", "-m", "trayray", "tree", "--live")
    assert live.stdout
    seen = [live.stdout.readline()]
    driver = place.popen("-c", "import trayray as ray\n" + PROGRAM)
    with live, driver:
        try:
            assert driver.stdout
            ready = driver.stdout.readline()
            assert ready.startswith("ready"), driver.communicate()
            while not any("inner" in line for line in seen):
                seen.append(live.stdout.readline())
            expected = lines_of(driver.pid)
            # Processes report what has changed every now and then, each for itself.
            shown = [place.trayray("tree", f"--address={address}").stdout]
            while plain(shown[-1]) != expected and len(shown) < 20:
                shown.append(place.trayray("tree", f"--address={address}").stdout)
            driver.communicate(input="")
            place.trayray("stop")
            rest, complaint = live.communicate()
        finally:
            driver.kill()
            live.kill()
    assert seen[0] == "no job runs in this cluster\n"
    assert driver.returncode == 0
    assert live.returncode == 1
    assert "the cluster" in complaint
    assert "no job runs" in rest

    assert plain(shown[-1]) == expected
    assert f"alone (actor Child): running, pid {ready.split()[1]}\n" in shown[-1]


def plain(shown: str) -> list[str]:
    """The lines of a tree without numbers that differ from run to run."""
    return [re.sub(r"pid \d+|since \d+ s", lambda m: m[0].split()[0], line) for line in shown.splitlines()]


def lines_of(driver: int) -> list[str]:
    return [
        f"job 01000000 (driver {driver})",
        "|- root (supervisor one_for_one): running, pid, since",
        "|  |- pool (supervisor rest_for_one): running, pid, since",
        "|  |  |- one (actor Child): running, pid, 1 restart, since; ended: it was killed by ray.kill",
        "|  |  `- gone (actor Child): stopped, 1 restart, since; ended: exit_actor() was called in it",
        "|  |- host (actor Host): running, pid, since",
        "|  |  `- inside (supervisor one_for_one): running, pid, since",
        "|  |     `- inner (actor Child): running, pid, since",
        "|  `- job (task): running, since",
        "`- alone (actor Child): running, pid",
    ]


def test_long_stories_are_cut_and_long_times_are_short() -> None:
    node = v1.TreeNode(id="a", kind="actor", class_name="a", state="stopped", restarts=2, since=100.0, reason="x" * 200)
    job = v1.TreeJob(job_id=b"\1\0\0\0", nodes=[node])
    empty = v1.TreeJob(job_id=b"\2\0\0\0", driver_pid=7)

    assert list(report(v1.Tree(jobs=[job, empty]), now=100.0 + 3700)) == [
        "job 01000000 (its driver has ended)",
        f"`- a (actor): stopped, 2 restarts, since 1 h 1 min; ended: {'x' * 100}...",
        "job 02000000 (driver 7)",
        "  no supervisors, no actors",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_live_view_shows_what_changes(terminal: bool) -> None:
    answers = iter([["job 1", "`- a (actor): running"]] * 2 + [["job 1", "`- a (actor): restarting"]])
    screen = io.StringIO()

    def ask() -> list[str]:
        try:
            return next(answers)
        except StopIteration:
            raise ConnectionError("the cluster has ended") from None

    with pytest.raises(ConnectionError):
        follow(ask, Console(file=screen, force_terminal=terminal, width=80), interval=0.0)
    shown = screen.getvalue()
    assert shown.index("a (actor): running") < shown.index("a (actor): restarting")
    if terminal:
        assert "\x1b[" in shown, "it is redrawn in place"
    else:
        assert shown.count("running") == 1, "only changes are printed"
