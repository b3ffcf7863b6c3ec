"""How fast a supervised actor is back: from `kill -9` of its process to the next answer.

    python benchmarks/supervision.py [--kills N]

By the side of an actor with ``max_restarts``, which the control plane starts again without asking anybody; and of a
group of four that is started again together (one_for_all).
"""

import argparse
import logging
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import trayray
from trayray import ChildSpec


@trayray.remote(num_cpus=0, max_task_retries=-1)
class Server:
    def pid(self) -> int:
        return os.getpid()


async def back_after_kill(handle: Any) -> float:
    """Seconds from the kill to the first answer; calls wait for the new process."""
    pid = await handle.pid.remote()
    begin = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while await handle.pid.remote() == pid:  # answered before the signal arrived
        pass
    return time.perf_counter() - begin


async def measure(kills: int, once: Callable[[], Awaitable[float]]) -> list[float]:
    await once()
    return [await once() for _ in range(kills)]


def show(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p50, p95 = statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))]
    print(f"{name:<45} p50 {p50 * 1e3:6.1f} ms   p95 {p95 * 1e3:6.1f} ms   max {ordered[-1] * 1e3:6.1f} ms")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    kills = parser.parse_args().kills
    logging.getLogger("trayray.supervision").setLevel(logging.ERROR)
    async with trayray.open_cluster(num_cpus=2, object_store_memory=100 * 2**20, log_to_driver=False):
        plain = Server.options(max_restarts=-1).remote()
        show("max_restarts, kill to the first answer", await measure(kills, lambda: back_after_kill(plain)))
        async with trayray.open_supervisor([ChildSpec("a", Server)], intensity=kills + 1) as supervisor:
            alone = supervisor["a"]
            show("one_for_one, kill to the first answer", await measure(kills, lambda: back_after_kill(alone)))
        four = [ChildSpec(name, Server) for name in "abcd"]
        async with trayray.open_supervisor(four, strategy="one_for_all", intensity=kills + 1) as supervisor:
            last = supervisor["d"]
            show("one_for_all of 4, kill to the last's answer", await measure(kills, lambda: back_after_kill(last)))


if __name__ == "__main__":
    trio.run(main)
