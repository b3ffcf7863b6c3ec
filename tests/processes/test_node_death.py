"""The node of a driver dies: what the driver waits for and asks for later fails at once, and it can start anew."""

import asyncio
import json
import os
import pathlib
import signal
import threading
import time

import pytest

from tests import leftovers
from tests.conftest import init_arguments
from tests.processes.scene import PROMISED_SECONDS
from tests.processes.waiting import eventually

FOREVER = 600


@pytest.fixture
def kill_node(fresh_ray):
    """Kills the node of the cluster that this process has started."""
    context = fresh_ray.init(**init_arguments(num_cpus=2))
    address = json.loads((pathlib.Path(context["session_dir"]) / "address.json").read_text())
    return lambda: os.kill(address["pid"], signal.SIGKILL)


def in_thread(function):
    """Calls ``function`` in a thread of its own; a function that waits for its exception."""
    raised = []

    def call():
        try:
            function()
        except Exception as error:  # noqa: BLE001 -- the test looks at it
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()

    def error():
        thread.join(PROMISED_SECONDS)
        assert not thread.is_alive(), f"{function} still waits"
        return raised[0]

    return error


def test_everything_that_waits_fails(fresh_ray, kill_node):
    ray = fresh_ray

    @ray.remote(num_cpus=0)
    def sleep():
        time.sleep(FOREVER)

    @ray.remote(num_cpus=2)
    def full():
        time.sleep(FOREVER)

    @ray.remote(num_cpus=0)
    class Actor:
        def sleep(self):
            time.sleep(FOREVER)

    async def wait():
        await asyncio.wait_for(asyncio.shield(running), FOREVER)

    running, call = sleep.remote(), Actor.remote().sleep.remote()
    held, queued, dependent = full.remote(), full.remote(), sleep.options(num_cpus=1).remote()
    future = running.future()
    nested = ray.put([running])
    waiting = [in_thread(lambda ref=ref: ray.get(ref)) for ref in (running, call, held, queued, dependent)]
    waiting += [in_thread(lambda: ray.get([nested, running])), in_thread(lambda: asyncio.run(wait()))]
    ready = in_thread(lambda: (_ for _ in ()).throw(StopAsyncIteration(ray.wait([running, queued], num_returns=2))))
    eventually(lambda: ray.available_resources().get("CPU", 0) == 0)
    kill_node()

    for error in waiting:
        assert isinstance(error(), ray.exceptions.LocalRayletDiedError)
    assert isinstance(future.exception(PROMISED_SECONDS), ray.exceptions.LocalRayletDiedError)
    assert ready().args == (([running, queued], []),)


def test_every_later_call_says_so_until_init(fresh_ray, kill_node):
    ray = fresh_ray

    @ray.remote
    def double(number):
        return 2 * number

    @ray.remote
    class Actor:
        def method(self):
            return 1

    actor = Actor.remote()
    small, large, ran = ray.put(1), ray.put(bytes(10**6)), double.remote(3)
    assert ray.get([ran, actor.method.remote()]) == [6, 1]
    kill_node()
    eventually(lambda: not ray.is_initialized(), PROMISED_SECONDS)

    calls = [
        lambda: double.remote(1),
        actor.method.remote,
        Actor.remote,
        lambda: ray.put(1),
        lambda: ray.put(bytes(10**6)),
        lambda: ray.get(small),
        lambda: ray.get(large),
        lambda: ray.wait([ran]),
        lambda: ray.kill(actor),
        lambda: ray.cancel(ran),
        lambda: ray.get_actor("name"),
        ray.nodes,
        ray.cluster_resources,
        ray.available_resources,
    ]
    for call in calls:
        with pytest.raises(ray.exceptions.LocalRayletDiedError, match=r"init\(\)"):
            call()
    ray.shutdown()
    ray.init(**init_arguments(num_cpus=2))
    assert ray.get(double.remote(4), timeout=10) == 8
    with pytest.raises(ray.exceptions.RaySystemError, match="cluster that this process has left"):
        ray.get(large)
    assert ray.get(Actor.remote().method.remote(), timeout=10) == 1


def test_init_without_shutdown_starts_anew(fresh_ray, kill_node):
    ray = fresh_ray
    kill_node()
    eventually(lambda: not ray.is_initialized(), PROMISED_SECONDS)

    ray.init(**init_arguments(num_cpus=2))

    assert ray.get(ray.put(5)) == 5


def test_calls_at_the_moment_of_the_death_do_not_hang(fresh_ray, kill_node):
    ray = fresh_ray

    @ray.remote(num_cpus=0)
    def double(number):
        return 2 * number

    def use():
        while True:
            assert ray.get([double.remote(n) for n in range(20)]) == [2 * n for n in range(20)]
            assert len(ray.get(ray.put(bytes(200_000)))) == 200_000
            assert ray.available_resources()

    users = [in_thread(use) for _ in range(3)]
    ray.get(double.remote(1))
    kill_node()

    for user in users:
        error = user()
        assert isinstance(error, ray.exceptions.LocalRayletDiedError), repr(error)


def descriptors():
    return sorted(link for link in leftovers._links("self") if "/proc/" not in link)


def arenas():
    return [line for line in pathlib.Path("/proc/self/maps").read_text().splitlines() if "trayray-arena" in line]


def test_ten_times_init_leaks_nothing(fresh_ray):
    ray = fresh_ray

    @ray.remote(num_cpus=0)
    def copy(value):
        return value

    def live():
        ray.init(**init_arguments(num_cpus=1))
        try:
            value = bytes(2 * 10**6)
            return ray.get(copy.remote(ray.put(value)), timeout=10) == value
        finally:
            ray.shutdown()

    assert live()  # what is opened once for all is open now
    before = len(descriptors()), sorted(thread.name for thread in threading.enumerate())
    for _ in range(10):
        assert live()

    assert (len(descriptors()), sorted(thread.name for thread in threading.enumerate())) == before, descriptors()
    assert arenas() == []


def test_values_outlive_the_cluster_they_were_read_from(fresh_ray):
    numpy = pytest.importorskip("numpy")
    fresh_ray.init(**init_arguments(num_cpus=1))
    array = fresh_ray.get(fresh_ray.put(numpy.arange(10**6)))
    assert arenas()
    fresh_ray.shutdown()

    assert array.sum() == 499999500000
    del array
    assert arenas() == []
