"""Choosing a model's parameters: many candidates are trained in parallel, in rounds that the better half survives.

    python examples/model_selection.py [--candidates N]

A candidate is a learning rate and a penalty for a linear model in numpy; an actor trains it a few steps further each
round. The worse half of the actors is ended after each round, so that most of the work goes to what is promising. The
winner has to be better than the candidate in the middle of the first round. Needs numpy.
"""

import argparse

import numpy as np

import trayray as ray

FEATURES, POINTS, STEPS = 30, 400, 40


def data(seed):
    """A few of the features matter, the others are noise."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(POINTS, FEATURES))
    return points, points[:, :3] @ [2.0, -1.0, 0.5] + rng.normal(scale=0.5, size=POINTS)


@ray.remote(num_cpus=0.5)
class Candidate:
    def __init__(self, rate, penalty, training, validation):
        self.rate, self.penalty = rate, penalty
        self.points, self.targets = training
        self.validation = validation
        self.weights = np.zeros(FEATURES)

    def train(self):
        """Some more steps; the mean squared error on data that it does not train on."""
        for _ in range(STEPS):
            errors = self.points @ self.weights - self.targets
            gradient = self.points.T @ errors / POINTS + self.penalty * np.sign(self.weights)
            self.weights -= self.rate * gradient
        points, targets = self.validation
        return float(np.mean((points @ self.weights - targets) ** 2))


def main():
    parser = argparse.ArgumentParser(description="Choose a learning rate and a penalty.")
    parser.add_argument("--candidates", type=int, default=8)
    arguments = parser.parse_args()
    if arguments.candidates < 2:
        parser.error("--candidates has to be at least 2")

    ray.init(address="local", num_cpus=max(2, arguments.candidates / 2), include_dashboard=False)
    rng = np.random.default_rng(7)
    training, validation = ray.put(data(1)), ray.put(data(2))  # stored once for all candidates
    candidates = {}
    for _ in range(arguments.candidates):
        rate, penalty = 10 ** rng.uniform(-4, -0.5), 10 ** rng.uniform(-4, 0)
        candidates[rate, penalty] = Candidate.remote(rate, penalty, training, validation)

    first_round = None
    while True:
        scores = dict(zip(candidates, ray.get([actor.train.remote() for actor in candidates.values()]), strict=True))
        ranked = sorted(scores, key=scores.__getitem__)
        first_round = first_round or sorted(scores.values())
        rate, penalty = ranked[0]
        print(f"{len(ranked)} left, the best: {scores[ranked[0]]:.4f} with rate {rate:.4f} and penalty {penalty:.4f}")
        if len(ranked) == 1:
            break
        # Whoever is no longer in the dict is ended: nobody else has a handle.
        candidates = {parameters: candidates[parameters] for parameters in ranked[: (len(ranked) + 1) // 2]}
    ray.shutdown()
    best = scores[ranked[0]]
    if best >= first_round[len(first_round) // 2]:
        raise SystemExit(f"the winner's error {best} is no better than what was there at first: {first_round}")


if __name__ == "__main__":
    main()
