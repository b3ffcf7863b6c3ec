"""How fast actors reduce arrays together, by size.

    python benchmarks/allreduce.py [--ranks N] [--megabytes M ...]

A time is that of the slowest rank. The first call of a size is shown by itself: it may be the first to touch its
memory.
"""

import argparse
import time

import numpy as np

import trayray as ray
from trayray.util import collective

REPEATS = 6


@ray.remote(num_cpus=0)
class Rank:
    def measure(self, byte_count: int) -> list[float]:
        """Seconds of each of several calls."""
        tensor = np.ones(byte_count // 8)
        taken: list[float] = []
        for _ in range(REPEATS):
            collective.barrier()
            start = time.perf_counter()
            collective.allreduce(tensor)
            taken.append(time.perf_counter() - start)
        return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[0.000032, 1, 10, 100])
    arguments = parser.parse_args()
    ray.init(address="local", object_store_memory=2 * 1024**3)
    ranks = [Rank.remote() for _ in range(arguments.ranks)]
    collective.create_collective_group(ranks, len(ranks), list(range(len(ranks))))
    for megabytes in arguments.megabytes:
        byte_count = int(megabytes * 1e6)
        measured = ray.get([rank.measure.remote(byte_count) for rank in ranks])
        first, *others = (max(times) for times in zip(*measured, strict=True))
        best = min(others)
        print(
            f"{byte_count / 1e6:10.6g} MB on {len(ranks)} ranks: first {first * 1e3:7.1f} ms, "
            f"then {best * 1e3:7.1f} to {max(others) * 1e3:7.1f} ms, at best {byte_count / 1e6 / best:7.1f} MB/s"
        )
    ray.shutdown()


if __name__ == "__main__":
    main()
