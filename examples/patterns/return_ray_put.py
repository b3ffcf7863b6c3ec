"""Anti-pattern: a task returns `put(value)` instead of the value.

A small result travels inside the reply to its caller, who then owns it. A reference leads to an object that the worker
owns: it costs further messages, and it is gone when that worker is. Several results are no reason either: a known
number is `num_returns`, an unknown one a generator.
"""

import os
import signal
import time

import trayray as ray

CALLS = 50


@ray.remote(num_returns=2)
def value(x):
    return x * x, os.getpid()


@ray.remote(num_returns=2)
def reference(x):
    return ray.put(x * x), os.getpid()


@ray.remote
def values(n):
    yield from (x * x for x in range(n))


def kept(refs):
    """How many of the values are still there."""
    count = 0
    for ref in refs:
        try:
            ray.get(ref, timeout=10)
            count += 1
        except ray.exceptions.OwnerDiedError:
            pass  # that is what this example counts
    return count


def crash(pids):
    """Kills the worker processes that have returned something."""
    for pid in set(pids):
        os.kill(pid, signal.SIGKILL)


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

    results, pids = zip(*[value.remote(x) for x in range(CALLS)], strict=True)
    crash(ray.get(list(pids)))
    direct = kept(results)

    results, pids = zip(*[reference.remote(x) for x in range(CALLS)], strict=True)
    results = ray.get(list(results))  # a second kind of reference, whose owners are the workers
    crash(ray.get(list(pids)))
    indirect = kept(results)

    start = time.perf_counter()
    squares = [ray.get(ref) for ref in values.remote(CALLS)]
    seconds = time.perf_counter() - start
    ray.shutdown()

    print("after a crash of the workers    results there")
    print(f"return put(value)               {indirect:5} of {CALLS}")
    print(f"return value                    {direct:5} of {CALLS}")
    print(f"a generator gave all {len(squares)} in {seconds:.3f} s, with no put either")
    assert (direct, indirect) == (CALLS, 0)
    assert squares == [x * x for x in range(CALLS)]


if __name__ == "__main__":
    main()
