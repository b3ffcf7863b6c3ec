"""How the mode is chosen, what tools see in it, and the Trio face of it."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import trio

import trayray
from tests.conftest import init_arguments
from trayray.api.session import session

ROOT = pathlib.Path(__file__).parent.parent.parent

# --- choosing ---


def test_the_environment_chooses(fresh_ray, monkeypatch):
    monkeypatch.setenv("TRAYRAY_MODE", "in_process")
    fresh_ray.init(**init_arguments())
    assert fresh_ray.get(fresh_ray.remote(os.getpid).remote()) == os.getpid()


def test_the_argument_wins(fresh_ray, monkeypatch):
    monkeypatch.setenv("TRAYRAY_MODE", "in_process")
    fresh_ray.init(**init_arguments(mode="processes"))
    assert fresh_ray.get(fresh_ray.remote(os.getpid).remote()) != os.getpid()


@pytest.mark.parametrize("mode", ["", "threads", 1])
def test_an_unknown_mode_is_refused(fresh_ray, mode):
    with pytest.raises(ValueError, match="mode must be 'in_process' or 'processes'"):
        fresh_ray.init(mode=mode)
    assert not fresh_ray.is_initialized()


def test_an_unknown_mode_in_the_environment_is_refused(fresh_ray, monkeypatch):
    monkeypatch.setenv("TRAYRAY_MODE", "thread")
    with pytest.raises(ValueError, match="TRAYRAY_MODE must be"):
        fresh_ray.init()


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379"])
def test_another_clusters_address_is_refused(fresh_ray, address):
    with pytest.raises(ValueError, match="leave one of them out"):
        fresh_ray.init(address, mode="in_process")


def test_a_failed_start_leaves_nothing(fresh_ray):
    before = set(threading.enumerate())
    with pytest.raises(TypeError):
        fresh_ray.init(mode="in_process", runtime_env={"env_vars": {"NUMBER": 1}})
    assert not fresh_ray.is_initialized()
    assert set(threading.enumerate()) <= before


def test_environment_variables_hold_for_the_process_until_the_end(fresh_ray, monkeypatch):
    monkeypatch.setenv("PRESENT", "before")
    monkeypatch.delenv("ABSENT", raising=False)
    fresh_ray.init(mode="in_process", runtime_env={"env_vars": {"PRESENT": "job", "ABSENT": "job"}})

    @fresh_ray.remote
    def read():
        return os.environ["PRESENT"], os.environ["ABSENT"]

    assert fresh_ray.get(read.remote()) == ("job", "job")
    fresh_ray.shutdown()
    assert os.environ["PRESENT"] == "before"
    assert "ABSENT" not in os.environ


def test_start_and_end_are_quick(fresh_ray):
    """At best: other programs may have the processors just now."""
    starts: list[float] = []
    for _ in range(10):
        began = time.perf_counter()
        fresh_ray.init(**init_arguments(mode="in_process"))
        starts.append(time.perf_counter() - began)
        fresh_ray.shutdown()
    assert min(starts) < 0.02


def test_no_file_is_made(fresh_ray):
    context = fresh_ray.init(**init_arguments(mode="in_process"))
    fresh_ray.get(fresh_ray.remote(lambda: 1).remote())
    assert not os.path.exists(context["session_dir"])


def test_breakpoints_stop_in_a_task(ray, monkeypatch):
    stops = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: stops.append(sys._getframe(1).f_locals["secret"]))
    assert ray.get(ray.remote(stopping).remote(42)) == 43
    assert stops == [42]


def stopping(secret):
    breakpoint()
    return secret + 1


# --- coverage ---

COVERED = """
import trayray as ray


@ray.remote
def task(number):
    doubled = number * 2
    return doubled


@ray.remote
class Actor:
    def __init__(self):
        self.number = 1

    def method(self):
        self.number += 1
        return self.number

    async def later(self):
        result = self.method()
        return result


@ray.remote(max_concurrency=2)
class Threaded:
    def method(self):
        result = 1
        return result


