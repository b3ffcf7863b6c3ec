"""Anti-pattern: references that the program pickles itself.

As arguments, results and parts of objects, references are counted: an object goes with its last one. A pickle in a
file or a message of one's own cannot be counted, so the object stays for as long as its owner. Pass the reference.
"""

import time

import numpy as np

import trayray as ray
from trayray import cloudpickle

OBJECTS = 5


@ray.remote
class Keeper:
    """Holds references, or pickles of them, and drops them."""

    def keep(self, kept):
        self.kept = kept
        return len(kept)

    def drop(self):
        self.kept = None


def stored_mb():
    return (ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]) / 1e6


def left_after(prepare, patience):
    """Megabytes in the store when all references and pickles have been gone for so many seconds, or none at all."""
    before = stored_mb()
    keeper = Keeper.remote()
    assert ray.get(keeper.keep.remote([prepare(ray.put(np.ones(250_000))) for _ in range(OBJECTS)])) == OBJECTS
    assert stored_mb() - before > OBJECTS * 1.9  # what is kept is there
    ray.get(keeper.drop.remote())
    ray.kill(keeper)
    deadline = time.monotonic() + patience
    while stored_mb() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    return stored_mb() - before


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    counted = left_after(lambda ref: ref, patience=10)
    pickled = left_after(cloudpickle.dumps, patience=0.5)
    ray.shutdown()

    print(f"{OBJECTS} objects of 2 MB             stored after the last use")
    print(f"references, pickled by hand   {pickled:8.1f} MB")
    print(f"references, passed            {counted:8.1f} MB")
    assert pickled > OBJECTS * 1.9
    assert counted == 0


if __name__ == "__main__":
    main()
