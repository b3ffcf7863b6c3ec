"""Mistakes with utilities, graphs and streams that every checker sees: the lines marked E. Only type-checked."""

from __future__ import annotations

from collections.abc import Iterator

import trayray as ray
from trayray import ObjectRef
from trayray.dag import MultiOutputNode
from trayray.util import ActorPool
from trayray.util.multiprocessing import Pool
from trayray.util.queue import Queue


@ray.remote
def f(x: int) -> float:
    return 1.0


@ray.remote
def count(n: int) -> Iterator[int]:
    yield n


@ray.remote(num_returns="dynamic")
def dynamic(n: int) -> Iterator[int]:
    yield n


class _Worker:
    @ray.method
    def work(self, n: int) -> str:
        return ""


Worker = ray.remote(_Worker)
worker = Worker.remote()
refs = [f.remote(1)]
pool = ActorPool([worker])
queue = Queue[int]()
processes = Pool(2)

# ------------------------------------------------ streams
ray.get(count.remote(1))  # E
wrong_item: ObjectRef[str] = next(count.remote(1))  # E
wrong_dynamic: list[int] = ray.get(dynamic.remote(1))  # E
wrong_end: int = ray.get(count.remote(1).completed())  # E
ray.wait([count])  # E
ray.wait([count.remote(1), 1])  # E
ray.wait(count.remote(1))  # E
ray.cancel(1)  # E
ray.cancel(worker)  # E
ray.cancel(count.remote(1), forced=True)  # E

# ------------------------------------------------ graphs
wrong_result: ObjectRef[str] = f.bind(1).execute()  # E
wrong_options: ObjectRef[str] = f.options(num_cpus=1).bind(1).execute()  # E
wrong_outputs: list[ObjectRef[str]] = MultiOutputNode([f.bind(1)]).execute()  # E
MultiOutputNode(1)  # E
f.bind(1).remote()  # E

# ------------------------------------------------ pools and queues
wrong_text: list[int] = list(pool.map(lambda a, n: a.work.remote(n), [1]))  # E
pool.map(lambda a, n: a.missing.remote(n), [1])  # E
pool.map(lambda a, n: n, [1])  # E
pool.push(1)  # E
queue.put("text")  # E
wrong_taken: str = queue.get()  # E
Queue[int](max_size=1)  # E
wrong_mapped: list[int] = processes.map(str, [1])  # E
processes.apply(len, (), keywords={})  # E

# ------------------------------------------------ results as they come
ray.util.as_completed([1])  # E
ray.util.as_completed(refs, num_returns=2)  # E
ray.util.map_unordered(f, [""])  # E
ray.util.map_unordered(count, [1])  # E
ray.util.map_unordered(1, [""])  # E
wrong_values: list[str] = list(ray.util.progress(refs))  # E

# ------------------------------------------------ names and keywords
wrong_name = ray.util.no_such_name  # E
ray.util.placement_group()  # E
ray.util.register_serializer(int, serializer=str)  # E
ray.init(num_cpu=2)  # E
ray.init(job_config={})  # E
wrong_error = ray.exceptions.NoSuchError  # E