ray.init(mode="in_process", num_cpus=2)
actor, threaded = Actor.remote(), Threaded.remote()
assert ray.get([task.remote(2), actor.method.remote(), actor.later.remote(), threaded.method.remote()]) == [4, 2, 3, 1]
ray.shutdown()
"""


def test_coverage_sees_tasks_and_actors(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(COVERED)
    data = f"--data-file={tmp_path / 'data'}"
    coverage = [sys.executable, "-m", "coverage"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [*coverage, "run", "--rcfile=/dev/null", data, f"--include={program}", str(program)]
    subprocess.run(run, check=True, env=environment, cwd=tmp_path, timeout=60)
    report = [*coverage, "json", "--rcfile=/dev/null", data, "-o", "-"]
    result = subprocess.run(report, check=True, env=environment, cwd=tmp_path, capture_output=True, timeout=60)
    (covered,) = json.loads(result.stdout)["files"].values()
    assert covered["missing_lines"] == []
    assert covered["summary"]["percent_covered"] == 100


# --- in the caller's own loop ---


class Counter:
    def __init__(self):
        self.value = 0

    def add(self):
        self.value += 1
        return self.value

    def __trayray_shutdown__(self):
        ends.append(self.value)


ends: list[int] = []
started = threading.Event()


def spin():
    started.set()
    while True:
        pass


OPTIONS = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "in_process": True}


async def test_a_cluster_in_the_callers_loop(fresh_ray):
    before = set(threading.enumerate())
    async with fresh_ray.open_cluster(**OPTIONS):
        loop = threading.get_ident()
        assert await fresh_ray.remote(threading.get_ident).remote() != loop
        async with fresh_ray.open_actor(fresh_ray.remote(Counter)) as counter:
            assert await counter.add.remote() == 1
        workers = {thread for thread in threading.enumerate() if thread.name.startswith("ray::")}
        assert workers
    assert not workers & set(threading.enumerate())
    assert not {thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("Trio thread")}
    assert not fresh_ray.is_initialized()


async def test_what_is_large_can_be_put_and_got_in_the_loops_thread(fresh_ray):
    async with fresh_ray.open_cluster(**OPTIONS):
        ref = fresh_ray.put(np.arange(10**6))
        assert await fresh_ray.remote(np.sum).remote(ref) == 499999500000
        assert fresh_ray.get(ref)[-1] == 999999


async def test_a_put_that_has_to_wait_for_others_says_where_it_can(fresh_ray):
    async with fresh_ray.open_cluster(**OPTIONS):
        kept = [fresh_ray.put(np.zeros(4 * 2**20))]  # 32 of 80 MiB
        with pytest.raises(RuntimeError, match=r"to_thread\.run_sync"):
            kept += [fresh_ray.put(np.zeros(4 * 2**20)) for _ in range(3)]
        assert await trio.to_thread.run_sync(fresh_ray.put, np.zeros(4 * 2**20))


async def test_cancelling_the_block_ends_the_cluster_and_cleans_up(fresh_ray):
    ends.clear()
    started.clear()
    with trio.CancelScope() as scope:
        async with fresh_ray.open_cluster(**OPTIONS):
            counter = fresh_ray.remote(Counter).remote()
            assert await counter.add.remote() == 1
            spinning = fresh_ray.remote(spin).remote()
            await trio.to_thread.run_sync(started.wait)
            scope.cancel()
            await spinning
    assert scope.cancelled_caught
    assert ends == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ray::")]


async def test_an_error_of_the_block_leaves_as_it_is(fresh_ray):
    with pytest.raises(KeyError, match="mine"):
        async with fresh_ray.open_cluster(**OPTIONS):
            raise KeyError("mine")
    assert session.connection is None


async def test_cancelling_a_call_ends_its_code(fresh_ray):
    started.clear()
    async with fresh_ray.open_cluster(**OPTIONS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trayray.call, fresh_ray.remote(spin))
            await trio.to_thread.run_sync(started.wait)
            nursery.cancel_scope.cancel()
        assert not [thread for thread in threading.enumerate() if thread.name == "ray::spin" and _is_spinning(thread)]


def _is_spinning(thread):
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_code is spin.__code__
