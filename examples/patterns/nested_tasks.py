"""Pattern: tasks that submit tasks.

A merge sort splits its input and sorts the halves with tasks of its own, down to pieces worth a task. Both halves have
to be submitted before the first `get`, or they are sorted one after the other. A task that waits lends its CPU.
"""

import heapq
import random
import time

import trayray as ray

NUMBERS, PIECE = 4000, 1000


def sort_piece(numbers):
    time.sleep(0.15)  # stands for the work of a much larger piece
    return sorted(numbers)


def alone(numbers):
    if len(numbers) <= PIECE:
        return sort_piece(numbers)
    middle = len(numbers) // 2
    return list(heapq.merge(alone(numbers[:middle]), alone(numbers[middle:])))


@ray.remote
def one_half_first(numbers):
    """The trap: the second half is not submitted before the first one is sorted. Also returns how many tasks ran."""
    if len(numbers) <= PIECE:
        return sort_piece(numbers), 1
    middle = len(numbers) // 2
    left, tasks_left = ray.get(one_half_first.remote(numbers[:middle]))
    right, tasks_right = ray.get(one_half_first.remote(numbers[middle:]))
    return list(heapq.merge(left, right)), tasks_left + tasks_right + 1


@ray.remote
def both_halves(numbers):
    if len(numbers) <= PIECE:
        return sort_piece(numbers), 1
    middle = len(numbers) // 2
    halves = [both_halves.remote(numbers[:middle]), both_halves.remote(numbers[middle:])]
    (left, tasks_left), (right, tasks_right) = ray.get(halves)
    return list(heapq.merge(left, right)), tasks_left + tasks_right + 1


def main():
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    numbers = random.Random(1).choices(range(10**6), k=NUMBERS)
    ray.get(both_halves.remote(numbers))  # processes are up
    rows = []
    for way in (alone, one_half_first, both_halves):
        start = time.perf_counter()
        result, tasks = (way(numbers), 0) if way is alone else ray.get(way.remote(numbers))
        rows.append((tasks, time.perf_counter() - start))
        assert result == sorted(numbers)
    ray.shutdown()

    print("                         tasks   time")
    for label, (tasks, seconds) in zip(("no tasks", "get after each half", "get after both halves"), rows, strict=True):
        print(f"{label:<25}{tasks:5}   {seconds:.2f} s")
    assert [tasks for tasks, _ in rows] == [0, 7, 7]
    assert rows[2][1] < 0.7 * min(rows[0][1], rows[1][1])


if __name__ == "__main__":
    main()
