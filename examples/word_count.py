"""Counts the words of every Python file of this interpreter's standard library: a map and reduce over real input.

    trayray run examples/word_count.py [--root DIR] [--top N] [--workers N]

Tasks read batches of files and split what they counted by word (map); actors each keep the tally of their share of the
words (reduce). The same input is counted twice, by one worker and by all of them, and the two tallies have to agree.
The program says `import ray` and runs on either: `trayray run` hands it trayray.
"""

import argparse
import asyncio
import collections
import os
import pathlib
import re
import sysconfig
import time
import zlib

import ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

WORD = re.compile(r"[a-z]{2,}")
BATCHES = 48


@ray.remote
class Tally:
    """How often each word of one shard occurs."""

    def __init__(self):
        self.counts = collections.Counter()

    def add(self, counts):
        self.counts.update(counts)
        return len(counts)

    def summary(self, top):
        """Distinct words, all words, and the `top` most frequent ones, ties in alphabetical order."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return len(ranked), sum(self.counts.values()), ranked[:top]


@ray.remote
class Gate:
    """Opens once `width` callers are waiting at it."""

    def __init__(self, width):
        self.barrier = asyncio.Barrier(width)

    async def arrive(self):
        await self.barrier.wait()


@ray.remote
def hold(gate):
    ray.get(gate.arrive.remote())


def warm_up(workers):
    """Starts the worker processes: as many tasks as workers, none of which ends before all of them run."""
    gate = Gate.remote(workers)
    ray.get([hold.remote(gate) for _ in range(workers)])


def count_words(paths, shards):
    """Reads the files and returns one dict a shard, word to count, and last (files, bytes) read."""
    counts = collections.Counter()
    size = 0
    for path in paths:
        text = pathlib.Path(path).read_bytes()
        size += len(text)
        counts.update(WORD.findall(text.decode("utf-8", errors="replace").lower()))
    # A checksum, not hash(): that differs between processes, and all of them must agree on the shard of a word.
    split = [{} for _ in range(shards)]
    for word, count in counts.items():
        split[zlib.crc32(word.encode()) % shards][word] = count
    return (*split, (len(paths), size))


def python_files(root):
    """Every .py file below `root` but those of installed packages, with its size in bytes, largest first."""
    sizes = {}
    for directory, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in ("site-packages", "dist-packages")]
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                sizes[path] = len(pathlib.Path(path).read_bytes())
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))


def balanced_batches(files, wanted):
    """Up to `wanted` lists of paths of about the same size: each file goes where least is so far."""
    batches = [[0, []] for _ in range(min(wanted, len(files)))]
    for path, size in files:
        lightest = min(batches, key=lambda batch: batch[0])
        lightest[0] += size
        lightest[1].append(path)
    return [paths for _, paths in batches]


def run(batches, cpus, at_once, shards, top, progress):
    """Counts everything with `at_once` map tasks at a time; returns seconds, (files, bytes) and the tally's summary."""
    tallies = [Tally.remote() for _ in range(shards)]
    # Actors and workers are up before the clock starts, in this order: an actor takes a worker process for itself.
    ray.get([tally.summary.remote(0) for tally in tallies])
    warm_up(cpus)
    # A task that asks for 1/n of the CPUs runs n at a time.
    mapper = ray.remote(count_words).options(num_cpus=cpus // at_once, num_returns=shards + 1)
    label = f"{at_once} worker" + ("s" if at_once > 1 else "")
    bar = progress.add_task(label, total=len(batches))

    start = time.perf_counter()
    unfinished = {}
    for paths in batches:
        *parts, read = mapper.remote(paths, shards)
        # The tallies fetch their parts themselves: no word passes through this process.
        unfinished[read] = [tally.add.remote(part) for tally, part in zip(tallies, parts, strict=True)]
    files_read = bytes_read = 0
    while unfinished:
        (read,), _ = ray.wait(list(unfinished), num_returns=1)
        files, size = ray.get(read)
        ray.get(unfinished.pop(read))
        files_read += files
        bytes_read += size
        progress.advance(bar)
    parts = ray.get([tally.summary.remote(top) for tally in tallies])
    seconds = time.perf_counter() - start

    distinct = sum(part[0] for part in parts)
    words = sum(part[1] for part in parts)
    ranked = sorted((item for part in parts for item in part[2]), key=lambda item: (-item[1], item[0]))[:top]
    return seconds, (files_read, bytes_read), (distinct, words, ranked)


def main():
    parser = argparse.ArgumentParser(description="Count the words of all Python files below a directory.")
    parser.add_argument("--root", default=sysconfig.get_path("stdlib"), help="default: this interpreter's library")
    parser.add_argument("--top", type=int, default=10, help="how many words to show")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: one a CPU")
    arguments = parser.parse_args()
    if arguments.workers < 1 or arguments.top < 0:
        parser.error("--workers has to be at least 1 and --top at least 0")

    console = Console()
    # Listing reads each file once: both runs then find them in the page cache.
    files = python_files(arguments.root)
    if not files:
        parser.error(f"no .py file below {arguments.root}")
    workers = arguments.workers
    batches = balanced_batches(files, max(BATCHES, 4 * workers))

    ray.init(num_cpus=workers, include_dashboard=False)
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        one, read, tally = run(batches, workers, 1, workers, arguments.top, progress)
        every, read_again, tally_again = run(batches, workers, workers, workers, arguments.top, progress)
    ray.shutdown()
    if (read, tally) != (read_again, tally_again):
        raise SystemExit(f"the two runs disagree: {read} {tally} and {read_again} {tally_again}")

    distinct, words, ranked = tally
    console.print(f"{read[0]:,} files below {arguments.root}", soft_wrap=True)
    top = Table()
    top.add_column("word")
    top.add_column("times", justify="right")
    for word, count in ranked:
        top.add_row(word, f"{count:,}")
    console.print(top)

    figures = Table(show_header=False)
    figures.add_column()
    figures.add_column(justify="right")
    figures.add_row("files", f"{read[0]:,}")
    figures.add_row("bytes", f"{read[1]:,}")
    figures.add_row("words", f"{words:,}")
    figures.add_row("different words", f"{distinct:,}")
    figures.add_row("1 worker", f"{one:.2f} s")
    figures.add_row("1 worker (all there are)" if workers == 1 else f"all {workers} workers", f"{every:.2f} s")
    figures.add_row("speed-up", f"{one / every:.2f}")
    console.print(figures)


if __name__ == "__main__":
    main()
