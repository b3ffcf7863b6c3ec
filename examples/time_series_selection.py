"""Automatic choice of a forecast: several models for each of several series, judged by cross-validation in parallel.

    python examples/time_series_selection.py [--series N]

The models are a few lines of numpy: the last value, the value a season ago, a trend, and a regression on the latest
values. A task fits one model to one part of one series and returns its error on what follows. The model with the least
error is chosen for each series, and has to be the one that the series was made for. Needs numpy.
"""

import argparse

import numpy as np

import trayray as ray

SEASON, LENGTH, AHEAD, FOLDS = 12, 180, 12, 4


def last_value(history):
    return np.full(AHEAD, history[-1])


def seasonal(history):
    return history[-SEASON:][np.arange(AHEAD) % SEASON]


def trend(history):
    slope, level = np.polyfit(np.arange(len(history)), history, 1)
    return level + slope * np.arange(len(history), len(history) + AHEAD)


def regression(history):
    """Each value as a linear function of the two before it, fed with its own forecasts."""
    lags = np.column_stack([history[1:-1], history[:-2], np.ones(len(history) - 2)])
    weights, *_ = np.linalg.lstsq(lags, history[2:], rcond=None)
    values = list(history[-2:])
    for _ in range(AHEAD):
        values.append(weights @ [values[-1], values[-2], 1])
    return np.array(values[2:])


MODELS = (last_value, seasonal, trend, regression)


def make(kind, seed):
    """A series for which one of the models is the right one."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(scale=0.3, size=LENGTH)
    if kind == "seasonal":
        return np.tile(rng.normal(scale=3, size=SEASON), LENGTH // SEASON) + noise
    if kind == "trend":
        return 0.2 * np.arange(LENGTH) + 5 * noise
    # Two lags that make slow waves, which no season fits.
    values = [1.0, 2.0]
    for shock in noise[2:]:
        values.append(1.6 * values[-1] - 0.98 * values[-2] + 0.3 * shock)
    return np.array(values)


@ray.remote
def error(model, series, fold):
    """Mean absolute error of the forecast for what follows the fold's part of the series."""
    end = LENGTH - (FOLDS - fold) * AHEAD
    return float(np.mean(np.abs(model(series[:end]) - series[end : end + AHEAD])))


def main():
    parser = argparse.ArgumentParser(description="Choose a forecasting model for each series.")
    parser.add_argument("--series", type=int, default=3, help="of each kind")
    arguments = parser.parse_args()
    if arguments.series < 1:
        parser.error("--series has to be at least 1")

    ray.init(include_dashboard=False)
    kinds = ("seasonal", "trend", "regression")
    made = {(kind, seed): ray.put(make(kind, seed)) for kind in kinds for seed in range(arguments.series)}
    errors = {
        (key, model): [error.remote(model, series, fold) for fold in range(FOLDS)]
        for key, series in made.items()
        for model in MODELS
    }
    print(f"{sum(map(len, errors.values()))} fits under way")
    print(f"{'series':<14}" + "".join(f"{model.__name__:>12}" for model in MODELS) + "   chosen")
    wrong = []
    for key in made:
        means = {model.__name__: float(np.mean(ray.get(errors[key, model]))) for model in MODELS}
        chosen = min(means, key=means.__getitem__)
        print(f"{key[0]:<10} {key[1]:3}" + "".join(f"{mean:12.3f}" for mean in means.values()) + f"   {chosen}")
        if chosen != key[0]:
            wrong.append((key, chosen))
    ray.shutdown()
    if wrong:
        raise SystemExit(f"the wrong model was chosen for {wrong}")


if __name__ == "__main__":
    main()
