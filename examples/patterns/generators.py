"""Pattern: a generator instead of a list of large results.

A function that returns many large values has all of them in memory before the first is stored. One that yields them
has one: each is stored, and can be dropped, before the next is made.
"""

import tracemalloc

import numpy as np

import trayray as ray

VALUES, SIZE = 16, 1_000_000


def array(number):
    return np.full(SIZE, number, dtype=np.uint8)


@ray.remote(num_returns=VALUES + 1)
def as_list():
    """All values, and last the worker's peak of memory for them."""
    tracemalloc.start()
    values = [array(number) for number in range(VALUES)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return *values, peak


@ray.remote
def as_generator():
    tracemalloc.start()
    for number in range(VALUES):
        yield array(number)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield peak


def consume(refs):
    """Checks the values one after the other; returns the peak, in megabytes, that comes after them."""
    for number, ref in enumerate(refs):
        value = ray.get(ref)
        if number == VALUES:
            return value / 1e6
        assert value.sum() == number * SIZE
    raise AssertionError("the peak did not come")


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    naive, better = consume(as_list.remote()), consume(as_generator.remote())
    ray.shutdown()

    print(f"{VALUES} values of 1 MB   peak of the worker's heap")
    print(f"returned             {naive:8.1f} MB")
    print(f"yielded              {better:8.1f} MB")
    assert naive >= VALUES * SIZE / 1e6
    assert better < naive / 4


if __name__ == "__main__":
    main()
