"""Anti-pattern: the same large argument, passed by value again and again.

Each call stores the value that it is given, and nobody notices that it was stored before. `put` stores it once; the
calls then share that object. All calls wait at a gate here while the copies are counted.
"""

import asyncio

import numpy as np

import trayray as ray

CALLS = 10


@ray.remote
class Gate:
    def __init__(self):
        self.event = asyncio.Event()

    async def passed(self):
        await self.event.wait()

    async def open(self):
        self.event.set()


@ray.remote
def total(array, _passed):
    return float(array.sum())


def stored_bytes():
    return ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]


def copies(argument, nbytes):
    """Calls `total` with the argument; returns how many copies of it were in the store, and their megabytes."""
    gate = Gate.remote()
    passed = gate.passed.remote()
    sums = [total.remote(argument, passed) for _ in range(CALLS)]
    stored = stored_bytes()
    ray.get(gate.open.remote())
    assert ray.get(sums) == [nbytes / 8] * CALLS
    return round(stored / nbytes), stored / 1e6


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    array = np.ones(500_000)
    naive, naive_mb = copies(array, array.nbytes)
    once, once_mb = copies(ray.put(array), array.nbytes)
    ray.shutdown()

    print(f"{CALLS} calls with 4 MB        copies stored")
    print(f"total.remote(array)       {naive:6}   {naive_mb:5.2f} MB")
    print(f"total.remote(put(array))  {once:6}   {once_mb:5.2f} MB")
    assert (naive, once) == (CALLS, 1)


if __name__ == "__main__":
    main()
