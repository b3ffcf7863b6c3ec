"""Pattern: ask for the next piece of work before the present one is done.

A worker that fetches, computes, fetches, computes leaves the source idle while it computes, and idles itself while it
fetches. Asked for ahead of time, the next item is under way while the present one is computed.
"""

import time

import trayray as ray

ITEMS, FETCH, COMPUTE = 6, 0.05, 0.05


@ray.remote
class Source:
    def __init__(self, count):
        self.left = count

    def next(self):
        """The next item, None after the last one."""
        time.sleep(FETCH)  # stands for reading and sending
        self.left -= 1
        return self.left if self.left >= 0 else None


@ray.remote
class Worker:
    def __init__(self, source):
        self.source = source

    def one_by_one(self):
        done = 0
        while ray.get(self.source.next.remote()) is not None:
            time.sleep(COMPUTE)
            done += 1
        return done

    def pipelined(self):
        done = 0
        coming = self.source.next.remote()
        while ray.get(coming) is not None:
            coming = self.source.next.remote()
            time.sleep(COMPUTE)
            done += 1
        return done


def timed(method):
    """Items that a fresh worker has done with it, and the seconds for them."""
    worker = Worker.remote(Source.remote(ITEMS))
    start = time.perf_counter()
    done = ray.get(getattr(worker, method).remote())
    return done, time.perf_counter() - start


def main():
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    timed("pipelined")  # processes are up
    naive, naive_seconds = timed("one_by_one")
    better, better_seconds = timed("pipelined")
    ray.shutdown()

    print("                    items   time")
    print(f"fetch, then compute   {naive:3}   {naive_seconds:.2f} s")
    print(f"fetch while computing {better:3}   {better_seconds:.2f} s")
    assert naive == better == ITEMS
    assert better_seconds < 0.9 * naive_seconds


if __name__ == "__main__":
    main()
