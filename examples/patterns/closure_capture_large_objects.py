"""Anti-pattern: a remote function that captures a large object.

What a function uses of its surroundings is pickled with it, and each worker process gets its own copy. An object that
is put and passed is stored once and shared; one that is built by the function is not sent at all.
"""

import numpy as np

import trayray as ray
from trayray import cloudpickle

table = np.ones(1_000_000)


@ray.remote
def captures():
    return float(table.sum())


@ray.remote
def takes(array):
    return float(array.sum())


@ray.remote
def builds(make):
    return float(make().sum())


def megabytes(function):
    """Size of what is sent to each worker that runs the function."""
    return len(cloudpickle.dumps(function)) / 1e6


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    ref = ray.put(table)
    make = lambda: np.ones(1_000_000)  # noqa: E731 -- what a program would pass
    results = ray.get([captures.remote(), takes.remote(ref), builds.remote(make)])
    naive, passed, built = (megabytes(function) for function in (captures, takes, builds))
    ray.shutdown()

    print("an array of 8 MB               the function has")
    print(f"captured by the function       {naive:9.3f} MB")
    print(f"put, and passed by reference   {passed:9.3f} MB")
    print(f"built by the function          {built:9.3f} MB")
    assert results == [1e6] * 3
    assert naive >= 8
    assert max(passed, built) < 0.01


if __name__ == "__main__":
    main()
