"""Learning to play: actors play a small game of Pong with the present policy, the driver improves it by their results.

    python examples/learn_pong.py [--rounds N] [--actors N]

The court is a grid; the ball bounces off the walls, and the player moves the paddle up or down at the far side to meet
it. The policy is a logistic function of what the player sees, trained by policy gradients: moves of games that went
better than others become more likely. It starts at chance and has to meet nearly every ball in the end. Needs numpy.
"""

import argparse
import time

import numpy as np

import trayray as ray

HEIGHT, WIDTH, BATCH, RATE = 11, 24, 60, 0.5


def see(ball, paddle):
    """Where the ball is beside the paddle, where it goes, and a constant."""
    _, y, dy = ball
    return np.array([(y - paddle) / HEIGHT, dy, (y / HEIGHT - 0.5), 1.0])


def play(weights, rng):
    """One ball. Whether it was met, and the gradient of the likelihood of all moves made."""
    x, y, dy = 0, int(rng.integers(HEIGHT)), int(rng.choice([-1, 1]))
    paddle, gradient = int(rng.integers(HEIGHT)), np.zeros(4)
    while x < WIDTH:
        seen = see((x, y, dy), paddle)
        up = 1 / (1 + np.exp(-weights @ seen))
        move = 1 if rng.random() < up else -1
        gradient += ((move == 1) - up) * seen
        paddle = min(HEIGHT - 1, max(0, paddle + move))
        if not 0 <= y + dy < HEIGHT:
            dy = -dy
        x, y = x + 1, y + dy
    return abs(paddle - y) <= 1, gradient / WIDTH


@ray.remote
class Player:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def play(self, weights, balls):
        """The share of balls that were met, and the direction in which it grows."""
        met, gradients = zip(*[play(weights, self.rng) for _ in range(balls)], strict=True)
        met = np.array(met, dtype=float)
        return met.mean(), (met - met.mean()) @ np.array(gradients) / balls


def main():
    parser = argparse.ArgumentParser(description="Learn to play a small game of Pong.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--actors", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.actors < 1:
        parser.error("--rounds and --actors have to be at least 1")

    ray.init(address="local", num_cpus=arguments.actors, include_dashboard=False)
    players = [Player.remote(seed) for seed in range(arguments.actors)]
    weights, shares, speed = np.zeros(4), [], np.zeros(4)
    start = time.perf_counter()
    for number in range(arguments.rounds):
        given = ray.put(weights)
        results = ray.get([player.play.remote(given, BATCH) for player in players])
        shares.append(float(np.mean([share for share, _ in results])))
        gradient = np.mean([gradient for _, gradient in results], axis=0)
        speed = 0.9 * speed + gradient / (np.linalg.norm(gradient) + 1e-3)
        weights = weights + RATE * speed
        if number % (max(1, arguments.rounds // 6)) == 0:
            print(f"round {number:3}: {shares[-1]:.0%} of the balls met")
    ray.shutdown()
    print(f"at last:   {shares[-1]:.0%}, after {time.perf_counter() - start:.1f} s")
    if arguments.rounds >= 30 and (shares[0] > 0.5 or np.mean(shares[-5:]) < 0.9):
        raise SystemExit(f"nothing was learnt: {shares}")


if __name__ == "__main__":
    main()
