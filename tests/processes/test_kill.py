"""kill -9 of any process of a cluster, at any moment: 2 s later nothing of the cluster is left but its logs."""

import os
import random
import signal
import sys
import time

import pytest

from tests.processes.scene import PROMISED_SECONDS, Scene
from tests.processes.waiting import eventually

#: Another seed makes other moments.
SEED = os.environ.get("TRAYRAY_TEST_SEED", "1")
#: All that the program starts is running within so long after its beginning, mostly.
LONGEST_SECONDS = 1.6
EVERYTHING = {"sleep", "loop", "children", "actor", "async actor", "threaded actor"}


def say(text):
    """For whoever reads a failed test's report."""
    sys.stdout.write(f"{text}\n")


@pytest.fixture
def rng(request):
    """Random moments of this test, the same in each run."""
    name = f"{request.node.name} with TRAYRAY_TEST_SEED={SEED}"
    say(name)
    return random.Random(name)


@pytest.fixture
def scene():
    with Scene() as scene:
        yield scene


@pytest.fixture
def orderly_scene():
    """One whose driver waits for orders once everything runs."""
    with Scene("orders") as scene:
        assert scene.said() == "running", scene.errors()
        eventually(lambda: scene.running() >= EVERYTHING)
        yield scene


def kill_within(rng, scene, pid, longest):
    """Kill a process at a random moment of the next seconds; when that was."""
    moment = rng.uniform(0, longest)
    time.sleep(moment)
    say(f"kill -9 after {moment:.3f} s, with {sorted(scene.running())} running")
    scene.note_ports()
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(7))
def test_driver_is_killed_at_a_random_moment(scene, rng, attempt):
    killed = kill_within(rng, scene, scene.driver.pid, LONGEST_SECONDS)
    scene.driver.wait()

    say(f"clean after {scene.seconds_until_clean(killed):.3f} s")


def says_lost_in_time(scene, killed):
    said = scene.said()
    if said == "running":
        said = scene.said()
    assert said.startswith("lost: "), (said, scene.errors())
    assert time.monotonic() - killed < PROMISED_SECONDS, said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("victim", [Scene.node, Scene.fork_server])
@pytest.mark.parametrize("attempt", range(6))
def test_node_or_fork_server_is_killed_at_a_random_moment(scene, rng, victim, attempt):
    pid = eventually(lambda: victim(scene))
    killed = kill_within(rng, scene, pid, max(0.2, LONGEST_SECONDS - (time.monotonic() - scene.started)))
    say(says_lost_in_time(scene, killed))

    say(f"clean after {scene.seconds_until_clean(killed):.3f} s, while the driver lives")
    assert scene.driver.poll() is None
    scene.driver.stdin.close()
    assert scene.driver.wait() == 0, scene.errors()


def test_everything_is_there_while_the_driver_lives(orderly_scene):
    """What the other tests look for exists, and would be found."""
    scene = orderly_scene
    scene.note_ports()
    left = "\n".join(scene.left())

    assert "ray::fork server" in left
    assert "ray::loop" in left
    assert left.count("sleep 600") >= 5
    assert "/token" in left
    assert "/address.json" in left
    assert "bound socket " in left
    assert "port " in left


@pytest.mark.parametrize("victim", [Scene.node, Scene.fork_server])
def test_driver_hears_of_its_nodes_death_while_everything_runs(victim):
    with Scene() as scene:
        assert scene.said() == "running", scene.errors()
        eventually(lambda: scene.running() >= EVERYTHING)
        scene.note_ports()
        pid = victim(scene)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()

        assert says_lost_in_time(scene, killed).startswith("lost: LocalRayletDiedError: ")
        scene.seconds_until_clean(killed)
        scene.assert_logs_stay()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("return", None),
        ("raise", 1),
        ("exit", 3),
        ("_exit", 3),
        ("terminate", -signal.SIGTERM),
        ("interrupt", -signal.SIGINT),
        ("fork and vanish", -signal.SIGKILL),
    ],
)
def test_driver_ends(orderly_scene, end, code):
    """However a driver ends, and without a call of shutdown()."""
    scene = orderly_scene
    scene.note_ports()
    scene.tell(end)
    if code is None:
        scene.driver.stdin.close()
    assert scene.driver.wait(10) == (code or 0), scene.errors()
    ended = time.monotonic()

    scene.seconds_until_clean(ended)
    scene.assert_logs_stay()
    assert "failed" not in scene.log(), scene.log()


def test_session_in_a_directory_of_its_own_is_cleaned_up_there_and_here():
    with Scene("elsewhere") as scene:
        assert scene.said() == "running", scene.errors()
        assert [path for path in scene.directory.rglob("session_*") if path.is_symlink()]
        scene.driver.kill()
        killed = time.monotonic()
        scene.driver.wait()

        scene.seconds_until_clean(killed)
        scene.assert_logs_stay()


def test_shutdown_leaves_nothing_from_the_moment_it_returns(orderly_scene):
    scene = orderly_scene
    scene.note_ports()
    scene.tell("shutdown")

    assert scene.said() == "left"
    assert scene.left() == []


def test_forked_child_of_a_driver_leaves_its_cluster_alone(orderly_scene):
    orderly_scene.tell("fork")

    assert orderly_scene.said() == "42"


def test_clusters_do_not_disturb_each_other(orderly_scene):
    with Scene("orders") as other:
        assert other.said() == "running", other.errors()
        other.driver.kill()
        killed = time.monotonic()
        other.driver.wait()
        other.seconds_until_clean(killed)

    orderly_scene.tell("work")
    assert orderly_scene.said() == "42"
