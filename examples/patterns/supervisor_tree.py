"""Pattern: supervisors own the workers and deal with their failures.

A supervisor gives work to its workers, replaces those that die and repeats what was lost, so that the driver knows the
supervisors alone. Workers whose handles only their supervisor has end with it.
"""

import os
import time

import trayray as ray

ITEMS = 6


@ray.remote(num_cpus=0)
class Worker:
    def square(self, x, crash):
        if crash:
            os._exit(1)  # stands for a bug, or for too little memory
        return x * x

    def pid(self):
        return os.getpid()


@ray.remote(num_cpus=0)
class Supervisor:
    def __init__(self, workers):
        self.workers = [Worker.remote() for _ in range(workers)]
        self.replaced = 0

    def squares(self, items):
        """Each worker's first item crashes it; nobody outside will know."""
        results = []
        for number, item in enumerate(items):
            place = number % len(self.workers)
            try:
                result = ray.get(self.workers[place].square.remote(item, crash=number < len(self.workers)))
            except ray.exceptions.ActorDiedError:
                self.workers[place] = Worker.remote()
                self.replaced += 1
                result = ray.get(self.workers[place].square.remote(item, crash=False))
            results.append(result)
        return results, self.replaced

    def pids(self):
        return ray.get([worker.pid.remote() for worker in self.workers])


def flat():
    """Without supervisors: errors that the driver has to deal with."""
    workers = [Worker.remote() for _ in range(4)]
    errors = 0
    for number in range(ITEMS * 2):
        try:
            ray.get(workers[number % 4].square.remote(number, crash=number < 4))
        except ray.exceptions.ActorDiedError:
            errors += 1
    return errors


def alive(pids):
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    errors = flat()

    supervisors = [Supervisor.remote(2) for _ in range(2)]
    halves = ray.get([sup.squares.remote(range(n * ITEMS, (n + 1) * ITEMS)) for n, sup in enumerate(supervisors)])
    replaced = sum(count for _, count in halves)
    assert [x for results, _ in halves for x in results] == [x * x for x in range(ITEMS * 2)]

    workers = [pid for pids in ray.get([sup.pids.remote() for sup in supervisors]) for pid in pids]
    before = len(alive(workers))
    for supervisor in supervisors:
        ray.kill(supervisor)
    deadline = time.monotonic() + 10
    while alive(workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    after = len(alive(workers))
    ray.shutdown()

    print("4 workers crash                    errors at the driver   replaced")
    print(f"the driver has the workers              {errors:3}              0")
    print(f"2 supervisors have 2 workers each       {0:3}              {replaced}")
    print(f"workers alive: {before}, after their supervisors were killed: {after}")
    assert replaced == 4
    assert errors == ITEMS * 2  # a dead worker fails all that comes after
    assert (before, after) == (4, 0)


if __name__ == "__main__":
    main()
