"""What processes clean up when they end: `finally` blocks, the actors' hook, exit handlers; in which order, how long.

Whatever cleans up writes a line into a file: other ways out of a process that ends may be closed already.
"""

import asyncio
import atexit
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
import trio

from tests.conftest import init_arguments
from tests.processes.waiting import eventually

FOREVER = 600
#: Nothing that has nothing to clean up takes so long to end (seconds).
AT_ONCE = 2.5


class Notes:
    """Lines that any process appends to one file."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, line):
        with open(self.path, "a") as file:  # one write: lines of two processes do not mix
            file.write(f"{line}\n")

    def lines(self):
        path = pathlib.Path(self.path)
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "notes")


@pytest.fixture
def started(fresh_ray):
    """A cluster of its own, which the test may end."""
    fresh_ray.init(**init_arguments())
    return fresh_ray


@pytest.fixture
def plain(request):
    """Creates actors of plain methods that tell of their ends."""

    def create(ray, notes, name, **options):
        @ray.remote(num_cpus=0)
        class Plain:
            def __init__(self):
                self.name = name
                atexit.register(lambda: notes(f"{name}: exit handler"))

            def pid(self):
                return os.getpid()

            def sleep(self):
                try:
                    notes(f"{name}: sleeps")
                    time.sleep(FOREVER)
                finally:
                    notes(f"{name}: finally")

            def nap(self, seconds):
                notes(f"{name}: naps")
                time.sleep(seconds)
                return "had a nap"

            def exit_actor(self):
                ray.actor.exit_actor()

            def sys_exit(self, code):
                sys.exit(code)

            def __ray_shutdown__(self):
                notes(f"{self.name}: hook in {threading.current_thread() is threading.main_thread()}")

        return Plain.options(**options).remote()

    return create


CLEANED = ["a: hook in True", "a: exit handler"]


def test_out_of_scope(ray, notes, plain):
    actor = plain(ray, notes, "a")
    ray.get(actor.pid.remote())
    del actor

    eventually(lambda: notes.lines() == CLEANED)


@pytest.mark.parametrize(
    "end",
    [
        lambda actor: actor.__ray_terminate__.remote(),
        lambda actor: actor.exit_actor.remote(),
        lambda actor: actor.sys_exit.remote(0),
        lambda actor: actor.sys_exit.remote(3),
    ],
    ids=["__ray_terminate__", "exit_actor", "sys.exit(0)", "sys.exit(3)"],
)
def test_ends_from_within(ray, notes, plain, end):
    actor = plain(ray, notes, "a")
    pid = ray.get(actor.pid.remote())
    end(actor)

    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    assert notes.lines() == CLEANED
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.pid.remote(), timeout=20)


def test_an_actor_that_is_restarted_has_cleaned_up_before(ray, notes, plain):
    actors = [plain(ray, notes, "a", max_restarts=1)]
    actors[0].sys_exit.remote(3)

    def restarted():
        try:
            return ray.get(actors[0].pid.remote(), timeout=20)
        except ray.exceptions.ActorUnavailableError:
            return False

    assert eventually(restarted)
    assert notes.lines() == CLEANED
    actors.clear()
    eventually(lambda: notes.lines() == CLEANED * 2)


def test_kill_runs_nothing(ray, notes, plain):
    actor = plain(ray, notes, "a")
    pid = ray.get(actor.pid.remote())
    ray.kill(actor)

    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    assert notes.lines() == []


def test_shutdown(started, notes, plain):
    actor = plain(started, notes, "a")
    started.get(actor.pid.remote())
    started.shutdown()

    assert notes.lines() == CLEANED


def test_a_detached_actor_cleans_up_when_its_cluster_ends(started, notes, plain):
    actor = plain(started, notes, "a", lifetime="detached")
    started.get(actor.pid.remote())
    started.shutdown()

    assert notes.lines() == CLEANED


def test_a_running_call_is_interrupted_when_its_job_ends(started, notes, plain):
    actor = plain(started, notes, "a")
    running = actor.sleep.remote()
    eventually(lambda: notes.lines() == ["a: sleeps"])
    begun = time.monotonic()
    started.shutdown()

    assert time.monotonic() - begun < AT_ONCE
    assert notes.lines() == ["a: sleeps", "a: finally", *CLEANED]
    del running


def test_a_running_task_is_interrupted_when_its_job_ends(started, notes):
    @started.remote
    def task():
        try:
            notes("sleeps")
            time.sleep(FOREVER)
        except KeyboardInterrupt:
            notes("interrupted")
            raise
        finally:
            notes("finally")

    ref = task.remote()
    eventually(lambda: notes.lines() == ["sleeps"])
    started.shutdown()

    assert notes.lines() == ["sleeps", "interrupted", "finally"]
    del ref


def test_a_running_constructor_is_interrupted_and_its_hook_is_not_called(started, notes):
    @started.remote
    class Slow:
        def __init__(self):
            try:
                notes("constructs")
                time.sleep(FOREVER)
            finally:
                notes("finally")

        def __ray_shutdown__(self):
            notes("hook")

    actor = Slow.remote()
    eventually(lambda: notes.lines() == ["constructs"])
    started.shutdown()

    assert notes.lines() == ["constructs", "finally"]
    del actor


def test_a_task_that_waits_for_another_is_interrupted(started, notes):
    @started.remote(num_cpus=1)
    def inner():
        try:
            notes("inner sleeps")
            time.sleep(FOREVER)
        finally:
            notes("inner finally")

    @started.remote(num_cpus=4)
    def outer():
        try:
            started.get(inner.remote())
        finally:
            notes("outer finally")

    ref = outer.remote()
    eventually(lambda: notes.lines() == ["inner sleeps"])
    started.shutdown()

    assert sorted(notes.lines()) == ["inner finally", "inner sleeps", "outer finally"]
    del ref


@pytest.fixture
def asynchronous():
    def create(ray, notes, hook=None, **options):
        @ray.remote(num_cpus=0)
        class Async:
            async def pid(self):
                return os.getpid()

            async def wait(self, flavour):
                notes("waits")
                async with Block():
                    await {"asyncio": asyncio, "trio": trio}[flavour].sleep(FOREVER)

            async def nap(self, seconds):
                notes("naps")
                await asyncio.sleep(seconds)
                return "had a nap"

            async def leave(self):
                ray.actor.exit_actor()

            async def __trayray_shutdown__(self):
                await asyncio.sleep(0.01)
                await trio.sleep(0.01)
                notes("hook")

            async def __ray_shutdown__(self):
                notes("the other hook")

        class Block:
            async def __aenter__(self):
                pass

            async def __aexit__(self, *_):
                with trio.CancelScope(shield=True):
                    await asyncio.sleep(0.01)
                notes("__aexit__")

        return Async.options(**options).remote()

    return create


@pytest.mark.parametrize("flavour", ["asyncio", "trio"])
@pytest.mark.parametrize("end", ["shutdown", "exit_actor"])
def test_async_calls_and_the_hook(started, notes, asynchronous, flavour, end):
    actor = asynchronous(started, notes)
    pid = started.get(actor.pid.remote())
    refs = [actor.wait.remote(flavour) for _ in range(2)]
    eventually(lambda: notes.lines() == ["waits", "waits"])
    if end == "shutdown":
        started.shutdown()
    else:
        actor.leave.remote()
        for ref in refs:
            with pytest.raises(started.exceptions.ActorDiedError, match="exit_actor"):
                started.get(ref, timeout=20)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"))

    assert notes.lines() == ["waits", "waits", "__aexit__", "__aexit__", "hook"]


def test_an_asyncio_finally_may_await(started, notes):
    """As in asyncio, CancelledError comes once."""

    @started.remote
    class Async:
        async def wait(self):
            notes("waits")
            try:
                await asyncio.sleep(FOREVER)
            finally:
                await asyncio.sleep(0.01)
                notes("finally")

    actor = Async.remote()
    ref = actor.wait.remote()
    eventually(lambda: notes.lines() == ["waits"])
    started.shutdown()

    assert notes.lines() == ["waits", "finally"]
    del ref


def test_a_call_that_blocks_its_loop_is_interrupted(started, notes):
    @started.remote
    class Blocking:
        async def block(self):
            notes("blocks")
            time.sleep(FOREVER)  # noqa: ASYNC251 -- that is the mistake

        async def wait(self):
            try:
                notes("waits")
                await asyncio.sleep(FOREVER)
            finally:
                notes("finally")

        async def __ray_shutdown__(self):
            notes("hook")

    actor = Blocking.remote()
    refs = [actor.wait.remote(), actor.block.remote()]
    eventually(lambda: notes.lines() == ["waits", "blocks"])
    begun = time.monotonic()
    started.shutdown()

    assert time.monotonic() - begun < AT_ONCE
    assert notes.lines() == ["waits", "blocks", "finally", "hook"]
    del refs


def test_terminate_lets_async_calls_end(ray, notes, asynchronous):
    actor = asynchronous(ray, notes)
    nap = actor.nap.remote(0.3)
    eventually(lambda: notes.lines() == ["naps"])
    actor.__ray_terminate__.remote()

    assert ray.get(nap, timeout=20) == "had a nap"
    eventually(lambda: notes.lines() == ["naps", "hook"])


def test_terminate_lets_calls_in_threads_end(ray, notes, plain):
    actor = plain(ray, notes, "a", max_concurrency=3)
    naps = [actor.nap.remote(0.3), actor.nap.remote(0.3)]
    eventually(lambda: notes.lines() == ["a: naps"] * 2)
    actor.__ray_terminate__.remote()

    assert ray.get(naps, timeout=20) == ["had a nap"] * 2
    eventually(lambda: notes.lines() == ["a: naps", "a: naps", *CLEANED])


def test_calls_in_threads_are_interrupted(started, notes):
    @started.remote(max_concurrency=2)
    class Threaded:
        def work(self):
            try:
                notes("works")
                while True:
                    time.sleep(0.01)
            finally:
                notes("finally")

        def __ray_shutdown__(self):
            notes("hook")

    actor = Threaded.remote()
    refs = [actor.work.remote(), actor.work.remote()]
    eventually(lambda: notes.lines() == ["works", "works"])
    started.shutdown()

    assert notes.lines() == ["works", "works", "finally", "finally", "hook"]
    del refs


def test_younger_actors_end_first_and_may_use_older_ones(started, notes):
    @started.remote(num_cpus=0)
    class Shop:
        def __init__(self, name, other=None):
            self.name, self.other = name, other

        def sell(self, what):
            notes(f"{self.name} sells {what}")
            return what

        def __ray_shutdown__(self):
            if self.other is not None:
                started.get(self.other.sell.remote(f"something to {self.name}"), timeout=20)
            notes(f"{self.name} closes")

    @started.remote(num_cpus=0)
    class Silent:
        def sell(self, what):
            notes(f"silent sells {what}")

    silent = Silent.remote()
    first = Shop.remote("first", silent)
    second = Shop.remote("second", first)
    third = Shop.remote("third", second)
    started.get(third.sell.remote("nothing"))
    started.shutdown()

    assert notes.lines() == [
        "third sells nothing",
        "second sells something to third",
        "third closes",
        "first sells something to second",
        "second closes",
        "silent sells something to first",
        "first closes",
    ]


def test_what_an_actor_has_created_ends_before_it(started, notes):
    class Parent:
        def __init__(self, depth):
            self.depth = depth
            if depth:
                self.child = started.remote(num_cpus=0)(type(self)).remote(depth - 1)
                started.get(self.child.ready.remote())

        def ready(self):
            return True

        def __ray_shutdown__(self):
            notes(f"depth {self.depth}")

    parent = started.remote(num_cpus=0)(Parent).remote(2)
    started.get(parent.ready.remote())
    started.shutdown()

    assert notes.lines() == ["depth 0", "depth 1", "depth 2"]


def test_actors_end_with_their_owner(ray, notes, plain):
    @ray.remote(num_cpus=0)
    class Owner:
        def create(self, names):
            self.actors = [plain(ray, notes, name) for name in names]
            return ray.get([actor.pid.remote() for actor in self.actors])

        def crash(self):
            os._exit(1)

    owner = Owner.remote()
    pids = ray.get(owner.create.remote(["a", "b"]), timeout=20)
    owner.crash.remote()

    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    assert notes.lines() == ["b: hook in True", "b: exit handler", *CLEANED]


def test_a_worker_that_is_used_up_runs_its_exit_handlers(ray, notes):
    @ray.remote(max_calls=1)
    def task():
        atexit.register(notes, "exit handler")

    ray.get(task.remote())
    eventually(lambda: notes.lines() == ["exit handler"])


def test_a_failing_hook_is_reported_and_the_rest_follows(fresh_ray, notes, capfd):
    fresh_ray.init(**init_arguments(log_to_driver=True))

    @fresh_ray.remote
    class Failing:
        def __init__(self):
            atexit.register(notes, "exit handler")

        def ready(self):
            return True

        def __ray_shutdown__(self):
            raise LookupError("no such drawer")

    actor = Failing.remote()
    fresh_ray.get(actor.ready.remote())
    fresh_ray.shutdown()

    assert notes.lines() == ["exit handler"]
    error = capfd.readouterr().err
    assert "Failing.__ray_shutdown__() raised an exception" in error
    assert "LookupError: no such drawer" in error


# --- deadlines --------------------------------------------------------------------------------------------------------


@pytest.fixture
def stubborn():
    def create(ray, notes, name):
        @ray.remote(num_cpus=0)
        class Stubborn:
            def ready(self):
                return True

            def __ray_shutdown__(self):
                notes(f"{name} begins")
                time.sleep(FOREVER)

        actor = Stubborn.remote()
        ray.get(actor.ready.remote())
        return actor

    return create


def test_who_takes_too_long_is_killed_and_the_driver_is_told(fresh_ray, notes, stubborn, plain, monkeypatch, capfd):
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", "0.4")
    fresh_ray.init(**init_arguments(log_to_driver=True))
    actors = [plain(fresh_ray, notes, "a"), stubborn(fresh_ray, notes, "b")]
    fresh_ray.get(actors[0].pid.remote())
    begun = time.monotonic()
    fresh_ray.shutdown()

    assert notes.lines() == ["b begins", *CLEANED]
    assert 0.4 <= time.monotonic() - begun < 0.4 + AT_ONCE
    assert "TRAYRAY_SHUTDOWN_SECONDS=0.4" in capfd.readouterr().err


def test_all_together_take_twice_the_time_of_one(fresh_ray, notes, stubborn, monkeypatch):
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", "0.3")
    fresh_ray.init(**init_arguments())
    actors = [stubborn(fresh_ray, notes, name) for name in "abcd"]
    begun = time.monotonic()
    fresh_ray.shutdown()

    assert notes.lines() == ["d begins", "c begins"]
    assert 0.6 <= time.monotonic() - begun < 0.6 + AT_ONCE
    del actors


def test_an_actor_that_leaves_by_itself_has_the_same_time(fresh_ray, notes, stubborn, monkeypatch):
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", "0.3")
    fresh_ray.init(**init_arguments())
    actor = stubborn(fresh_ray, notes, "a")
    pid = fresh_ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
    actor.__ray_terminate__.remote()

    eventually(lambda: not os.path.exists(f"/proc/{pid}"), 5)
    assert notes.lines() == ["a begins"]


def test_zero_seconds_switch_it_off(fresh_ray, notes, plain, monkeypatch):
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", "0")
    fresh_ray.init(**init_arguments())
    actor = plain(fresh_ray, notes, "a")
    fresh_ray.get(actor.pid.remote())
    fresh_ray.shutdown()

    assert notes.lines() == []


def test_a_wrong_setting_is_refused(fresh_ray, monkeypatch):
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", "soon")
    with pytest.raises(ValueError, match="TRAYRAY_SHUTDOWN_SECONDS must be a number"):
        fresh_ray.init(**init_arguments())


def test_code_that_cannot_be_interrupted_does_not_delay_the_end(started, notes):
    """It holds the interpreter's lock, so that its process cannot even say whether it has anything to clean up."""

    @started.remote
    def task():
        notes("runs")
        return sum(range(10**11))

    ref = task.remote()
    eventually(lambda: notes.lines() == ["runs"])
    begun = time.monotonic()
    started.shutdown()

    assert time.monotonic() - begun < AT_ONCE
    del ref


