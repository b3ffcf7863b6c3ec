"""Anti-pattern: results are processed in the order in which their tasks were submitted.

The first task is the slowest here, and everybody waits for it. `wait` gives what is ready, so that the processing of
the quick ones is over when the slow one comes.
"""

import time

import trayray as ray

SECONDS = (0.6, 0.0, 0.2, 0.4)  # that the tasks take
PROCESSING = 0.1


@ray.remote
def work(number):
    time.sleep(SECONDS[number])
    return number


def process(number, order):
    time.sleep(PROCESSING)
    order.append(number)


def in_submission_order(refs, order):
    for ref in refs:
        process(ray.get(ref), order)


def as_they_come(refs, order):
    while refs:
        (ready,), refs = ray.wait(refs)
        process(ray.get(ready), order)


def timed(way):
    order = []
    start = time.perf_counter()
    way([work.remote(number) for number in range(len(SECONDS))], order)
    return order, time.perf_counter() - start


def main():
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    ray.get([work.remote(1) for _ in range(4)])  # processes are up
    naive, naive_seconds = timed(in_submission_order)
    better, better_seconds = timed(as_they_come)
    ray.shutdown()

    print("                    order        time")
    print(f"in submission order  {' '.join(map(str, naive))}   {naive_seconds:.2f} s")
    print(f"as they come         {' '.join(map(str, better))}   {better_seconds:.2f} s")
    assert naive == [0, 1, 2, 3]
    assert better[-1] == 0
    assert better_seconds < 0.9 * naive_seconds


if __name__ == "__main__":
    main()
