"""References and handles that a program pickles itself, with `trayray.cloudpickle`."""

import copy
import gc
import pickle
import subprocess
import sys

import numpy as np
import pytest

import trayray
from tests.conftest import init_arguments
from trayray import cloudpickle
from trayray.exceptions import OufOfBandObjectRefSerializationException, RaySystemError

LARGE = np.arange(100_000)


@trayray.remote
def read(pickled):
    return trayray.get(pickle.loads(pickled))


@trayray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


@pytest.mark.parametrize("value", [{"answer": [4, 2]}, LARGE], ids=["inline", "stored"])
def test_a_reference_stays_valid_without_the_original(ray, value):
    ref = ray.put(value)
    pickled = cloudpickle.dumps(ref)
    del ref
    gc.collect()

    np.testing.assert_equal(ray.get(read.remote(pickled)), value)
    np.testing.assert_equal(ray.get(cloudpickle.loads(pickled)), value)


def test_results_that_are_still_to_come(ray):
    @ray.remote
    def slowly(refs):
        return ray.get(refs[0]) + 1

    first = read.remote(cloudpickle.dumps(ray.put(1)))
    pickled = cloudpickle.dumps(slowly.remote([first]))

    assert ray.get(read.remote(pickled)) == 2


def test_references_of_tasks_and_of_borrowers(ray):
    @ray.remote
    def own():
        pickled = cloudpickle.dumps(ray.put("of the task"))
        assert trayray.worker.current.core_worker().is_needed, "an idle worker would end"
        return pickled

    @ray.remote
    def borrow(refs):
        return cloudpickle.dumps(refs)

    assert ray.get(pickle.loads(ray.get(own.remote()))) == "of the task"
    (ref,) = pickle.loads(ray.get(borrow.remote([ray.put("borrowed")])))
    assert ray.get(ref) == "borrowed"


def test_references_inside_values_and_with_arrays_out_of_band(ray):
    buffers: list[pickle.PickleBuffer] = []
    pickled = cloudpickle.dumps({"ref": ray.put(7), "array": LARGE}, buffer_callback=buffers.append)
    value = cloudpickle.loads(pickled, buffers=buffers)

    assert len(pickled) < LARGE.nbytes
    assert ray.get(value["ref"]) == 7
    np.testing.assert_array_equal(value["array"], LARGE)


def test_an_actor_stays_with_the_pickle_of_its_handle(ray):
    counter = Counter.remote()
    pickled = cloudpickle.dumps({"counter": counter})
    assert ray.get(counter.add.remote()) == 1
    del counter
    gc.collect()

    @ray.remote
    def add(pickled):
        return ray.get(pickle.loads(pickled)["counter"].add.remote())

    assert ray.get(add.remote(pickled)) == 2
    again = cloudpickle.loads(pickled)["counter"]
    assert ray.get(again.add.remote()) == 3
    ray.kill(again)


def test_copies_of_a_reference_are_the_reference(ray):
    ref = ray.put(1)
    pins = len(trayray.worker.current.core_worker().references._out_of_band)

    assert copy.copy(ref) is ref
    assert copy.deepcopy([ref])[0] is ref
    assert len(trayray.worker.current.core_worker().references._out_of_band) == pins


@pytest.mark.parametrize("name", ["TRAYRAY", "RAY"])
def test_the_environment_can_forbid_it(ray, monkeypatch, name):
    ref = ray.put(5)
    monkeypatch.setenv(f"{name}_allow_out_of_band_object_ref_serialization", "0")

    with pytest.raises(OufOfBandObjectRefSerializationException, match=ref.hex()):
        cloudpickle.dumps([ref])
    assert ray.get(ray.get(ray.put([ref]))[0]) == 5, "inside of objects they are in band"
    monkeypatch.setenv(f"{name}_allow_out_of_band_object_ref_serialization", "1")
    assert ray.get(cloudpickle.loads(cloudpickle.dumps(ref))) == 5


def test_a_process_outside_of_the_cluster_is_told_so(fresh_ray):
    context = fresh_ray.init(**init_arguments(num_cpus=1))
    handle = Counter.options(lifetime="detached", name="there").remote()
    pickled, pickled_handle = cloudpickle.dumps(fresh_ray.put(3)), cloudpickle.dumps(handle)

    program = "import pickle, sys, trayray\n" + "print(trayray.get(pickle.loads(bytes.fromhex(sys.argv[1]))))"
    joined = program.replace("trayray\n", f"trayray\ntrayray.init({context.address_info['address']!r})\n")
    for text, code, answer in ((program, 1, "this process to none"), (joined, 0, "3\n")):
        done = subprocess.run(
            [sys.executable, "-c", text, pickled.hex()], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
        assert answer in done.stdout + done.stderr

    fresh_ray.shutdown()
    with pytest.raises(RaySystemError, match="this process to none"):
        cloudpickle.loads(pickled)
    fresh_ray.init(**init_arguments(num_cpus=1))
    with pytest.raises(
        RaySystemError, match=r"belongs to the cluster of session_.* but this process to that of session_"
    ):
        cloudpickle.loads(pickled)
    with pytest.raises(RaySystemError, match=r"the handle of actor Counter .* belongs to the cluster"):
        cloudpickle.loads(pickled_handle)


def test_references_in_exceptions_are_in_band(ray):
    @ray.remote
    class Fails:
        def fail(self):
            error = LookupError("with a reference")
            error.ref = ray.put(5)
            raise error

        def pins(self):
            return trayray.worker.current.core_worker().references.pins_out_of_band

    actor = Fails.remote()
    with pytest.raises(LookupError) as caught:
        ray.get(actor.fail.remote())
    assert ray.get(caught.value.cause.ref) == 5
    assert ray.get(actor.pins.remote()) is False
    ray.kill(actor)