# --- ends of drivers and nodes ----------------------------------------------------------------------------------------

PROGRAM = """
import os, signal, sys, time
import trayray as ray

ray.init(address="local", num_cpus=2, object_store_memory=80 * 2**20, log_to_driver=False)


def note(line):
    with open(NOTES, "a") as file:
        file.write(line + "\\n")


@ray.remote(num_cpus=0)
class Actor:
    def ready(self):
        return True

    def sleep(self):
        try:
            note("sleeps")
            time.sleep(600)
        finally:
            note("finally")

    def __ray_shutdown__(self):
        time.sleep(0.2)
        note("hook")


actor = Actor.remote()
ray.get(actor.ready.remote())
call = actor.sleep.remote()
print(ray.get_runtime_context().get_temp_dir(), flush=True)
sys.stdin.readline()
END
"""
ENDS = {
    "end of the script": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "exception": ("raise LookupError", 1),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "os._exit": ("os._exit(4)", 4),
    # The shell shows 130.
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT),
}


@pytest.fixture
def directory():
    """For the cluster of a program. Its name is short: the path of a Unix socket may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="c") as name:
        yield pathlib.Path(name)


@pytest.fixture
def program(directory, notes):
    """Starts a driver whose actor runs a call and has a hook; returns it when the call runs."""
    processes = []

    def start(end):
        process = subprocess.Popen(
            [sys.executable, "-c", f"NOTES = {notes.path!r}\n" + PROGRAM.replace("END", end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(directory)},
            start_new_session=True,
        )
        processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        eventually(lambda: notes.lines() == ["sleeps"])
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", ENDS)
def test_however_a_driver_ends(program, notes, end):
    code, status = ENDS[end]
    driver = program(code)
    driver.stdin.write(b"\n")
    driver.stdin.flush()

    assert driver.wait(20) == status
    eventually(lambda: notes.lines() == ["sleeps", "finally", "hook"])


def node_of(directory):
    (address,) = directory.glob("*/session_*/address.json")
    return json.loads(address.read_text())["pid"]


def test_a_node_that_is_told_to_end_lets_its_workers_clean_up(program, notes, directory):
    program("time.sleep(60)")
    os.kill(node_of(directory), signal.SIGTERM)

    eventually(lambda: notes.lines() == ["sleeps", "finally", "hook"])


def test_a_node_that_is_told_twice_ends_at_once(program, notes, directory):
    driver = program("time.sleep(60)")
    node = node_of(directory)
    os.kill(node, signal.SIGTERM)
    eventually(lambda: notes.lines() == ["sleeps", "finally"])
    os.kill(node, signal.SIGTERM)

    eventually(lambda: not os.path.exists(f"/proc/{node}") or _is_zombie(node))
    assert notes.lines() == ["sleeps", "finally"]
    driver.kill()


def _is_zombie(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"


def test_a_call_that_the_end_interrupts_has_no_result_of_its_own(fresh_ray, tmp_path):
    """KeyboardInterrupt is how the call is ended, not what its caller gets: there it would look like Ctrl-C."""
    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=1))
    runs, cleaned = tmp_path / "runs", tmp_path / "cleaned"

    @ray.remote(max_retries=0)
    def sleeps():
        try:
            runs.touch()
            time.sleep(FOREVER)
        finally:
            cleaned.touch()

    ref = sleeps.remote()
    eventually(runs.exists)
    ray.shutdown()
    assert cleaned.exists()
    with pytest.raises(ray.exceptions.RaySystemError):
        ray.get(ref)
