"""Tip: process each result as soon as it is there.

Tasks take between 0.0 and 0.6 s, processing a result 0.1 s. Who gets all results first adds the two; who takes them
with `wait` has processed the early ones when the last one comes.
"""

import time

import trayray as ray

DURATIONS, PROCESSING = (0.2, 0.6, 0.0, 0.4), 0.1


@ray.remote
def work(number):
    time.sleep(DURATIONS[number])
    return number


def process(total, result):
    time.sleep(PROCESSING)
    return total + result


def after_the_last(refs):
    total = 0
    for result in ray.get(refs):
        total = process(total, result)
    return total


def meanwhile(refs):
    total = 0
    while refs:
        (ready,), refs = ray.wait(refs)
        total = process(total, ray.get(ready))
    return total


def main():
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    ray.get([work.remote(2) for _ in range(4)])  # processes are up
    seconds = {}
    print("4 results             time     sum")
    for way, label in ((after_the_last, "after the last one"), (meanwhile, "as they come")):
        start = time.perf_counter()
        total = way([work.remote(number) for number in range(len(DURATIONS))])
        seconds[way] = time.perf_counter() - start
        print(f"{label:<20}  {seconds[way]:.2f} s   {total}")
        assert total == 6
    ray.shutdown()
    assert seconds[after_the_last] >= max(DURATIONS) + 4 * PROCESSING
    assert seconds[meanwhile] < 0.9 * seconds[after_the_last]


if __name__ == "__main__":
    main()
