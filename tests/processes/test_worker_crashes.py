"""A worker dies: its calls are retried or fail with the cause, its children die with it, and the cluster goes on."""

import asyncio
import contextlib
import ctypes
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.processes.scene import PROMISED_SECONDS
from tests.processes.waiting import eventually

SEED = os.environ.get("TRAYRAY_TEST_SEED", "1")
FOREVER = 600


def alive(pid):
    """Whether a process runs; one that waits to be reaped has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def within_promise(since, condition):
    eventually(condition, PROMISED_SECONDS - (time.monotonic() - since))


@pytest.fixture(autouse=True)
def everything_comes_back(ray):
    """After each test the cluster works and has its resources again."""
    total = ray.cluster_resources()
    yield
    eventually(lambda: ray.available_resources() == total, PROMISED_SECONDS)

    @ray.remote
    def works():
        return "it does"

    assert ray.get(works.remote(), timeout=10) == "it does"


@pytest.fixture
def noted(tmp_path):
    """What the victim notes: its process id and those of its children, once it does what it is to die of."""
    path = tmp_path / "noted"

    def read():
        return path.exists() and [int(pid) for pid in path.read_text().split()]

    read.path = path
    return read


# ---------------------------------------------------------------- ways to be busy; the last word is said before


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(path, *children):
    say("last words")
    text = " ".join(map(str, [os.getpid(), *(child.pid for child in children)]))
    pathlib.Path(f"{path}.new").write_text(text)
    os.replace(f"{path}.new", path)


def sleep(path):
    note(path)
    time.sleep(FOREVER)


def loop(path):
    note(path)
    sum(range(10**11))


def wait_for_children(path):
    command = ["sleep", str(FOREVER)]
    grandchildren = subprocess.Popen(["sh", "-c", f"sleep {FOREVER} & setsid sleep {FOREVER} & echo $! & wait"])
    children = [subprocess.Popen(command), subprocess.Popen(command, start_new_session=True), grandchildren]
    note(path, *children)
    children[0].wait()


def wait_for_a_reference(path):
    import trayray as ray

    @ray.remote(num_cpus=1)
    def nested():
        time.sleep(FOREVER)

    ref = nested.remote()
    note(path)
    ray.get(ref)


TASKS = [sleep, loop, wait_for_children, wait_for_a_reference]


class Actor:
    def run(self, function, *args):
        return function(*args)


class AsyncActor:
    async def run(self, function, *args):
        await asyncio.sleep(0)
        if function is sleep:
            note(*args)
            await asyncio.sleep(FOREVER)
        return function(*args)


ACTORS = {"sync": (Actor, {}), "async": (AsyncActor, {}), "threaded": (Actor, {"max_concurrency": 3})}


def kill_at_a_random_moment(request, noted):
    """Kill the process that has noted itself; its id, its children's, and when that was."""
    name = f"{request.node.name} with TRAYRAY_TEST_SEED={SEED}"
    moment = random.Random(name).uniform(0, 0.2)
    say(f"{name}: kill -9 after {moment:.3f} s")
    pid, *children = eventually(noted)
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)
    return pid, children, time.monotonic()


# ---------------------------------------------------------------- kill -9


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("attempt", range(2))
def test_killed_worker_fails_its_task(ray, request, noted, task, attempt):
    ref = ray.remote(task).options(max_retries=0).remote(noted.path)
    pid, children, killed = kill_at_a_random_moment(request, noted)

    with pytest.raises(ray.exceptions.WorkerCrashedError) as caught:
        ray.get(ref, timeout=PROMISED_SECONDS)
    text = str(caught.value)
    assert task.__name__ in text
    assert f"pid {pid}, node 127.0.0.1" in text
    assert "signal 9 (SIGKILL)" in text
    assert "last words" in text
    within_promise(killed, lambda: not any(map(alive, [pid, *children])))


@pytest.mark.parametrize("kind", ACTORS)
@pytest.mark.parametrize("attempt", range(2))
def test_killed_worker_fails_its_actors_calls(ray, request, noted, kind, attempt):
    cls, options = ACTORS[kind]
    actor = ray.remote(cls).options(**options).remote()
    ref = actor.run.remote(sleep, noted.path)
    pid, _, killed = kill_at_a_random_moment(request, noted)

    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(ref, timeout=PROMISED_SECONDS)
    text = str(caught.value)
    assert cls.__name__ in text
    assert f"pid {pid}" in text
    assert "signal 9 (SIGKILL)" in text
    assert "last words" in text
    within_promise(killed, lambda: not alive(pid))
    with pytest.raises(ray.exceptions.ActorDiedError, match="SIGKILL"):
        ray.get(actor.run.remote(os.getpid), timeout=PROMISED_SECONDS)


def test_actor_that_is_created_meanwhile_does_not_mind_the_death_of_idle_workers(ray):
    """A worker that was chosen for an actor and dies before it has become it is replaced."""

    @ray.remote
    class Slow:
        def ready(self):
            return os.getpid()

    @ray.remote
    def me():
        return os.getpid()

    for _ in range(10):
        idle = set(ray.get([me.remote() for _ in range(4)], timeout=10))
        actors = [Slow.remote() for _ in range(2)]
        for pid in idle:
            os.kill(pid, signal.SIGKILL)
        for ref in [actor.ready.remote() for actor in actors]:
            with contextlib.suppress(ray.exceptions.ActorDiedError):  # the worker was the actor already
                ray.get(ref, timeout=10)


