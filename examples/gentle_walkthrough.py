"""First steps: a slow function, then tasks, an object that they share, results as they come, and an actor.

    python examples/gentle_walkthrough.py

A small library of books is looked up by number; each look-up takes a while. The program goes from a plain loop to a
parallel version step by step and says what each step takes.
"""

import time

import trayray as ray

BOOKS = ["Emma", "Dracula", "Ulysses", "Candide", "Walden", "Kim", "Middlemarch", "Germinal"]
SLOW = 0.1  # seconds that a look-up takes


def look_up(number, books):
    time.sleep(SLOW)
    return number, books[number]


@ray.remote
def look_up_remotely(number, books):
    """The same as a task. `books` is passed as a reference and arrives as the list."""
    return look_up(number, books)


@ray.remote
class Lending:
    """How often each book was looked up: state that all tasks change."""

    def __init__(self):
        self.times = {}

    def note(self, title):
        self.times[title] = self.times.get(title, 0) + 1

    def total(self):
        return sum(self.times.values()), len(self.times)


@ray.remote
def look_up_and_note(number, books, lending):
    found = look_up(number, books)
    ray.get(lending.note.remote(found[1]))
    return found


@ray.remote
def neighbours(found, books):
    """A task that needs the result of another one: it begins when that is there."""
    number, _ = found
    return [books[(number + step) % len(books)] for step in (-1, 1)]


def report(step, start, results):
    print(f"{step:<38} {time.perf_counter() - start:5.2f} s   {len(results)} books")


def main():
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    expected = list(enumerate(BOOKS))

    start = time.perf_counter()
    results = [look_up(number, BOOKS) for number in range(len(BOOKS))]
    report("a loop", start, results)
    assert results == expected

    start = time.perf_counter()
    results = ray.get([look_up_remotely.remote(number, BOOKS) for number in range(len(BOOKS))])
    report("tasks, four at a time", start, results)
    assert results == expected

    books = ray.put(BOOKS)  # stored once, for all that follows
    start = time.perf_counter()
    unfinished = [look_up_remotely.remote(number, books) for number in range(len(BOOKS))]
    results = []
    while unfinished:
        ready, unfinished = ray.wait(unfinished, num_returns=2, timeout=7)
        results += ray.get(ready)
    report("one list for all, results as they come", start, results)
    assert sorted(results) == expected

    start = time.perf_counter()
    found = [look_up_remotely.remote(number, books) for number in range(len(BOOKS))]
    results = ray.get([neighbours.remote(ref, books) for ref in found])
    report("a second task for each result", start, results)
    assert results[0] == [BOOKS[-1], BOOKS[1]]

    lending = Lending.remote()
    start = time.perf_counter()
    results = ray.get([look_up_and_note.remote(number, books, lending) for number in [*range(len(BOOKS)), 0, 1]])
    report("with an actor that counts", start, results)
    times, titles = ray.get(lending.total.remote())
    print(f"{times} look-ups of {titles} different books")
    ray.shutdown()
    assert (times, titles) == (len(BOOKS) + 2, len(BOOKS))


if __name__ == "__main__":
    main()
