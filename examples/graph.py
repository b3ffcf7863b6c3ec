"""Cross-validation as a lazy graph: built once, executed for several inputs, drawn as a picture.

    trayray run examples/graph.py [--folds N] [--points N] [--picture FILE.svg]

Each fold fits a line to all points but its own and is scored on those. The graph shares its data node among all folds,
and an actor that lives as long as one execution collects the scores. The noisier the data, the worse the score has to
be, and about as bad as the noise itself: the program checks both.
"""

import argparse
import random

import ray
from ray.dag import InputNode, MultiOutputNode, plot


@ray.remote
def sample(points, noise):
    """Points on the line y = 3x + 1, off by some noise; the same ones for the same arguments."""
    rng = random.Random(points)
    return [(x, 3 * x + 1 + rng.gauss(0, noise)) for x in (rng.uniform(-1, 1) for _ in range(points))]


@ray.remote
def fit(data, fold, folds):
    """Slope and intercept of the least-squares line through all points that are not in the fold."""
    kept = [point for number, point in enumerate(data) if number % folds != fold]
    mean_x = sum(x for x, _ in kept) / len(kept)
    mean_y = sum(y for _, y in kept) / len(kept)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in kept) / sum((x - mean_x) ** 2 for x, _ in kept)
    return slope, mean_y - slope * mean_x


@ray.remote
def score(line, data, fold, folds):
    """Mean squared error on the points of the fold."""
    slope, intercept = line
    errors = [(y - slope * x - intercept) ** 2 for number, (x, y) in enumerate(data) if number % folds == fold]
    return sum(errors) / len(errors)


@ray.remote(num_cpus=0)
class Scores:
    def __init__(self):
        self.scores = []

    def add(self, score):
        self.scores.append(score)

    def mean(self):
        return len(self.scores), sum(self.scores) / len(self.scores)


def build(folds):
    """The graph; its input has `points` and `noise`, its outputs are the mean score and the first fold's line."""
    with InputNode() as given:
        data = sample.bind(given.points, given.noise)
        lines = [fit.bind(data, fold, folds) for fold in range(folds)]
        scores = Scores.bind()
        for fold, line in enumerate(lines):
            scores.add.bind(score.bind(line, data, fold, folds))
        return MultiOutputNode([scores.mean.bind(), lines[0]])


def main():
    parser = argparse.ArgumentParser(description="Cross-validate a line fit with a lazy graph.")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--picture", help="write a picture of the graph to this .svg, .dot or .mmd file")
    arguments = parser.parse_args()
    if arguments.folds < 2 or arguments.points < 2 * arguments.folds:
        parser.error("--folds has to be at least 2, and --points at least twice as many")

    ray.init(include_dashboard=False)
    dag = build(arguments.folds)
    if arguments.picture:
        plot(dag, arguments.picture)
    noises = [0.1, 0.2, 0.4, 0.8]
    # All executions are under way before the first result is asked for.
    outcomes = [ray.get(refs) for refs in [dag.execute(points=arguments.points, noise=noise) for noise in noises]]
    print(f"{'noise':>6} {'score':>8}  line")
    for noise, ((_, mean), (slope, intercept)) in zip(noises, outcomes, strict=True):
        print(f"{noise:6} {mean:8.4f}  y = {slope:.3f}x + {intercept:.3f}")
    ray.shutdown()

    means = [mean for (_, mean), _ in outcomes]
    if any(count != arguments.folds for (count, _), _ in outcomes) or means != sorted(means):
        raise SystemExit(f"the scores are not what they have to be: {outcomes}")
    if arguments.points >= 1000 and not all(
        0.8 < mean / noise**2 < 1.2 for mean, noise in zip(means, noises, strict=True)
    ):
        raise SystemExit(f"the scores {means} are far from the noise {noises}")


if __name__ == "__main__":
    main()
