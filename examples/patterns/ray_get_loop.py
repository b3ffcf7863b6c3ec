"""Anti-pattern: `get` in the loop that submits.

Each turn waits for its task, so the next one is not even submitted: no two tasks run at once. Submit all, then get all.
"""

import time

import trayray as ray

TASKS = 4


@ray.remote
def work(x):
    time.sleep(0.15)
    return x * x


def main():
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    ray.get([work.remote(x) for x in range(TASKS)])  # processes are up

    start = time.perf_counter()
    naive = [ray.get(work.remote(x)) for x in range(TASKS)]
    naive_seconds = time.perf_counter() - start

    start = time.perf_counter()
    better = ray.get([work.remote(x) for x in range(TASKS)])
    better_seconds = time.perf_counter() - start
    ray.shutdown()

    print(f"{TASKS} tasks of 0.15 s, 4 CPUs  time")
    print(f"get in the loop           {naive_seconds:.2f} s")
    print(f"get after the loop        {better_seconds:.2f} s")
    assert naive == better
    assert naive_seconds >= TASKS * 0.15
    assert better_seconds < 0.7 * naive_seconds


if __name__ == "__main__":
    main()
