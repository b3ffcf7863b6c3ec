"""What user code finds in a process that it has forked from a driver or a worker."""

import multiprocessing
import os
import warnings
from collections.abc import Callable

import pytest

from tests.conftest import init_arguments


def in_a_fork(function: Callable[[], object]) -> str:
    """What ``function`` raises in a forked process: its type and text; "nothing" otherwise."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 -- sent to the test
            sender.send(f"{type(error).__name__}: {error}")
        else:
            sender.send("nothing")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads at every fork
        process = context.Process(target=run)
        process.start()
    assert receiver.poll(30), "the forked process hangs"
    told = receiver.recv()
    process.join(30)
    return told


@pytest.mark.parametrize(
    "use",
    ["get a value that is there", "get a value to come", "put", "call", "wait", "await"],
)
def test_a_fork_of_a_driver_is_told_that_it_belongs_to_no_cluster(ray, use):
    @ray.remote
    def one():
        return 1

    ready = one.remote()
    ray.get(ready)
    pending = one.options(num_cpus=4).remote()
    uses = {
        "get a value that is there": lambda: ray.get(ready),
        "get a value to come": lambda: ray.get(pending),
        "put": lambda: ray.put(1),
        "call": one.remote,
        "wait": lambda: ray.wait([pending]),
        "await": pending.future,
    }
    told = in_a_fork(uses[use])
    assert told.startswith("RaySystemError"), told
    assert "forked" in told
    assert ray.get([ready, pending]) == [1, 1]


def test_a_fork_of_a_worker_is_told_too(ray):
    @ray.remote
    def fork():
        return in_a_fork(lambda: ray.put(1))

    assert "forked" in ray.get(fork.remote(), timeout=60)


def test_a_fork_may_start_a_cluster_of_its_own(fresh_ray):
    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=1))

    def own_cluster() -> None:
        assert not ray.is_initialized()
        ray.init(**init_arguments(num_cpus=1))
        assert ray.get(ray.put(os.getpid())) == os.getpid()
        ray.shutdown()

    assert in_a_fork(own_cluster) == "nothing"
    assert ray.get(ray.put(1)) == 1
