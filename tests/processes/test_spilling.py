"""More data than the object store holds, in real processes: what is spilled, restored, refused, and left on disk."""

import asyncio
import gc
import hashlib
import json
import os
import pathlib
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import trio

from tests import leftovers
from tests.conftest import init_arguments
from tests.processes.waiting import eventually
from trayray.node.process_control import children
from trayray.worker.current import core_worker

MIB = 1024 * 1024
#: Of the clusters here.
STORE = 80 * MIB


@pytest.fixture
def places(tmp_path):
    return [tmp_path / "one", tmp_path / "two"]


@pytest.fixture
def small_store(fresh_ray, places):
    """Starts a cluster with a store of 80 MiB that spills to two directories."""

    def start(**settings):
        config = {"type": "filesystem", "params": {"directory_path": [str(place) for place in places]}}
        system = {"object_spilling_config": json.dumps(config), **settings}
        fresh_ray.init(**init_arguments(object_store_memory=STORE, _system_config=system))
        return fresh_ray

    return start


def files(*places: pathlib.Path) -> list[pathlib.Path]:
    return [path for place in places for path in place.rglob("*") if path.is_file()]


def content(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def free_bytes(ray) -> int:
    gc.collect()
    return ray.available_resources().get("object_store_memory", 0)


def test_four_times_the_store_goes_through_tasks_and_every_value_is_right(small_store, places) -> None:
    ray = small_store()

    @ray.remote
    def make(number, size):
        return np.frombuffer(random.Random(number).randbytes(size), np.uint8)

    @ray.remote
    def check(array):
        return hashlib.sha256(array.tobytes()).hexdigest()

    sizes = [(3 + number % 7) * MIB for number in range(53)]
    assert sum(sizes) >= 4 * STORE - 10 * MIB
    refs = [make.remote(number, size) for number, size in enumerate(sizes)]
    digests = ray.get([check.remote(ref) for ref in refs], timeout=90)
    assert digests == [digest(content(number, size)) for number, size in enumerate(sizes)]
    for number in random.Random(1).sample(range(len(refs)), 20):
        assert digest(ray.get(refs[number]).tobytes()) == digests[number]
    assert all(files(place) for place in places), "directories take turns"

    del refs
    eventually(lambda: free_bytes(ray) == STORE)
    eventually(lambda: not files(*places))


def test_values_that_are_read_stay_where_they_are(small_store) -> None:
    ray = small_store()
    kept = [ray.get(ray.put(np.full(8 * MIB, number, np.uint8))) for number in range(4)]
    refs = [ray.put(np.full(8 * MIB, 100 + number, np.uint8)) for number in range(20)]
    for number, value in enumerate(kept):
        assert value.min() == value.max() == number
    for number, ref in enumerate(refs):
        value = ray.get(ref)
        assert value.min() == value.max() == 100 + number


def test_a_value_that_another_process_reads_stays_where_it_is(small_store) -> None:
    ray = small_store()

    @ray.remote
    class Reader:
        def read(self, refs):
            self.values = ray.get(refs)

        def sums(self):
            return [int(value.min()) for value in self.values], [int(value.max()) for value in self.values]

    reader = Reader.remote()
    ray.get(reader.read.remote([ray.put(np.full(8 * MIB, number, np.uint8)) for number in range(4)]))
    refs = [ray.put(np.full(8 * MIB, 100 + number, np.uint8)) for number in range(20)]
    assert ray.get(reader.sums.remote()) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert [int(ray.get(ref)[-1]) for ref in refs] == list(range(100, 120))


def test_a_spilled_value_can_be_awaited_and_be_a_future(small_store) -> None:
    ray = small_store()
    refs = [ray.put(content(number, 16 * MIB)) for number in range(10)]
    expected = [digest(content(number, 16 * MIB)) for number in range(10)]

    async def awaited():
        return [digest(await ref) for ref in refs]

    assert trio.run(awaited) == expected
    assert asyncio.run(awaited()) == expected
    assert [digest(ref.future().result(30)) for ref in refs] == expected
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda ref: digest(ray.get(ref)), refs)) == expected


