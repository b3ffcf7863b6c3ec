"""Pattern: an actor where tasks wait for each other.

An async actor holds an `asyncio.Event`, or a barrier, a semaphore and so on; a call of its `wait` returns when the
event is set. The alternative, asking it again and again, is many calls, and late by half an interval on average.
"""

import asyncio
import time

import trayray as ray

WAITERS, INTERVAL = 3, 0.005


@ray.remote
class Signal:
    def __init__(self):
        self.event = asyncio.Event()
        self.calls = 0
        self.arrived = asyncio.Semaphore(0)

    async def is_set(self):
        self._count()
        return self.event.is_set()

    async def wait(self):
        self._count()
        await self.event.wait()

    def _count(self):
        self.calls += 1
        self.arrived.release()

    async def set_when_called(self, times):
        """Sets the event after so many calls; returns when it did."""
        for _ in range(times):
            await self.arrived.acquire()
        await asyncio.sleep(0.2)
        self.event.set()
        return time.time()

    async def count(self):
        return self.calls


@ray.remote
def poll(signal):
    while not ray.get(signal.is_set.remote()):
        time.sleep(INTERVAL)
    return time.time()


@ray.remote
def wait(signal):
    ray.get(signal.wait.remote())
    return time.time()


def calls_of(waiter):
    """How many calls each waiting task made to learn of the event; none of them went on before it."""
    signal = Signal.remote()
    ends = [waiter.remote(signal) for _ in range(WAITERS)]
    when = ray.get(signal.set_when_called.remote(WAITERS))
    assert min(ray.get(ends)) >= when
    return ray.get(signal.count.remote()) / WAITERS


def main():
    ray.init(address="local", num_cpus=WAITERS, include_dashboard=False)
    polling, waiting = calls_of(poll), calls_of(wait)
    ray.shutdown()

    print("                     calls of each task")
    print(f"ask again and again         {polling:6.1f}")
    print(f"wait in the actor           {waiting:6.1f}")
    assert waiting == 1
    assert polling > 3


if __name__ == "__main__":
    main()
