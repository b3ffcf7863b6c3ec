"""`open_cluster` and `connect`: membership as a block of the caller's own loop."""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import trio

import trayray
from tests import leftovers
from tests.processes.cancelled import alive
from tests.processes.waiting import eventually
from trayray.exceptions import LocalRayletDiedError, RaySystemError
from trayray.worker.current import core_worker

MEBIBYTE = 1024 * 1024
SMALL = {"num_cpus": 2, "object_store_memory": 100 * MEBIBYTE, "log_to_driver": False}


@trayray.remote
def add(x, y=1):
    return x + y


@trayray.remote
def fail():
    raise ValueError("remote")


@trayray.remote
def pid():
    return os.getpid()


@trayray.remote
def note_end(path):
    path.write_text(str(os.getpid()))
    try:
        time.sleep(60)
    finally:
        path.unlink()


async def until(condition):
    while not condition():
        await trio.sleep(0.005)


async def test_everything_is_gone_when_the_block_is_left(tmp_path):
    path = tmp_path / "note"
    async with trayray.open_cluster(**SMALL) as cluster:
        assert trayray.is_initialized()
        assert await add.remote(1) == 2
        worker = await pid.remote()
        note_end.remote(path)  # nobody's child: it ends with the cluster, and cleans up
        await until(path.exists)
        assert cluster.address == trayray.get_runtime_context().gcs_address
        assert cluster.job_id == "01000000"
    assert not trayray.is_initialized()
    assert not path.exists()
    assert not alive(worker)
    assert sorted(path.name for path in cluster.session_dir.iterdir()) == ["logs"]


async def test_the_core_worker_is_a_task_of_the_callers_loop():
    before = {thread.name for thread in threading.enumerate()}
    async with trayray.open_cluster(**SMALL):
        core = core_worker()
        assert core is not None
        assert core.in_loop
        assert await add.remote(1) == 2
        new = {thread.name for thread in threading.enumerate()} - before
        assert not [name for name in new if not name.startswith("Trio thread")]


async def test_errors_leave_the_block_as_they_are():
    with pytest.raises(KeyError):
        async with trayray.open_cluster(**SMALL):
            raise KeyError
    with pytest.raises(ValueError, match="remote"):
        async with trayray.open_cluster(**SMALL):
            await fail.remote()
    with trio.move_on_after(0.5) as scope:
        async with trayray.open_cluster(**SMALL):
            await trio.sleep_forever()
    assert scope.cancelled_caught


@trayray.remote
class SlowToLeave:
    def __init__(self, path):
        self.path = path

    def __trayray_shutdown__(self):
        time.sleep(0.3)
        self.path.touch()


async def test_what_is_cancelled_around_the_cluster_ends_what_is_in_it_first(tmp_path):
    path = tmp_path / "cleaned up"
    answers = []
    with trio.CancelScope() as scope:
        async with trayray.open_cluster(**SMALL), trayray.open_actor(SlowToLeave, path):
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    answers.append(await trayray.call(add, 1))
                    assert not path.exists()
    assert answers == [2]
    assert path.exists()


async def test_what_is_raised_while_everything_is_cancelled_is_not_lost(tmp_path):
    with pytest.raises(ExceptionGroup) as caught, trio.CancelScope() as scope:
        async with trayray.open_cluster(**SMALL), trio.open_nursery():
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("while leaving")
    assert caught.group_contains(OSError, match="while leaving", depth=1)


async def test_waiting_in_the_loops_own_thread_is_refused():
    async with trayray.open_cluster(**SMALL):
        ref = add.remote(1)
        with pytest.raises(RuntimeError, match=r"await ref"):
            trayray.get(note_end.remote(pathlib.Path("/nowhere")))
        with pytest.raises(RuntimeError, match=r"to_thread"):
            trayray.nodes()
        assert await ref == 2
        assert trayray.get(ref) == 2, "what is there needs no waiting"
        assert trayray.wait([ref], timeout=0) == ([ref], [])
        assert await trio.to_thread.run_sync(trayray.get, add.remote(2)) == 3
        assert len(await trio.to_thread.run_sync(trayray.nodes)) == 1


async def test_large_objects_are_put_and_read_in_the_loops_own_thread():
    async with trayray.open_cluster(**SMALL):
        array = np.arange(MEBIBYTE)
        assert (await trayray.put(array) == array).all()
        assert await trayray.call(add, array, 1) is not None
        # More than the store holds: the node spills while this thread waits, and brings back.
        refs = [trayray.put(np.full(2 * MEBIBYTE, i)) for i in range(10)]
        assert [int((await ref)[-1]) for ref in refs] == list(range(10))
        assert [int(trayray.get(ref)[0]) for ref in refs] == list(range(10))


