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


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    table = Table({key: str(key) for key in range(5000)})

    def look_up(key):
        return table[key]

    warm = ray.remote(look_up)
    ray.get([warm.remote(1) for _ in range(2)])  # processes are up

    Table.pickled = 0
    start = time.perf_counter()
    naive = ray.get([ray.remote(look_up).remote(key) for key in range(CALLS)])
    naive_seconds, naive_pickled = time.perf_counter() - start, Table.pickled

    Table.pickled = 0
    start = time.perf_counter()
    remote_look_up = ray.remote(look_up)
    better = ray.get([remote_look_up.remote(key) for key in range(CALLS)])
    better_seconds, better_pickled = time.perf_counter() - start, Table.pickled
    ray.shutdown()

    print(f"{CALLS} calls             definitions pickled   time")
    print(f"remote in the loop              {naive_pickled:5}        {naive_seconds:.3f} s")
    print(f"remote before the loop          {better_pickled:5}        {better_seconds:.3f} s")
    assert naive == better == [str(key) for key in range(CALLS)]
    assert (naive_pickled, better_pickled) == (CALLS, 1)
    assert better_seconds < naive_seconds


if __name__ == "__main__":
    main()
