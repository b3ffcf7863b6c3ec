"""Tip: `put` what several calls need, once.

A large argument is put by the call that it is given to: copied into the object store before `.remote()` returns. For
ten calls with the same array these are ten copies, and the store fills up sooner.
"""

import time

import numpy as np

import trayray as ray

CALLS = 10


@ray.remote
def size(array):
    return array.nbytes


def timed(call):
    start = time.perf_counter()
    sizes = ray.get([call() for _ in range(CALLS)])
    assert len(set(sizes)) == 1
    return time.perf_counter() - start


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    ray.get([size.remote(np.zeros(1)) for _ in range(2)])  # processes are up

    array = np.zeros(2_500_000)
    naive = timed(lambda: size.remote(array))

    start = time.perf_counter()
    ref = ray.put(array)
    better = time.perf_counter() - start + timed(lambda: size.remote(ref))
    ray.shutdown()

    print(f"{CALLS} calls with 20 MB   time")
    print(f"the array itself         {naive:.3f} s")
    print(f"put, and the reference   {better:.3f} s")
    assert better < naive


if __name__ == "__main__":
    main()