async def test_one_membership_at_a_time():
    async with trayray.open_cluster(**SMALL):
        with pytest.raises(RuntimeError, match="belongs to a cluster already"):
            async with trayray.open_cluster(**SMALL):
                pass
        with pytest.raises(RuntimeError, match="init twice"):
            trayray.init()
        with pytest.raises(RuntimeError, match="leave that block"):
            trayray.shutdown()
        assert await add.remote(1) == 2
    async with trayray.open_cluster(**SMALL):
        assert await add.remote(2) == 3


async def test_bad_arguments_are_told_before_anything_starts():
    with pytest.raises(ValueError, match="nonnegative"):
        async with trayray.open_cluster(num_cpus=-1):
            pass
    with pytest.raises(RuntimeError, match="Unknown keyword"):
        async with trayray.open_cluster(nonsense=1):
            pass
    with pytest.raises(ConnectionError, match="No cluster"):
        async with trayray.connect("127.0.0.1:1"):
            pass


def test_elsewhere_than_in_trio_it_says_what_to_do():
    async def main():
        async with trayray.open_cluster():
            pass

    with pytest.raises(RuntimeError, match=r"trayray\.init\(\)"):
        asyncio.run(main())


async def test_without_a_cluster_there_is_nothing_to_call():
    with pytest.raises(RaySystemError, match="open_cluster"):
        await trayray.call(add, 1)
    with pytest.raises(RaySystemError, match="open_cluster"):
        async with trayray.open_nursery():
            pass


async def test_the_nodes_death_cancels_the_block():
    begun = time.monotonic()
    with pytest.raises(LocalRayletDiedError):
        async with trayray.open_cluster(**SMALL):
            await add.remote(1)
            (node,) = _nodes()
            os.kill(node, signal.SIGKILL)
            await trio.sleep(60)
    assert time.monotonic() - begun < 20
    assert not trayray.is_initialized()


async def test_the_nodes_death_ends_the_blocks_of_actors(fresh_ray):
    fresh_ray.init(address="local", **SMALL)
    with pytest.raises(LocalRayletDiedError):
        async with trayray.open_actor(SlowToLeave, pathlib.Path("/nowhere")):
            (node,) = _nodes()
            os.kill(node, signal.SIGKILL)
            await trio.sleep(60)


def _nodes():
    """Node processes of this one."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if b"trayray.node.main" in leftovers._read(pid, "cmdline") and _is_child(pid)]


def _is_child(pid):
    return leftovers._parent(pid) == os.getpid()


async def test_what_waits_when_the_cluster_goes_fails(tmp_path):
    path = tmp_path / "note"
    async with trio.open_nursery() as outside:
        outcome: list[BaseException] = []

        async def wait(ref):
            try:
                await ref
            except RaySystemError as error:
                outcome.append(error)

        async with trayray.open_cluster(**SMALL):
            outside.start_soon(wait, note_end.remote(path))
            await until(path.exists)
    assert len(outcome) == 1


@pytest.fixture
def other_program(nothing_left_behind):
    """The address of a cluster that another program has started."""
    program = (
        "import sys, trayray as ray\n"
        "ray.init(address='local', num_cpus=2, object_store_memory=100 << 20, log_to_driver=False)\n"
        "print(ray.get_runtime_context().gcs_address, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        yield other.stdout.readline().strip()
        other.communicate("")
    assert other.returncode == 0


async def test_connect_joins_a_running_cluster(other_program, tmp_path):
    path = tmp_path / "note"
    async with trayray.connect(other_program, namespace="mine") as cluster:
        assert cluster.address == other_program
        assert cluster.namespace == "mine"
        assert await add.remote(1) == 2
        note_end.remote(path)
        await until(path.exists)
    assert not path.exists(), "the job has ended with the block"
    async with trayray.connect("auto"):
        assert await add.remote(1) == 2


PROGRAM = """
import os, pathlib, sys, time
import trio, trayray

@trayray.remote
def note_end(path):
    path.write_text(str(os.getpid()))
    try:
        time.sleep(60)
    finally:
        path.unlink()

async def main():
    async with trayray.open_cluster(num_cpus=2, object_store_memory=100 << 20):
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(note_end, pathlib.Path(sys.argv[1]))

trio.run(main)
"""


def test_ctrl_c_ends_everything_in_order(tmp_path):
    path = tmp_path / "note"
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stderr=subprocess.PIPE, text=True) as program:
        eventually(lambda: path.exists() and path.read_text())
        program.send_signal(signal.SIGINT)
        errors = program.communicate()[1]
    assert not path.exists()
    assert "KeyboardInterrupt" in errors
    assert program.returncode != 0


def test_a_killed_program_leaves_nothing(tmp_path):
    path = tmp_path / "note"
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stderr=subprocess.PIPE) as program:
        worker = int(eventually(lambda: path.exists() and path.read_text()))
        program.kill()
    eventually(lambda: not alive(worker))
