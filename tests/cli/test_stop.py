import json
import os
import pathlib
import signal
import time

from tests.cli.conftest import Place
from tests.cli.test_start import node_of
from trayray.cli.processes import Watched, descendants

NOTHING = "Did not find any active trayray processes.\n"


def test_leaves_nothing_of_a_cluster(place: Place, address: str):
    place.driver(
        """
        ray.init("auto")

        @ray.remote
        class Stubborn:
            def ready(self):
                return True

        actor = Stubborn.options(name="stubborn", lifetime="detached").remote()
        ray.get(actor.ready.remote())
        """
    )
    node = node_of(place)
    (session,) = place.sessions
    with Watched([node, *descendants(node)]) as processes:
        count = len(processes.pids)

        done = place.trayray("stop")

        assert processes.wait(0)
    assert done.stdout == f"Stopped all {count} trayray processes (1 cluster).\n"
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in session.iterdir()) == ["logs"]
    assert place.trayray("stop").stdout == NOTHING


def test_program_keeps_its_own_cluster_unless_forced(place: Place):
    program = place.popen("-c", "import trayray as ray; ray.init(num_cpus=1); print(flush=True); input()")
    with program:
        assert program.stdout
        program.stdout.readline()

        assert place.trayray("stop").stdout == NOTHING
        assert len(place.sessions) == 1
        assert "(1 cluster)" in place.trayray("stop", "--force").stdout
        assert not place.sessions
        program.kill()


def test_cluster_that_does_not_react_is_killed_after_the_grace_period(place: Place, address: str):
    node = node_of(place)
    with Watched([node, *descendants(node)]) as processes:
        os.kill(node, signal.SIGSTOP)

        # Not the whole command: its order to end would wait for an answer longer than this test may take.
        done = place.python(
            "-c",
            "import trayray.api.node_control as control; control.ANSWER_SECONDS = 0.1\n"
            "import sys; sys.argv[1:] = ['stop', '--grace-period=0.2']\n"
            "from trayray.cli.main import main; main()",
        )

        assert processes.wait(0)
    assert "(1 cluster)" in done.stdout
    assert "did not take the order to end" in done.stderr
    assert not place.sessions


def test_process_that_has_a_dead_nodes_id_is_left_alone(place: Place):
    stranger = place.popen("-c", "input()")
    with stranger:
        session = place.path / f"trayray-{os.getuid()}" / f"session_x_{stranger.pid}"
        session.mkdir(parents=True)
        published = {"address": "127.0.0.1:1", "pid": stranger.pid, "private": False}
        (session / "address.json").write_text(json.dumps(published))

        assert place.trayray("stop", "--force").stdout == NOTHING
        assert not place.sessions
        assert stranger.communicate("\n")
    assert stranger.returncode == 0


def test_watched_processes_are_waited_for(tmp_path: pathlib.Path, place: Place):
    first, second = place.popen("-c", "input()"), place.popen("-c", "input()")
    with first, second, Watched([first.pid, second.pid]) as both:
        assert set(descendants(os.getpid())) >= {first.pid, second.pid}
        first.communicate("\n")
        start = time.monotonic()

        assert not both.wait(0.05)
        assert time.monotonic() - start >= 0.05
        assert both.pids == [second.pid]
        both.signal(signal.SIGKILL, first.pid)
        both.signal(signal.SIGTERM, second.pid)
        assert both.wait(10)
        assert both.pids == []
    assert (first.returncode, second.returncode) == (0, -signal.SIGTERM)
