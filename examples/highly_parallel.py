"""A task for each of many independent pieces: how likely is it that two of 23 people share their birthday?

    python examples/highly_parallel.py [--trials N] [--batch N]

Each task simulates a batch of groups with a random generator of its own. The pieces know nothing of each other, and
their results are added as they come; the estimate has to agree with the exact probability.
"""

import argparse
import math
import random

import trayray as ray

PEOPLE, DAYS = 23, 365


@ray.remote
def simulate(batch, seed):
    """How many of the batch's groups have a shared birthday."""
    rng = random.Random(seed)
    return sum(len({rng.randrange(DAYS) for _ in range(PEOPLE)}) < PEOPLE for _ in range(batch))


def main():
    parser = argparse.ArgumentParser(description="Simulate the birthday problem in parallel.")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=2_000, help="trials of one task")
    arguments = parser.parse_args()
    if arguments.batch < 1 or arguments.trials < arguments.batch:
        parser.error("--batch has to be at least 1 and --trials at least as many")

    ray.init(include_dashboard=False)
    tasks = arguments.trials // arguments.batch
    unfinished = [simulate.remote(arguments.batch, seed) for seed in range(tasks)]
    shared = done = 0
    while unfinished:
        ready, unfinished = ray.wait(unfinished, num_returns=min(len(unfinished), max(1, tasks // 5)))
        shared += sum(ray.get(ready))
        done += len(ready) * arguments.batch
        print(f"{done:>9,} groups: {shared / done:.4f}")
    ray.shutdown()

    exact = 1 - math.prod((DAYS - person) / DAYS for person in range(PEOPLE))
    error = abs(shared / done - exact)
    print(f"    exactly: {exact:.4f}, off by {error:.4f}")
    # Five standard deviations: once in a million seeds.
    if error > 5 * math.sqrt(exact * (1 - exact) / done):
        raise SystemExit(f"{shared} of {done} is too far from {exact}")


if __name__ == "__main__":
    main()
