"""Anti-pattern: one `get` for all results of many tasks.

All values are then in this process, and in the object store, at the same time. Fetching a few at a time, in the order
in which they are ready, and dropping them before the next ones, needs a small part of that; submitting in step with it
keeps the store small too.
"""

import tracemalloc

import trayray as ray

RESULTS, AT_ONCE, SIZE = 40, 4, 500_000


@ray.remote
def produce(number):
    return bytes([number]) * SIZE


def all_at_once():
    return sum(len(value) for value in ray.get([produce.remote(number) for number in range(RESULTS)]))


def in_batches():
    total = 0
    numbers = iter(range(RESULTS))
    pending = [produce.remote(next(numbers)) for _ in range(AT_ONCE)]
    while pending:
        ready, pending = ray.wait(pending, num_returns=min(AT_ONCE // 2, len(pending)))
        total += sum(len(value) for value in ray.get(ready))
        pending += [produce.remote(number) for _, number in zip(ready, numbers, strict=False)]
    return total


def peak_mb(function):
    """The most heap that this process took while it ran the function."""
    tracemalloc.start()
    assert function() == RESULTS * SIZE
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    naive, better = peak_mb(all_at_once), peak_mb(in_batches)
    ray.shutdown()

    print(f"{RESULTS} results of 0.5 MB   peak of the driver's heap")
    print(f"get all of them      {naive:8.1f} MB")
    print(f"get 2 at a time      {better:8.1f} MB")
    assert naive >= RESULTS * SIZE / 1e6
    assert better < naive / 3


if __name__ == "__main__":
    main()
