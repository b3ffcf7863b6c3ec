"""Anti-pattern: global variables as shared state.

Every process has its own globals, and class variables. What a task changes is seen by the tasks that its process
happens to run later, and by nobody else. State that is shared is an actor's.
"""

import os

import trayray as ray

CALLS = 20
count = 0


@ray.remote
def count_in_global():
    global count
    count += 1
    return os.getpid(), count


@ray.remote
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


@ray.remote
def count_in_actor(counter):
    return ray.get(counter.add.remote())


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    seen = ray.get([count_in_global.remote() for _ in range(CALLS)])
    in_workers = dict(sorted(seen))  # the last count of each process
    counter = Counter.remote()
    ray.get([count_in_actor.remote(counter) for _ in range(CALLS)])
    in_actor = ray.get(counter.add.remote()) - 1
    ray.shutdown()

    print(f"after {CALLS} increments by tasks")
    print(f"the driver's global variable   {count:3}")
    print(f"all workers' globals together  {sum(in_workers.values()):3}")
    print(f"an actor                       {in_actor:3}")
    assert (count, in_actor) == (0, CALLS)
    assert sum(in_workers.values()) == CALLS


if __name__ == "__main__":
    main()
