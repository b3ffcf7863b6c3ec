"""Anti-pattern: the same function made remote again and again.

Every decoration is a new remote function: pickled, sent to each worker that runs it and unpickled there, although the
code is the same. The table that the function uses counts here how often it is pickled with it.
"""

import time

import trayray as ray

CALLS = 30


class Table:
    """Something that the function captures; counts in `pickled` how often."""

    pickled = 0

    def __init__(self, rows):
        self.rows = rows

    def __reduce__(self):
        Table.pickled += 1
        return dict, (self.rows,)


def in_the_loop(function):
    return [ray.remote(function).remote(key) for key in range(CALLS)]


def before_the_loop(function):
    remote_function = ray.remote(function)
    return [remote_function.remote(key) for key in range(CALLS)]


def best_of_three(way, function):
    """How often the table is pickled, and the seconds of the quickest run."""
    times = []
    for _ in range(3):
        Table.pickled = 0
        start = time.perf_counter()
        assert ray.get(way(function)) == [str(key) for key in range(CALLS)]
        times.append(time.perf_counter() - start)
    return Table.pickled, min(times)


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    table = Table({key: str(key) for key in range(5000)})

    def look_up(key):
        return table[key]

    naive_pickled, naive_seconds = best_of_three(in_the_loop, look_up)
    better_pickled, better_seconds = best_of_three(before_the_loop, look_up)
    ray.shutdown()

    print(f"{CALLS} calls             definitions pickled   time")
    print(f"remote in the loop              {naive_pickled:5}        {naive_seconds:.3f} s")
    print(f"remote before the loop          {better_pickled:5}        {better_seconds:.3f} s")
    assert (naive_pickled, better_pickled) == (CALLS, 1)
    assert better_seconds < naive_seconds


if __name__ == "__main__":
    main()