def test_killed_worker_is_replaced_and_its_task_retried(ray, tmp_path):
    @ray.remote
    def survive(path):
        attempts = path / "attempts"
        with attempts.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(attempts.read_text().split()) < 4:
            time.sleep(FOREVER)
        return len(attempts.read_text().split())

    def attempts():
        path = tmp_path / "attempts"
        return path.exists() and [int(pid) for pid in path.read_text().split()]

    ref = survive.remote(tmp_path)
    for count in range(1, 4):
        pids = eventually(lambda count=count: (pids := attempts()) and len(pids) == count and pids)
        os.kill(pids[-1], signal.SIGKILL)

    assert ray.get(ref, timeout=PROMISED_SECONDS) == 4


def test_default_is_three_retries(ray, tmp_path):
    @ray.remote
    def crash(path):
        with (path / "attempts").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ray.exceptions.WorkerCrashedError, match="SIGKILL"):
        ray.get(crash.remote(tmp_path), timeout=10)
    assert (tmp_path / "attempts").read_text() == "xxxx"


def test_children_live_as_long_as_their_worker_wherever_they_have_gone(ray):
    """Also a daemon, which its parent has abandoned, while other workers die."""

    @ray.remote
    class Parent:
        def spawn(self):
            shown = subprocess.run(
                ["sh", "-c", f"setsid sleep {FOREVER} > /dev/null 2>&1 & echo $!"], stdout=subprocess.PIPE, check=True
            )
            return int(shown.stdout), os.getpid()

    first, second = Parent.remote(), Parent.remote()
    (mine, parent), (other, _) = ray.get([first.spawn.remote(), second.spawn.remote()], timeout=10)
    os.kill(parent, signal.SIGKILL)
    killed = time.monotonic()

    within_promise(killed, lambda: not alive(mine))
    assert alive(other)
    ray.kill(second)
    eventually(lambda: not alive(other), PROMISED_SECONDS)


def test_users_subprocesses_take_the_usual_signals(ray):
    """Nothing that the runtime ignores is ignored in what user code starts."""

    @ray.remote
    def end(number):
        with subprocess.Popen(["sleep", str(FOREVER)]) as process:
            process.send_signal(number)
            return process.wait(5)

    for number in (signal.SIGTERM, signal.SIGINT):
        assert ray.get(end.remote(number), timeout=10) == -number


# ---------------------------------------------------------------- other ends, and what is said about them


def exit_by_sys(code):
    say("before the exit")
    sys.exit(code)


def exit_by_os(code):
    say("before the exit")
    os._exit(code)


def read_nothing(_):
    return ctypes.string_at(0)


def run_out_of_memory(_):
    return bytearray(1 << 62)


CRASHES = [
    (exit_by_sys, ["exit code 3", "in exit_by_sys", "SystemExit: 3"]),
    (exit_by_os, ["exit code 3", "before the exit"]),
    (read_nothing, ["signal 11 (SIGSEGV)", "Segmentation fault", "in read_nothing", "string_at"]),
]


@pytest.mark.parametrize(("crash", "expected"), CRASHES)
def test_crash_of_a_task_says_how(ray, crash, expected):
    with pytest.raises(ray.exceptions.WorkerCrashedError) as caught:
        ray.get(ray.remote(crash).options(max_retries=0).remote(3), timeout=10)

    text = str(caught.value)
    assert crash.__name__ in text
    assert re.search(r"pid \d+", text)
    assert [part for part in expected if part not in text] == [], text


@pytest.mark.parametrize(("crash", "expected"), CRASHES)
@pytest.mark.parametrize("kind", ACTORS)
def test_crash_of_an_actor_says_how(ray, kind, crash, expected):
    cls, options = ACTORS[kind]
    actor = ray.remote(cls).options(**options).remote()
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(actor.run.remote(crash, 3), timeout=10)

    text = str(caught.value)
    assert cls.__name__ in text
    assert re.search(r"pid \d+", text)
    assert [part for part in expected if part not in text] == [], text


@pytest.mark.parametrize("crash", [exit_by_os, exit_by_sys])
def test_crash_of_a_constructor_says_how(ray, crash):
    @ray.remote
    class Broken:
        def __init__(self):
            crash(3)

        def method(self):
            return "never"

    actor = Broken.remote()
    with pytest.raises(ray.exceptions.ActorDiedError, match="exit code 3"):
        ray.get(actor.method.remote(), timeout=10)


def test_memory_error_is_an_ordinary_exception(ray):
    with pytest.raises(MemoryError):
        ray.get(ray.remote(run_out_of_memory).remote(0), timeout=10)
    actor = ray.remote(Actor).remote()
    with pytest.raises(MemoryError):
        ray.get(actor.run.remote(run_out_of_memory, 0), timeout=10)

    assert ray.get(actor.run.remote(len, "it lives"), timeout=10) == 8


def test_a_crash_report_names_the_line_of_the_call(ray):
    import inspect

    @ray.remote(max_retries=0)
    def end():
        os._exit(3)

    line = inspect.currentframe().f_lineno + 1
    ref = end.remote()
    with pytest.raises(ray.exceptions.WorkerCrashedError, match=rf"test_worker_crashes\.py:{line} in test_a_crash"):
        ray.get(ref, timeout=30)


def test_a_killed_workers_report_tells_its_peak_memory(ray):
    @ray.remote
    class Victim:
        def end(self):
            os.kill(os.getpid(), 9)

    victim = Victim.remote()
    with pytest.raises(ray.exceptions.ActorDiedError, match=r"had reached \d+ MiB of the machine's \d+ MiB"):
        ray.get(victim.end.remote(), timeout=30)
