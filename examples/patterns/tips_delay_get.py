"""Tip: call `get` as late as possible.

A plain loop, and three attempts to make it parallel. `.remote()` alone gives references at once; with `get` around
each call nothing runs at the same time; with one `get` around all of them everything does.
"""

import time

import trayray as ray

TASKS, SECONDS = 4, 0.15


def work(x):
    time.sleep(SECONDS)
    return x


remote_work = ray.remote(work)


def main():
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    ray.get([remote_work.remote(x) for x in range(TASKS)])  # processes are up
    ways = {
        "no tasks": lambda: [work(x) for x in range(TASKS)],
        "no get": lambda: [remote_work.remote(x) for x in range(TASKS)],
        "get around each": lambda: [ray.get(remote_work.remote(x)) for x in range(TASKS)],
        "get around all": lambda: ray.get([remote_work.remote(x) for x in range(TASKS)]),
    }
    results, seconds = {}, {}
    print(f"{TASKS} calls of {SECONDS} s  time      result")
    for name, way in ways.items():
        start = time.perf_counter()
        results[name] = way()
        seconds[name] = time.perf_counter() - start
        shown = results[name]
        if name == "no get":
            shown = f"{len(shown)} references"
            ray.get(results[name])  # the next way shall not share the CPUs with them
        print(f"{name:<16}   {seconds[name]:.2f} s    {shown}")
    ray.shutdown()

    assert all(isinstance(ref, ray.ObjectRef) for ref in results["no get"])
    assert results["no tasks"] == results["get around each"] == results["get around all"] == [0, 1, 2, 3]
    assert seconds["no get"] < SECONDS
    assert seconds["get around each"] >= TASKS * SECONDS
    assert seconds["get around all"] < 0.7 * seconds["no tasks"]


if __name__ == "__main__":
    main()
