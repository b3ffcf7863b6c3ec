"""What a cancelled call has called ends with it; and whatever is cancelled at whatever moment, nothing stays."""

import os
import pathlib
import random
import time
from collections.abc import Iterator

import pytest

from tests.conftest import init_arguments
from tests.processes.cancelled import GRACE, SLACK, Worker, alive, all_is_free, says, step_of, worker_count
from tests.processes.waiting import eventually


@pytest.fixture(scope="module", autouse=True)
def short_grace() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TRAYRAY_CANCEL_GRACE_SECONDS", str(GRACE))
        yield


@pytest.fixture
def note(tmp_path: pathlib.Path) -> pathlib.Path:
    """The file in which remote code says where it is."""
    return tmp_path / "note"


@pytest.fixture
def one_worker(fresh_ray):
    fresh_ray.init(**init_arguments(num_cpus=1))
    return fresh_ray


# ---------------------------------------------------------------- what a call has called


@pytest.fixture
def tree(ray):
    """A task that calls two like it, down to the leaves; each writes a file with its process id while it runs."""

    @ray.remote(num_cpus=0)
    def node(directory, depth):
        path = directory / f"{time.time_ns()}-{os.getpid()}"
        path.touch()
        try:
            if depth:
                ray.get([node.remote(directory, depth - 1) for _ in range(2)])
            else:
                time.sleep(60)
        finally:
            path.unlink()

    return node


@pytest.mark.parametrize("force", [False, True])
def test_everything_below_a_cancelled_task_ends(ray, tree, tmp_path, force):
    ref = tree.remote(tmp_path, 2)
    eventually(lambda: len(os.listdir(tmp_path)) == 7)
    pids = [int(name.rpartition("-")[2]) for name in os.listdir(tmp_path)]
    ray.cancel(ref, force=force)
    assert step_of(ray, ref) == ("kill" if force else "interrupt")
    if force:
        eventually(lambda: not any(map(alive, pids)))
    else:
        eventually(lambda: not os.listdir(tmp_path))
    all_is_free(ray)


def test_children_go_on_when_that_is_wanted(ray, note, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def child():
        note.write_text("running")
        while not gate.exists():
            time.sleep(0.005)
        note.write_text("finished")

    @ray.remote
    def parent():
        ray.get(child.remote())

    ref = parent.remote()
    says(note, "running")
    ray.cancel(ref, recursive=False)
    assert step_of(ray, ref) == "interrupt"
    gate.touch()
    says(note, "finished")


def test_what_a_task_calls_after_it_was_cancelled_ends_with_it(ray, note):
    @ray.remote
    def child():
        note.write_text("running")
        try:
            time.sleep(60)
        finally:
            note.write_text("over")

    @ray.remote
    def parent(started):
        started.touch()
        try:
            time.sleep(60)
        finally:
            refs = child.remote()
            eventually(note.exists)
            del refs

    started = note.with_name("started")
    ref = parent.remote(started)
    eventually(started.exists)
    ray.cancel(ref)
    assert step_of(ray, ref) == "interrupt"
    says(note, "over")
    all_is_free(ray)


@pytest.mark.parametrize("force", [False, True])
def test_actor_calls_of_a_cancelled_task_end_too(ray, note, force):
    """With force the task's process is gone, and with it whoever would interrupt the call: the actor does."""
    actor = ray.remote(Worker).remote(note)

    @ray.remote
    def parent(actor):
        ray.get(actor.sleep.remote())

    ref = parent.remote(actor)
    says(note, "running")
    ray.cancel(ref, force=force)
    assert step_of(ray, ref) in ("interrupt", "kill")
    assert ray.get(actor.all_seen.remote(), timeout=20) == []


def test_a_parent_that_waits_for_lent_cpus_ends_in_time(one_worker, note, tmp_path):
    """The child has the parent's CPU, and keeps it: the parent ends without it, and its worker serves no more."""
    ray = one_worker
    gate = tmp_path / "gate"

    @ray.remote
    def child():
        note.write_text(str(os.getpid()))
        while not gate.exists():
            time.sleep(0.005)

    @ray.remote
    def parent(keep):
        keep.append(child.remote())
        ray.get(keep)

    ref = parent.remote([])
    says(note, "")
    started = time.monotonic()
    ray.cancel(ref, recursive=False)
    assert step_of(ray, ref) == "interrupt"
    assert time.monotonic() - started < GRACE + SLACK
    gate.touch()
    all_is_free(ray)


def test_a_borrower_cancels(ray, note):
    @ray.remote
    def task():
        note.touch()
        time.sleep(60)

    @ray.remote
    def cancel(refs):
        ray.cancel(refs[0])

    ref = task.remote()
    eventually(note.exists)
    ray.get(cancel.remote([ref]), timeout=20)
    assert step_of(ray, ref) == "interrupt"


# ---------------------------------------------------------------- at any moment


@pytest.mark.parametrize("seed", range(6))
def test_cancelled_at_any_moment_everything_ends_once_and_nothing_stays(ray, tree, tmp_path, seed):
    chance = random.Random(seed)

    @ray.remote
    def quick(x):
        return x

    @ray.remote
    def slow():
        time.sleep(60)

    @ray.remote
    def stubborn():
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(60)

    @ray.remote
    def busy():
        while True:
            ray.get(quick.options(num_cpus=0).remote(1))

    @ray.remote(max_restarts=-1, num_cpus=0)
    class Actor:
        def slow(self):
            time.sleep(60)

        def quick(self):
            return 1

    actor = Actor.remote()
    refs = []
    kinds = [
        lambda: quick.remote(1),
        lambda: quick.remote(chance.choice([1, *refs])),
        slow.remote,
        slow.remote,
        stubborn.remote,
        busy.remote,
        lambda: tree.remote(tmp_path, 1),
        actor.slow.remote,
        actor.quick.remote,
    ]
    for _ in range(25):
        refs.append(chance.choice(kinds)())
        ray.wait([refs[-1]], timeout=chance.choice([0, 0, 0.002, 0.02, 0.1]))
        ref = chance.choice(refs)
        cancel(ray, ref, force=chance.random() < 0.3)
    for ref in refs:
        cancel(ray, ref, force=False)
    for ref in refs:
        try:
            assert ray.get(ref, timeout=30) == 1
        except (ray.exceptions.TaskCancelledError, ray.exceptions.ActorUnavailableError):
            continue
    refs.clear()
    del ref, actor, kinds
    all_is_free(ray)
    eventually(lambda: worker_count() <= ray.cluster_resources()["CPU"])


def cancel(ray, ref, *, force):
    """Cancel, by force if that is for calls like this."""
    try:
        ray.cancel(ref, force=force)
    except ValueError:
        ray.cancel(ref)
