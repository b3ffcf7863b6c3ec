"""How fast actors start: created one after another, and all at once.

    python benchmarks/actors.py [--actors N]

An actor is there when its first method has replied. The actors hold no CPU.
"""

import argparse
import statistics
import time

import trayray as ray


@ray.remote(num_cpus=0)
class Idle:
    def ping(self):
        return b"ok"


def one_by_one(count: int) -> list[float]:
    """Seconds from ``.remote()`` to the first reply, each actor after the one before it has answered."""
    taken: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        actor = Idle.remote()
        ray.get(actor.ping.remote())
        taken.append(time.perf_counter() - start)
        ray.kill(actor)
    return taken


def at_once(count: int) -> float:
    """Actors a second: all are created, then all are asked."""
    start = time.perf_counter()
    actors = [Idle.remote() for _ in range(count)]
    ray.get([actor.ping.remote() for actor in actors])
    rate = count / (time.perf_counter() - start)
    for actor in actors:
        ray.kill(actor)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, default=50)
    options = parser.parse_args()
    ray.init(address="local", num_cpus=2, object_store_memory=100 * 2**20, log_to_driver=False)
    try:
        one_by_one(3)
        single = [seconds * 1e3 for seconds in one_by_one(options.actors)]
        print(f"one after another    {statistics.median(single):7.1f} ms   ({min(single):.1f} to {max(single):.1f})")
        print(f"{options.actors} at once           {at_once(options.actors):7.1f} actors/s")
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
