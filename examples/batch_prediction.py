"""Predictions for many batches: with tasks that are given the model, and with actors that have loaded it.

    python examples/batch_prediction.py [--batches N]

Loading the model takes a while here. The tasks share one copy in the object store, which suits models that are arrays;
an actor loads it once and keeps it, which suits every other. A task that loads it itself does so for each batch. All
three have to predict the same. Needs numpy.
"""

import argparse
import time

import numpy as np

import trayray as ray
from trayray.util import ActorPool

FEATURES, ROWS, ACTORS = 256, 500, 2


def load_model():
    time.sleep(0.1)  # stands for reading it from a disk
    return np.random.default_rng(3).normal(size=(FEATURES, 10))


def predict(model, batch):
    """The most likely of ten classes, for each row of the batch."""
    rows = np.random.default_rng(batch).normal(size=(ROWS, FEATURES))
    return (rows @ model).argmax(axis=1)


@ray.remote
def load_and_predict(batch):
    return predict(load_model(), batch)


@ray.remote
def predict_with(model, batch):
    return predict(model, batch)


@ray.remote
class Predictor:
    def __init__(self):
        self.model = load_model()

    def predict(self, batch):
        return predict(self.model, batch)


def by_loading_tasks(batches):
    return ray.get([load_and_predict.remote(batch) for batch in batches])


def by_tasks_with_one_model(batches):
    model = ray.put(load_model())
    return ray.get([predict_with.remote(model, batch) for batch in batches])


def by_actors(batches):
    pool = ActorPool([Predictor.remote() for _ in range(ACTORS)])
    return list(pool.map(lambda actor, batch: actor.predict.remote(batch), batches))


def main():
    parser = argparse.ArgumentParser(description="Predict in batches.")
    parser.add_argument("--batches", type=int, default=12)
    arguments = parser.parse_args()
    if arguments.batches < 1:
        parser.error("--batches has to be at least 1")

    ray.init(address="local", num_cpus=ACTORS, include_dashboard=False)
    batches = range(arguments.batches)
    expected = [predict(load_model(), batch) for batch in batches]
    loaded = {by_loading_tasks: arguments.batches, by_tasks_with_one_model: 1, by_actors: ACTORS}
    print("                          loaded    time")
    for way, loads in loaded.items():
        start = time.perf_counter()
        predictions = way(batches)
        print(f"{way.__name__.replace('_', ' '):<26} {loads:4}   {time.perf_counter() - start:6.2f} s")
        if not np.array_equal(predictions, expected):
            raise SystemExit(f"{way.__name__} predicted something else")
    ray.shutdown()


if __name__ == "__main__":
    main()
