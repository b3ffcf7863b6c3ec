"""``trayray.util`` and what belongs to it as every checker sees it. Only type-checked, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import trayray as ray
from trayray import ObjectRef
from trayray.util import ActorPool, collective
from trayray.util.metrics import Counter, Gauge, Histogram
from trayray.util.multiprocessing import AsyncResult, IMapIterator, Pool
from trayray.util.placement_group import PlacementGroup, placement_group
from trayray.util.queue import Empty, Full, Queue
from trayray.util.scheduling_strategies import (
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)


@ray.remote
def f(x: int, y: str = "") -> float:
    return 1.0


@ray.remote
def count(n: int) -> Iterator[int]:
    yield n


class _Worker:
    @ray.method
    def work(self, n: int) -> str:
        return ""


Worker = ray.remote(_Worker)
worker = Worker.remote()

# ------------------------------------------------ actor pools
pool = ActorPool([worker, Worker.remote()])
assert_type(pool, ActorPool[_Worker])
assert_type(pool.map(lambda a, n: a.work.remote(n), [1, 2]), Iterator[str])
assert_type(list(pool.map_unordered(lambda a, n: a.work.remote(n), range(2))), list[str])
pool.submit(lambda a, n: a.work.remote(n), 1)
assert_type(pool.get_next(timeout=1, ignore_if_timedout=True), Any)
assert_type(pool.get_next_unordered(), Any)
assert_type(pool.has_next() and pool.has_free(), bool)
idle = pool.pop_idle()
if idle is not None:
    assert_type(idle.work.remote(1), ObjectRef[str])
    pool.push(idle)


# ------------------------------------------------ queues
anything = Queue()
assert_type(anything, Queue[Any])
anything.put("text")
queue = Queue[int](maxsize=10, actor_options={"num_cpus": 1})
queue.put(1, block=False)
queue.put_nowait_batch([1, 2])
assert_type(queue.get(timeout=1), int)
assert_type(queue.get_nowait_batch(2), list[int])
assert_type(len(queue) + queue.size(), int)
queue.shutdown(force=True)


async def use(shared: Queue[str]) -> None:
    await shared.put_async("")
    assert_type(await shared.get_async(timeout=1), str)
    try:
        shared.get_nowait()
        shared.put_nowait("")
    except (Empty, Full):
        pass


# ------------------------------------------------ process pools
with Pool(2, initializer=print, initargs=("ready",)) as processes:
    assert_type(processes.map(lambda n: [n], [1, 2], chunksize=1), list[list[int]])
    assert_type(processes.apply(len, ([],)), int)
    assert_type(processes.apply(len, args=("",), kwargs={}), int)
    assert_type(processes.apply_async(len, ("",), callback=print), AsyncResult[int])
    assert_type(processes.map_async(len, [""]).get(timeout=1), list[int])
    assert_type(processes.imap(str, [1]), IMapIterator[str])
    assert_type(list(processes.imap_unordered(str, [1])), list[str])
    assert_type(processes.starmap(int.bit_length, [(1,), (2,)]), list[int])


# ------------------------------------------------ results as they come
refs = [f.remote(i) for i in range(3)]
assert_type(ray.util.as_completed(refs), Iterator[float])
assert_type(ray.util.as_completed(refs, chunk_size=1, timeout=1, fetch_local=False), Iterator[float])
assert_type(ray.util.as_completed(refs, yield_obj_refs=True), Iterator[ObjectRef[float]])
assert_type(ray.util.map_unordered(f, [1, 2]), Iterator[float])
assert_type(ray.util.map_unordered(worker.work, range(3), backpressure_size=None), Iterator[str])
assert_type(ray.util.map_unordered(f.options(num_cpus=2), [1], yield_obj_refs=True), Iterator[ObjectRef[float]])
assert_type(ray.util.progress(refs, desc="numbers"), Iterator[float])
assert_type(ray.util.progress(count.remote(3), total=3), Iterator[int])
assert_type(ray.util.progress(refs, yield_refs=True), Iterator[ObjectRef[float]])
assert_type(ray.util.why(refs[0]).lines, tuple[str, ...])
assert_type(str(ray.util.why(worker)), str)

# ------------------------------------------------ placement
group = placement_group([{"CPU": 1}], strategy="PACK", name="g")
assert_type(group, PlacementGroup)
assert_type(ray.util.placement_group([{"CPU": 1}]), PlacementGroup)
assert_type(ray.get(group.ready()), PlacementGroup)
assert_type(group.wait(timeout_seconds=1), bool)
assert_type(ray.util.get_current_placement_group(), PlacementGroup | None)
ray.util.placement_group_table(group)
ray.util.remove_placement_group(ray.util.get_placement_group("g"))
in_group = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=0)
here = NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)
labelled = NodeLabelSchedulingStrategy(hard={"zone": In("a", "b")})
assert_type(f.options(scheduling_strategy=in_group).remote(1), ObjectRef[float])
assert_type(f.options(scheduling_strategy=here).remote(1), ObjectRef[float])
assert_type(f.options(scheduling_strategy="SPREAD", label_selector={"zone": "a"}).remote(1), ObjectRef[float])
assert_type(Worker.options(scheduling_strategy=labelled).remote().work.remote(1), ObjectRef[str])
assert_type(Worker.options(placement_group=group).remote(), ray.ActorHandle[_Worker])

# ------------------------------------------------ metrics
Counter("calls", description="so many", tag_keys=("kind",)).set_default_tags({"kind": "a"}).inc(2.0, tags={"kind": "b"})
Gauge("level").set(1.5)
Histogram("seconds", boundaries=[0.1, 1.0]).observe(0.2)

# ------------------------------------------------ collective calls
collective.init_collective_group(2, 0, backend="gloo", group_name="g")
collective.create_collective_group([worker, worker], 2, [0, 1], group_name="g")
assert_type(collective.get_rank("g"), int)
collective.barrier("g")
collective.destroy_collective_group("g")


# ------------------------------------------------ serializers
class Handle:
    number = 1


def to_number(handle: Handle) -> int:
    return handle.number


def from_number(number: int) -> Handle:
    return Handle()


ray.util.register_serializer(Handle, serializer=to_number, deserializer=from_number)
ray.util.deregister_serializer(Handle)
serializable, failures = ray.util.inspect_serializability(f, name="f", depth=2)
assert_type(serializable, bool)
assert_type([failure.name for failure in failures], list[str])
assert_type(ray.cloudpickle.dumps(refs), bytes)

# ------------------------------------------------ errors
try:
    ray.get(refs)
except ray.exceptions.DeadlockError as error:
    assert_type(error.calls, tuple[str, ...])
except ray.exceptions.TaskCancelledError as error:
    step: str | None = error.step
except ray.exceptions.ActorDiedError as error:
    assert_type(error.actor_id, str | None)

# ------------------------------------------------ the cluster and this process
ray.init(num_cpus=2, include_dashboard=False, logging_level="warning", _temp_dir="/tmp")
assert_type(ray.init(job_config=ray.job_config.JobConfig(ray_namespace="n"))["address"], Any)
assert_type(ray.util.list_named_actors(all_namespaces=True), list[Any])
assert_type(ray.util.get_node_ip_address(), str)
assert_type(ray.util.log_once("key"), bool)
assert_type(ray.get_runtime_context().worker.mode == ray.WORKER_MODE, bool)
assert_type(ray.Language.JAVA.value(), int)
kind: str = ray.util.accelerators.NVIDIA_TESLA_V100
ray.util.rpdb.set_trace()
ray.util.pdb.set_trace()
