"""Pattern: resources limit how many tasks run at once.

By default a task asks for one CPU and nothing else. Tasks that need much memory say so with `memory`, and no more of
them run together than the node's memory has room for. What a task really uses is not measured.
"""

import time

import trayray as ray

MB = 2**20
TASKS, EACH = 8, 500  # so many megabytes would each task load


@ray.remote
def load_and_process():
    """When it ran: start and end."""
    start = time.time()
    time.sleep(0.12)  # stands for work on 500 MB
    return start, time.time()


def most_at_once(spans):
    """The largest number of spans that have an instant in common."""
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


def main():
    ray.init(address="local", num_cpus=4, _memory=1000 * MB, include_dashboard=False)
    ray.get([load_and_process.remote() for _ in range(4)])  # the worker processes are up
    free = most_at_once(ray.get([load_and_process.remote() for _ in range(TASKS)]))
    limited = load_and_process.options(memory=EACH * MB)
    bounded = most_at_once(ray.get([limited.remote() for _ in range(TASKS)]))
    ray.shutdown()

    print("on 4 CPUs and 1000 MB         at once   megabytes")
    print(f"one CPU each                   {free:6}   {free * EACH:9}")
    print(f"one CPU and memory=500 MB each {bounded:6}   {bounded * EACH:9}")
    assert free > 2
    assert bounded == 2


if __name__ == "__main__":
    main()
