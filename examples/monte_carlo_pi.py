"""Estimates pi by throwing points at a square: tasks sample, an actor keeps their progress.

    python examples/monte_carlo_pi.py [--tasks N] [--samples N]

The first tutorial of Ray Core: a point of the square with sides from -1 to 1 lies in the circle around its centre with
a probability of pi / 4.
"""

import argparse
import math
import random

import trayray as ray

REPORTS = 20  # that each task sends while it works


@ray.remote
class ProgressActor:
    """The part of all samples that is done; the sampling tasks report to it."""

    def __init__(self, total_samples):
        self.total_samples = total_samples
        self.done = {}

    def report_progress(self, task_id, samples_done):
        self.done[task_id] = samples_done

    def get_progress(self):
        return sum(self.done.values()) / self.total_samples


@ray.remote
def sampling_task(samples, task_id, progress_actor):
    """Throws `samples` points and returns how many fell into the circle."""
    points = random.Random(task_id)
    inside = done = 0
    for report in range(1, REPORTS + 1):
        until = samples * report // REPORTS
        for _ in range(until - done):
            if math.hypot(points.uniform(-1, 1), points.uniform(-1, 1)) <= 1:
                inside += 1
        done = until
        # Nobody waits for the report: the task goes on at once.
        progress_actor.report_progress.remote(task_id, done)
    return inside


def main():
    parser = argparse.ArgumentParser(description="Estimate pi by random sampling.")
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--samples", type=int, default=1_000_000, help="of each task")
    arguments = parser.parse_args()
    if arguments.tasks < 1 or arguments.samples < 1:
        parser.error("--tasks and --samples have to be at least 1")
    total = arguments.tasks * arguments.samples

    ray.init(include_dashboard=False)
    progress_actor = ProgressActor.remote(total)
    results = [sampling_task.remote(arguments.samples, number, progress_actor) for number in range(arguments.tasks)]

    running = results
    while running:
        print(f"Progress: {ray.get(progress_actor.get_progress.remote()):.0%}", flush=True)
        _, running = ray.wait(results, num_returns=len(results), timeout=0.5)
    # A report may still be on its way when its task is done: the last figure is that of the results themselves.
    inside = sum(ray.get(results))
    print("Progress: 100%")

    pi = 4 * inside / total
    print(f"Estimated value of π from {total:,} samples: {pi:.6f} (off by {abs(pi - math.pi):.6f})")
    ray.shutdown()


if __name__ == "__main__":
    main()
