"""What the utilities cost beside the plain calls that they are made of.

    python benchmarks/utilities.py [--calls N] [--actors N]

Rows come in pairs, measured in turns: the utility, and the same work without it. The ratio is that of the medians.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import trayray as ray
from trayray.util import ActorPool
from trayray.util.multiprocessing import Pool
from trayray.util.queue import Queue


@ray.remote(num_cpus=0)
class Echo:
    def give(self, value: Any) -> Any:
        return value


@ray.remote(num_cpus=0)
class Inbox:
    def __init__(self) -> None:
        self.items: list[Any] = []

    async def put(self, item: Any) -> None:
        self.items.append(item)

    async def get(self) -> Any:
        return self.items.pop()


def same(value: int) -> int:
    return value


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, beside: str, count: int, utility: Callable[[], object], plain: Callable[[], object]) -> None:
    """Time both in turns and print their rates, and how much longer the utility takes."""
    utility()
    plain()
    taken = [(seconds(utility), seconds(plain)) for _ in range(7)]
    mine = statistics.median(each for each, _ in taken)
    other = statistics.median(each for _, each in taken)
    print(f"{name:34} {count / mine:9,.0f}/s   {beside:40} {count / other:9,.0f}/s   takes {mine / other:5.2f} times")


def actor_pool(count: int, size: int) -> None:
    actors = [Echo.remote() for _ in range(size)]
    pool = ActorPool(actors)
    compare(
        "ActorPool.map",
        "the same calls, one get",
        count,
        lambda: list(pool.map(lambda actor, value: actor.give.remote(value), range(count))),
        lambda: ray.get([actors[i % size].give.remote(i) for i in range(count)]),
    )
    few = count // 5
    compare(
        "ActorPool.map_unordered",
        "a call at a time to each, wait",
        few,
        lambda: list(pool.map_unordered(lambda actor, value: actor.give.remote(value), range(few))),
        lambda: one_at_a_time(actors, few),
    )


def one_at_a_time(actors: list[Any], count: int) -> None:
    busy = {actor.give.remote(i): actor for i, actor in enumerate(actors)}
    for i in range(len(actors), count):
        (ready,), _ = ray.wait(list(busy))
        actor = busy.pop(ready)
        ray.get(ready)
        busy[actor.give.remote(i)] = actor
    ray.get(list(busy))


def queue(count: int) -> None:
    many = Queue[int]()
    inbox = Inbox.remote()

    def through_queue() -> None:
        for i in range(count):
            many.put(i)
            many.get()

    def through_inbox() -> None:
        for i in range(count):
            ray.get(inbox.put.remote(i))
            ray.get(inbox.get.remote())

    compare("Queue.put and get", "an asynchronous actor's two calls", count, through_queue, through_inbox)


def process_pool(count: int, size: int) -> None:
    with Pool(size) as mine, multiprocessing.get_context("spawn").Pool(size) as theirs:
        compare(
            "multiprocessing.Pool.map",
            "the standard library's",
            count,
            lambda: mine.map(same, range(count)),
            lambda: theirs.map(same, range(count)),
        )
        few = count // 5
        compare(
            "multiprocessing.Pool.apply_async",
            "the standard library's",
            few,
            lambda: [each.get() for each in [mine.apply_async(same, (i,)) for i in range(few)]],
            lambda: [each.get() for each in [theirs.apply_async(same, (i,)) for i in range(few)]],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--actors", type=int, default=2)
    options = parser.parse_args()
    ray.init(address="local", num_cpus=max(2, options.actors), object_store_memory=100 * 2**20, log_to_driver=False)
    try:
        actor_pool(options.calls, options.actors)
        queue(options.calls // 10)
        process_pool(options.calls, options.actors)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
