"""A parameter server: an actor has the weights of a model, workers compute gradients on their shares of the data.

    python examples/parameter_server.py [--workers N] [--rounds N]

The model is a logistic regression in numpy. It is trained twice: synchronously, each round waiting for the gradients
of all workers, and asynchronously, each gradient applied when it comes. Both have to learn the data. Needs numpy.
"""

import argparse
import time

import numpy as np

import trayray as ray

FEATURES, POINTS, RATE = 20, 2000, 0.5


def data(seed):
    """Points and their classes: on which side of one plane, the same for all seeds, they lie."""
    plane = np.random.default_rng(0).normal(size=FEATURES)
    points = np.random.default_rng(seed).normal(size=(POINTS, FEATURES))
    return points, points @ plane > 0


@ray.remote
class ParameterServer:
    def __init__(self):
        self.weights = np.zeros(FEATURES)

    def apply(self, *gradients):
        """One step down the mean of the gradients; the new weights."""
        self.weights = self.weights - RATE * np.mean(gradients, axis=0)
        return self.weights

    def get(self):
        return self.weights


@ray.remote
class Worker:
    def __init__(self, seed):
        self.points, self.classes = data(seed)
        self.rng = np.random.default_rng(seed)

    def gradient(self, weights):
        """Of the logistic loss, on 200 points of this worker's share."""
        chosen = self.rng.choice(POINTS, 200, replace=False)
        guesses = 1 / (1 + np.exp(-self.points[chosen] @ weights))
        return self.points[chosen].T @ (guesses - self.classes[chosen]) / 200


def synchronously(workers, rounds):
    server = ParameterServer.remote()
    weights = server.get.remote()
    for _ in range(rounds):
        # References all the way: the driver sees neither gradients nor weights.
        weights = server.apply.remote(*[worker.gradient.remote(weights) for worker in workers])
    return ray.get(weights)


def asynchronously(workers, rounds):
    server = ParameterServer.remote()
    weights = server.get.remote()
    under_way = {worker.gradient.remote(weights): worker for worker in workers}
    for _ in range(rounds * len(workers)):
        (ready,), _ = ray.wait(list(under_way))
        worker = under_way.pop(ready)
        under_way[worker.gradient.remote(server.apply.remote(ready))] = worker
    return ray.get(server.get.remote())


def main():
    parser = argparse.ArgumentParser(description="Train a model with a parameter server.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.workers < 1 or arguments.rounds < 1:
        parser.error("--workers and --rounds have to be at least 1")

    ray.init(address="local", num_cpus=2 * arguments.workers, include_dashboard=False)
    workers = [Worker.remote(seed) for seed in range(1, arguments.workers + 1)]
    points, classes = data(1000)  # that no worker has
    for train in (synchronously, asynchronously):
        start = time.perf_counter()
        weights = train(workers, arguments.rounds)
        accuracy = np.mean((points @ weights > 0) == classes)
        print(f"{train.__name__:<15} {accuracy:.1%} right after {time.perf_counter() - start:.2f} s")
        if arguments.rounds >= 50 and accuracy < 0.9:
            raise SystemExit(f"{train.__name__} trained, the model knows only {accuracy:.1%} of the classes")
    ray.shutdown()


if __name__ == "__main__":
    main()
