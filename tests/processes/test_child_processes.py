"""Processes that user code starts in a worker: when they end, with each setting, and what is reaped."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests import leftovers
from tests.conftest import init_arguments
from tests.processes.scene import PROMISED_SECONDS, Scene
from tests.processes.waiting import eventually

FOREVER = "600"
DIRECT = "kill_child_processes_on_worker_exit"
ALL = "kill_child_processes_on_worker_exit_with_raylet_subreaper"


def runs(pid):
    """Whether a process has not ended; one that nobody has reaped has."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in b"ZX"


@pytest.fixture
def starter():
    """Creates actors that start processes of all kinds and tell their ids."""

    def create(ray, **options):
        @ray.remote(num_cpus=0)
        class Starter:
            def pid(self):
                return os.getpid()

            def child(self):
                self.process = subprocess.Popen(["sleep", FOREVER])
                return self.process.pid

            def child_in_session(self):
                return subprocess.Popen(["sleep", FOREVER], start_new_session=True).pid

            def child_without_environment(self):
                return subprocess.Popen(["env", "-i", "sleep", FOREVER], start_new_session=True).pid

            def grandchild(self):
                shell = subprocess.Popen(["sh", "-c", f"sleep {FOREVER} & echo $!; wait"], stdout=subprocess.PIPE)
                return int(shell.stdout.readline())

            def daemon(self):
                """Its parent has ended: it is nobody's child."""
                command = f"setsid env -i sleep {FOREVER} > /dev/null 2>&1 & echo $!"
                return int(subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout)

            def forked(self):
                return fork(lambda: time.sleep(600))

            def forked_daemon(self):
                """As `os.fork` twice: no program of its own, no parent, no group."""
                read, write = os.pipe()

                def leave_home():
                    os.setsid()
                    pid = fork(lambda: time.sleep(600))
                    os.write(write, f"{pid}\n".encode())

                os.waitpid(fork(leave_home), 0)
                os.close(write)
                with os.fdopen(read) as pipe:
                    return int(pipe.readline())

            def many(self, count):
                self.children = [subprocess.Popen(["sleep", FOREVER]) for _ in range(count)]
                return [child.pid for child in self.children]

            def zombie(self):
                process = self.zombie_process = subprocess.Popen(["true"])
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                return process.pid

            def wait_for_child(self):
                return subprocess.run(["sh", "-c", "exit 3"], check=False).returncode

            def crash(self):
                os._exit(1)

        def fork(work):
            pid = os.fork()
            if pid == 0:
                work()
                os._exit(0)
            return pid

        return Starter.options(**options).remote()

    return create


KINDS = [
    "child",
    "child_in_session",
    "child_without_environment",
    "grandchild",
    "daemon",
    "forked",
    "forked_daemon",
]
GRACEFUL = {
    "scope": lambda _, actors: actors.clear(),
    "terminate": lambda _, actors: actors[0].__ray_terminate__.remote(),
}
ENDS = GRACEFUL | {
    "kill": lambda ray, actors: ray.kill(actors[0]),
    "crash": lambda _, actors: actors[0].crash.remote(),
    "SIGKILL": lambda ray, actors: os.kill(ray.get(actors[0].pid.remote()), signal.SIGKILL),
}


@pytest.mark.parametrize("end", ENDS)
def test_everything_ends_with_its_worker(ray, starter, end):
    actors = [starter(ray)]
    started = {kind: ray.get(getattr(actors[0], kind).remote(), timeout=20) for kind in KINDS}
    assert {kind for kind, pid in started.items() if not runs(pid)} == set()
    ENDS[end](ray, actors)

    eventually(lambda: not any(runs(pid) for pid in started.values()))
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in started.values()))


def test_what_others_have_started_goes_on(ray, starter):
    first, second = starter(ray), starter(ray)
    mine = [ray.get(getattr(first, kind).remote(), timeout=20) for kind in KINDS]
    others = [ray.get(getattr(second, kind).remote(), timeout=20) for kind in KINDS]
    ray.kill(first)

    eventually(lambda: not any(runs(pid) for pid in mine))
    assert all(runs(pid) for pid in others)
    assert ray.get(second.wait_for_child.remote(), timeout=20) == 3


def test_two_hundred_children(ray, starter):
    actor = starter(ray)
    children = ray.get(actor.many.remote(200), timeout=30)
    assert all(runs(pid) for pid in children)
    ray.kill(actor)

    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), PROMISED_SECONDS)


def test_children_of_a_worker_that_is_used_up(ray):
    @ray.remote(max_calls=1)
    def start():
        return subprocess.Popen(["sleep", FOREVER]).pid

    child = ray.get(start.remote(), timeout=20)
    eventually(lambda: not runs(child))


def test_a_child_of_multiprocessing_does_not_delay_the_end(ray):
    """Its exit handler would wait for children that are no daemons."""

    @ray.remote(num_cpus=0)
    class Parent:
        def start(self):
            import multiprocessing

            context = multiprocessing.get_context("fork")
            self.process = context.Process(target=time.sleep, args=(600,))
            self.process.start()
            return os.getpid(), self.process.pid

    parent = Parent.remote()
    pids = ray.get(parent.start.remote(), timeout=20)
    begun = time.monotonic()
    del parent

    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("end", ["kill", "scope"])
def test_shared_memory_of_multiprocessing_is_removed(ray, end):
    """By its resource tracker, a child that has to outlive the worker for a moment."""

    @ray.remote(num_cpus=0)
    class Owner:
        def create(self):
            from multiprocessing.shared_memory import SharedMemory

            self.memory = SharedMemory(create=True, size=100)
            return self.memory.name.lstrip("/")

    actors = [Owner.remote()]
    name = ray.get(actors[0].create.remote(), timeout=20)
    assert (leftovers.SHARED_MEMORY / name).exists()
    ENDS[end](ray, actors)

    eventually(lambda: not (leftovers.SHARED_MEMORY / name).exists())


