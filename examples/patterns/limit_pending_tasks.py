"""Pattern: `wait` limits how many calls are pending.

A producer that is faster than its consumer piles up calls, each with its argument. Once LIMIT of them have no result,
this one waits for the next result before it submits more. The consumer is as busy as before; the pile stays small.
"""

import time

import trayray as ray

ITEMS, LIMIT, BLOCK = 40, 4, 500_000


@ray.remote
class Consumer:
    def work(self, block):
        time.sleep(0.01)  # stands for work
        return len(block)


def stored_mb():
    """Megabytes that the object store holds."""
    return (ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]) / 1e6


def feed(consumer, limit):
    """Sends all blocks, at most `limit` of them pending; returns the most that were, and what is stored at the end."""
    pending, most = [], 0
    for _ in range(ITEMS):
        if len(pending) == limit:
            _, pending = ray.wait(pending)
        pending.append(consumer.work.remote(bytes(BLOCK)))
        most = max(most, len(pending))
    stored = stored_mb()
    ray.get(pending)
    return most, stored


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    consumer = Consumer.remote()
    ray.get(consumer.work.remote(b""))  # it is up before anything is measured
    naive, naive_mb = feed(consumer, ITEMS)
    limited, limited_mb = feed(consumer, LIMIT)
    ray.shutdown()

    print("                       most pending        stored")
    print(f"submit everything        {naive:10}   {naive_mb:8.1f} MB")
    print(f"wait when 4 are pending  {limited:10}   {limited_mb:8.1f} MB")
    assert (naive, limited) == (ITEMS, LIMIT)
    assert limited_mb < naive_mb / 2


if __name__ == "__main__":
    main()
