"""Anti-pattern: the driver gets what it only passes on.

The value is copied to the driver, stored a second time when it is passed to the next task, and then read by that. A
reference that is passed on leads the next task to the value itself; the driver never has it.
"""

import tracemalloc

import trayray as ray

SIZE = 10_000_000


@ray.remote
def roll_out():
    return b"\1" * SIZE


@ray.remote
def reduce(rollout):
    return sum(rollout[:1000]), len(rollout)


def fetch_and_pass():
    rollout = ray.get(roll_out.remote())
    return ray.get(reduce.remote(rollout))


def pass_the_reference():
    return ray.get(reduce.remote(roll_out.remote()))


def peak_mb(function):
    """The most heap that this process took while it ran the function."""
    tracemalloc.start()
    assert function() == (1000, SIZE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    peak_mb(pass_the_reference)  # processes are up
    naive, better = peak_mb(fetch_and_pass), peak_mb(pass_the_reference)
    ray.shutdown()

    print("a rollout of 10 MB      peak of the driver's heap")
    print(f"get it and pass it      {naive:8.1f} MB")
    print(f"pass its reference      {better:8.1f} MB")
    assert naive >= SIZE / 1e6
    assert better < 1


if __name__ == "__main__":
    main()