def test_spilled_arguments_reach_every_kind_of_actor(small_store) -> None:
    ray = small_store()

    @ray.remote(num_cpus=0)
    class Plain:
        def digest(self, data):
            return hashlib.sha256(data).hexdigest()

    @ray.remote(num_cpus=0)
    class Async:
        async def digest(self, data):
            return hashlib.sha256(data).hexdigest()

    actors = [Plain.remote(), Async.remote(), Plain.options(max_concurrency=3).remote()]
    refs = [ray.put(content(number, 16 * MIB)) for number in range(10)]
    expected = [digest(content(number, 16 * MIB)) for number in range(10)]
    for actor in actors:
        assert ray.get([actor.digest.remote(ref) for ref in refs], timeout=60) == expected


def test_a_put_that_finds_everything_in_use_fails_and_says_by_whom(small_store) -> None:
    ray = small_store()
    kept = [ray.get(ray.put(np.zeros(16 * MIB, np.uint8))) for _ in range(4)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match=rf"driver \(pid {os.getpid()}\): \d+ bytes"):
        ray.put(np.zeros(30 * MIB, np.uint8))
    kept.pop()
    ref = ray.put(np.zeros(30 * MIB, np.uint8))
    assert ray.get(ref).size == 30 * MIB


def test_an_object_that_can_never_fit_fails_at_once(small_store) -> None:
    ray = small_store()
    refs = [ray.put(np.zeros(16 * MIB, np.uint8)) for _ in range(4)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="can never fit"):
        ray.put(np.zeros(STORE + MIB, np.uint8))
    assert ray.get(refs[0]).size == 16 * MIB


def test_a_result_that_finds_no_room_is_the_task_s_error(small_store) -> None:
    ray = small_store(object_store_full_seconds=0.2)
    kept = [ray.get(ray.put(np.zeros(16 * MIB, np.uint8))) for _ in range(4)]

    @ray.remote
    def make():
        return np.zeros(30 * MIB, np.uint8)

    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        ray.get(make.remote(), timeout=30)
    del kept


def test_a_put_waits_for_what_another_process_reads(small_store, tmp_path) -> None:
    ray = small_store(object_store_full_seconds=60)
    gate = tmp_path / "gate"

    @ray.remote
    def read(refs):
        import time

        values = ray.get(refs)
        while not gate.exists():
            time.sleep(0.01)
        return len(values)

    refs = [ray.put(np.zeros(16 * MIB, np.uint8)) for _ in range(4)]
    reading = read.remote(refs)
    with ThreadPoolExecutor(1) as thread:
        put = thread.submit(ray.put, np.zeros(30 * MIB, np.uint8))
        gate.touch()
        assert ray.get(put.result(30)).size == 30 * MIB
    assert ray.get(reading) == 4


def test_a_reader_that_finds_no_room_reads_the_file(small_store) -> None:
    ray = small_store()
    spilled = [ray.put(np.full(16 * MIB, number, np.uint8)) for number in range(8)]
    kept = []
    for number, ref in enumerate(spilled):  # more than fits: the last ones are read where they lie on disk
        kept.append(ray.get(ref, timeout=30))
        assert kept[-1].min() == kept[-1].max() == number
    assert not kept[-1].flags.writeable
    assert [int(value[-1]) for value in kept] == list(range(8))


def test_a_killed_reader_gives_its_room_back(small_store) -> None:
    ray = small_store()

    @ray.remote
    class Reader:
        def read(self, refs):
            self.values = ray.get(refs)
            return os.getpid()

    reader = Reader.remote()
    refs = [ray.put(np.full(16 * MIB, number, np.uint8)) for number in range(4)]
    pid = ray.get(reader.read.remote(refs))
    os.kill(pid, signal.SIGKILL)
    assert ray.get(ray.put(np.ones(48 * MIB, np.uint8))).all()
    assert [int(ray.get(ref)[0]) for ref in refs] == [0, 1, 2, 3]


def test_a_full_disk_is_an_error_and_no_hang(small_store) -> None:
    ray = small_store(local_fs_capacity_threshold=1e-9)
    refs = [ray.put(np.zeros(16 * MIB, np.uint8)) for _ in range(4)]
    with pytest.raises(ray.exceptions.OutOfDiskError, match="local_fs_capacity_threshold"):
        ray.put(np.zeros(30 * MIB, np.uint8))
    del refs
    assert ray.get(ray.put(np.zeros(30 * MIB, np.uint8))).size == 30 * MIB


