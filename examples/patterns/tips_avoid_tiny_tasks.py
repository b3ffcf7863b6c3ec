"""Tip: measure what a task costs, and give each one much more work than that.

Calls that are waited for one by one pay the whole way to a worker and back; calls that are under way together share
much of it. A task should take some milliseconds, or it had better be many of them in one.
"""

import time

import trayray as ray

CALLS, CHUNK = 1000, 250


@ray.remote
def nothing(x):
    return x


@ray.remote
def nothings(xs):
    return list(xs)


def one_by_one():
    return [ray.get(nothing.remote(x)) for x in range(CALLS)]


def together():
    return ray.get([nothing.remote(x) for x in range(CALLS)])


def in_chunks():
    parts = ray.get([nothings.remote(range(first, first + CHUNK)) for first in range(0, CALLS, CHUNK)])
    return [x for part in parts for x in part]


def best_of_three(way):
    """Seconds of the quickest run: what else the machine does is not what is measured."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert way() == list(range(CALLS))
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    together()  # processes are up
    cost = {}
    print(f"{CALLS} empty calls   each takes")
    for way in (one_by_one, together, in_chunks):
        cost[way] = best_of_three(way) / CALLS * 1e6
        print(f"{way.__name__.replace('_', ' '):<16} {cost[way]:8.1f} µs")
    ray.shutdown()
    assert cost[in_chunks] < cost[one_by_one] / 3


if __name__ == "__main__":
    main()