def test_zombies_are_the_worker_s_own_business_while_it_lives_and_gone_with_it(ray, starter):
    actor = starter(ray)
    zombie = ray.get(actor.zombie.remote(), timeout=20)
    assert os.path.exists(f"/proc/{zombie}")
    ray.kill(actor)

    eventually(lambda: not os.path.exists(f"/proc/{zombie}"))


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def survivors():
    """What a test has asked to outlive its worker; it ends after the test."""
    pids = []
    yield pids
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(runs(pid) for pid in pids))


def through_environment(prefix):
    def start(ray, monkeypatch, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"{prefix}_{name}", "true" if value else "false")
        ray.init(**init_arguments())

    return start


def through_init(ray, _, **settings):
    ray.init(**init_arguments(_system_config=settings))


WAYS = {"TRAYRAY_": through_environment("TRAYRAY"), "RAY_": through_environment("RAY"), "_system_config": through_init}


@pytest.mark.parametrize("way", WAYS)
def test_without_the_subreaper_direct_children_end_and_others_stay(fresh_ray, starter, survivors, monkeypatch, way):
    WAYS[way](fresh_ray, monkeypatch, **{ALL: False})
    actor = starter(fresh_ray)
    children = fresh_ray.get([actor.child.remote(), actor.child_in_session.remote(), actor.forked.remote()], timeout=20)
    survivors += fresh_ray.get([actor.grandchild.remote(), actor.daemon.remote()], timeout=20)
    worker = fresh_ray.get(actor.pid.remote())
    del actor

    eventually(lambda: not any(runs(pid) for pid in [worker, *children]))
    assert all(runs(pid) for pid in survivors)
    fresh_ray.shutdown()
    assert all(runs(pid) for pid in survivors)


def test_without_the_subreaper_a_crash_leaves_children(fresh_ray, starter, survivors, monkeypatch):
    through_init(fresh_ray, monkeypatch, **{ALL: False})
    actor = starter(fresh_ray)
    survivors.append(fresh_ray.get(actor.child.remote(), timeout=20))
    with pytest.raises(fresh_ray.exceptions.ActorDiedError):
        fresh_ray.get(actor.crash.remote(), timeout=20)
    fresh_ray.shutdown()

    assert runs(survivors[0])


def test_without_the_subreaper_a_killed_worker_takes_its_children_with_it(fresh_ray, starter, monkeypatch):
    through_init(fresh_ray, monkeypatch, **{ALL: False})
    actor = starter(fresh_ray)
    child = fresh_ray.get(actor.child.remote(), timeout=20)
    fresh_ray.kill(actor)

    eventually(lambda: not runs(child))


def test_children_may_stay(fresh_ray, starter, survivors, monkeypatch):
    through_init(fresh_ray, monkeypatch, **{DIRECT: False})
    actors = [starter(fresh_ray), starter(fresh_ray)]
    survivors += fresh_ray.get([actor.child.remote() for actor in actors], timeout=20)
    workers = fresh_ray.get([actor.pid.remote() for actor in actors])
    fresh_ray.kill(actors[0])
    actors.clear()

    eventually(lambda: not any(runs(pid) for pid in workers))
    assert all(runs(pid) for pid in survivors)
    fresh_ray.shutdown()


def test_the_subreaper_holds_for_children_too(fresh_ray, starter, monkeypatch):
    through_init(fresh_ray, monkeypatch, **{DIRECT: False, ALL: True})
    actor = starter(fresh_ray)
    pids = fresh_ray.get([actor.child.remote(), actor.daemon.remote()], timeout=20)
    actor.crash.remote()

    eventually(lambda: not any(runs(pid) for pid in pids))


def test_a_wrong_setting_is_refused(fresh_ray, monkeypatch):
    monkeypatch.setenv(f"TRAYRAY_{DIRECT}", "perhaps")
    with pytest.raises(ValueError, match=f"TRAYRAY_{DIRECT} must be 1 or 0"):
        fresh_ray.init(**init_arguments())


# --- everybody who would clean up dies at once ------------------------------------------------------------------------


def test_node_and_fork_server_are_killed_at_the_same_moment():
    """What their workers have started is then nobody's: the driver ends it."""
    with Scene("orders") as scene:
        assert scene.said() == "running", scene.errors()
        eventually(lambda: "children" in scene.running())
        node, fork_server = scene.node(), scene.fork_server()
        assert node is not None
        assert fork_server is not None
        for pid in (node, fork_server):  # neither may do anything while the other dies
            os.kill(pid, signal.SIGSTOP)
        os.kill(fork_server, signal.SIGKILL)
        os.kill(node, signal.SIGKILL)
        killed = time.monotonic()

        scene.seconds_until_clean(killed)


def test_driver_node_and_fork_server_are_killed_at_the_same_moment():
    """The next command or program of the user that looks for clusters ends what is left."""
    with Scene("orders") as scene:
        assert scene.said() == "running", scene.errors()
        eventually(lambda: "children" in scene.running())
        node, fork_server = scene.node(), scene.fork_server()
        assert node is not None
        assert fork_server is not None
        for pid in (scene.driver.pid, node, fork_server):
            os.kill(pid, signal.SIGSTOP)
        for pid in (scene.driver.pid, fork_server, node):
            os.kill(pid, signal.SIGKILL)
        scene.driver.wait()
        killed = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "trayray", "status"],
            env=os.environ | {"TMPDIR": str(scene.directory)},
            capture_output=True,
            check=False,
        )

        scene.seconds_until_clean(max(killed, time.monotonic() - 1))
