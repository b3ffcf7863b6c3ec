"""Pattern: async methods let an actor answer while it works.

A plain actor has one call at a time: whoever asks it how far it is, or tells it to stop, is heard when the work is
done. Where an async method awaits, the other calls get their turn. Threads (`max_concurrency`) do it too.
"""

import asyncio
import time

import trayray as ray

ROUNDS, ROUND = 20, 0.03


@ray.remote
class Plain:
    def __init__(self):
        self.done = 0
        self.stopped = False

    def run(self):
        while self.done < ROUNDS and not self.stopped:
            time.sleep(ROUND)
            self.done += 1
        return self.done

    def stop(self):
        self.stopped = True


@ray.remote
class Async:
    def __init__(self):
        self.done = 0
        self.stopped = False

    async def run(self):
        while self.done < ROUNDS and not self.stopped:
            await asyncio.sleep(ROUND)
            self.done += 1
        return self.done

    async def stop(self):
        self.stopped = True


def stop_soon(actor):
    """Lets the actor run and stops it at once: the share of its rounds that it did, and when `stop` was done."""
    running = actor.run.remote()
    start = time.perf_counter()
    ray.get(actor.stop.remote())
    seconds = time.perf_counter() - start
    return ray.get(running) / ROUNDS, seconds


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    actors = [Plain.remote(), Async.remote()]
    ray.get([actor.__ray_ready__.remote() for actor in actors])
    (naive, naive_seconds), (better, better_seconds) = map(stop_soon, actors)
    ray.shutdown()

    print("a call of stop() while run() runs   heard after   share of the rounds done")
    print(f"plain methods                         {naive_seconds:6.3f} s       {naive:.2f}")
    print(f"async methods                         {better_seconds:6.3f} s       {better:.2f}")
    assert naive == 1
    assert better < 1
    assert better_seconds < naive_seconds


if __name__ == "__main__":
    main()