def test_nothing_is_spilled_when_it_is_forbidden(small_store, places) -> None:
    ray = small_store(automatic_object_spilling_enabled=False)
    refs = [ray.put(np.zeros(16 * MIB, np.uint8)) for _ in range(4)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        ray.put(np.zeros(30 * MIB, np.uint8))
    assert not files(*places)
    del refs


def test_objects_are_copied_ahead_from_the_threshold_on(small_store, places) -> None:
    ray = small_store(object_spilling_threshold=0.3, min_spilling_size=MIB)
    refs = [ray.put(np.zeros(8 * MIB, np.uint8)) for _ in range(6)]
    eventually(lambda: sum(path.stat().st_size for path in files(*places)) >= 16 * MIB)
    assert free_bytes(ray) <= STORE - 6 * 8 * MIB, "they stay in memory as long as there is room"
    del refs


def test_small_objects_share_files(small_store, places) -> None:
    ray = small_store(min_spilling_size=8 * MIB)
    refs = [ray.put(content(number, 200 * 1024)) for number in range(500)]
    assert len(files(*places)) <= 60
    assert all(digest(ray.get(ref)) == digest(content(number, 200 * 1024)) for number, ref in enumerate(refs))


def test_a_lost_file_is_an_error_that_names_it(small_store, places) -> None:
    ray = small_store()
    refs = [ray.put(np.full(16 * MIB, number, np.uint8)) for number in range(8)]
    lost = files(*places)
    for path in lost:
        path.unlink()
    with pytest.raises(ray.exceptions.ObjectLostError) as caught:
        for ref in refs:
            ray.get(ref, timeout=30)
    assert any(str(path) in note for path in lost for note in caught.value.__notes__)
    del refs


def test_an_object_is_freed_while_it_is_spilled(small_store, places) -> None:
    ray = small_store(object_spilling_threshold=0.1, min_spilling_size=MIB)
    for number in range(40):
        assert ray.get(ray.put(np.full(16 * MIB, number, np.uint8)))[number] == number
    eventually(lambda: free_bytes(ray) == STORE)
    eventually(lambda: not files(*places))


def test_an_interrupted_put_leaves_nothing_behind(small_store) -> None:
    ray = small_store(object_store_full_seconds=60)

    @ray.remote
    class Reader:
        def read(self, refs):
            self.values = ray.get(refs)

    reader = Reader.remote()
    refs = [ray.put(np.zeros(16 * MIB, np.uint8)) for _ in range(4)]
    ray.get(reader.read.remote(refs))
    core = core_worker()
    assert core is not None

    def interrupt() -> None:
        eventually(lambda: core.objects._creating)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with ThreadPoolExecutor(1) as thread:
        interrupting = thread.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            ray.put(np.zeros(30 * MIB, np.uint8))
        interrupting.result()
    del refs
    ray.kill(reader)
    eventually(lambda: free_bytes(ray) == STORE)


def test_a_killed_cluster_leaves_no_files(small_store, places) -> None:
    ray = small_store()
    refs = [ray.put(np.zeros(16 * MIB, np.uint8)) for _ in range(8)]
    assert files(*places)
    (node,) = [pid for pid in children() if b"trayray.node.main" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(node, signal.SIGKILL)
    eventually(lambda: not any(place.exists() and list(place.iterdir()) for place in places))
    del refs


def test_a_node_ends_in_good_order_though_objects_are_on_disk(small_store, places) -> None:
    ray = small_store()
    refs = [ray.put(np.zeros(16 * MIB, np.uint8)) for _ in range(8)]
    (node,) = [pid for pid in children() if b"trayray.node.main" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]
    core = core_worker()
    assert core is not None
    (log,) = leftovers.session_root().glob(f"{core.welcome.session}/logs/node.*")
    os.kill(node, signal.SIGTERM)
    eventually(lambda: not any(place.exists() and list(place.iterdir()) for place in places))
    eventually(lambda: core.closed)
    assert "Traceback" not in log.read_text()
    del refs
