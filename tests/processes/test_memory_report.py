"""What processes tell of the objects that they keep: each kind, as the documents of `ray memory` show it."""

import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests import leftovers
from tests.conftest import init_arguments
from tests.processes.waiting import eventually
from trayray.api.node_control import memory_report
from trayray.cli.status import find
from trayray.core.memory_table import MemoryReport, Reference
from trayray.core.reference_kinds import Kind, is_actor_handle

Told = Callable[..., list[Reference]]
LARGE = 200_000  # zeros of 8 bytes: more than travels inside a message


@pytest.fixture(scope="module")
def ray(nothing_left_behind_by_all: None) -> Iterator[ModuleType]:
    """A cluster whose processes record call sites."""
    import trayray

    with pytest.MonkeyPatch.context() as patch, leftovers.nothing_left_behind(shared=True):
        patch.setenv("TRAYRAY_record_ref_creation_sites", "1")
        trayray.init(**init_arguments())
        try:
            yield trayray
        finally:
            trayray.shutdown()


@pytest.fixture
def report(ray: ModuleType) -> Callable[..., MemoryReport]:
    session = find(ray.get_runtime_context().gcs_address)
    return lambda **how: memory_report(session, **how)


@pytest.fixture
def told(report: Callable[..., MemoryReport]) -> Told:
    """All that is told of these references (or ids of objects), the driver's first."""

    def tell(*refs: Any) -> list[Reference]:
        ids = [ref if isinstance(ref, bytes) else ref.binary() for ref in refs]
        found = [each for each in report().references if each.object_id in ids]
        return sorted(found, key=lambda each: (each.process_type, ids.index(each.object_id)))

    return tell


@pytest.fixture
def gate(tmp_path: pathlib.Path) -> pathlib.Path:
    """Reading it blocks until the test writes to it, once a reader."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def kinds(found: list[Reference]) -> list[tuple[str, Kind]]:
    return [(each.process_type, each.kind) for each in found]


def function_of(each: Reference) -> str:
    """What made the reference, and the innermost line without its number."""
    what, line, *_ = each.call_site.split(" | ")
    return f"{what} | {line.rpartition(':')[0]}"


# --- the five kinds, with the examples of the documents ---


def test_local_references(ray, told):
    @ray.remote
    def f(arg):
        return arg

    a = ray.put(None)
    b = f.remote(None)
    ray.get(b)

    first, second = told(a, b)
    assert kinds([first, second]) == [("Driver", Kind.LOCAL_REFERENCE)] * 2
    assert function_of(first) == f"(put object)  | {__file__}:test_local_references"
    assert function_of(second) == f"(task call)  | {__file__}:test_local_references"
    assert first.size is not None
    assert first.size > 0
    assert (first.task_status, first.attempt) == (second.task_status, second.attempt) == ("FINISHED", 1)
    assert first.pid == first.owner_pid == os.getpid()


def test_objects_pinned_in_memory(ray, told):
    a = ray.put(np.zeros(LARGE))
    b = ray.get(a)
    object_id = a.binary()
    del a

    (found,) = told(object_id)
    assert kinds([found]) == [("Driver", Kind.PINNED_IN_MEMORY)]
    assert found.size is not None
    assert found.size >= b.nbytes
    del b
    assert not told(object_id)


def test_small_values_are_copied_and_pin_nothing(ray, told):
    a = ray.put(np.zeros(1))
    b = ray.get(a)
    object_id = a.binary()
    del a

    assert b.tolist() == [0.0]
    assert not told(object_id)


@pytest.mark.parametrize("value", [None, np.zeros(LARGE)], ids=["small", "large"])
def test_pending_task_references(ray, told, gate, value):
    @ray.remote
    def f(arg, gate):
        pathlib.Path(gate).read_bytes()

    a = ray.put(value)
    b = f.remote(a, str(gate))
    writer = gate.open("wb")  # it runs

    first, second, *others = told(b, a)
    assert kinds([first, second]) == [("Driver", Kind.LOCAL_REFERENCE), ("Driver", Kind.USED_BY_PENDING_TASK)]
    assert (first.size, first.task_status) == (None, "SUBMITTED_TO_WORKER")
    if value is None:
        assert not others  # it travelled with the call
    else:
        (pinned,) = others
        assert kinds(others) == [("Worker", Kind.PINNED_IN_MEMORY)]
        assert pinned.call_site.startswith("(deserialize task arg) ")
        assert pinned.call_site.endswith("test_pending_task_references.<locals>.f")
        assert (pinned.owner, pinned.owner_pid) == (second.owner, os.getpid())
        assert pinned.size == second.size
        assert pinned.task_status == "-"
    writer.close()
    assert ray.get(b) is None
    eventually(lambda: kinds(told(b, a)) == [("Driver", Kind.LOCAL_REFERENCE)] * 2)


def test_serialized_references(ray, told, gate):
    @ray.remote
    def f(arg, gate):
        pathlib.Path(gate).read_bytes()

    a = ray.put(None)
    b = f.remote([a], str(gate))
    writer = gate.open("wb")

    found = told(b, a)
    assert kinds(found) == [
        ("Driver", Kind.LOCAL_REFERENCE),
        ("Driver", Kind.USED_BY_PENDING_TASK),
        ("Worker", Kind.LOCAL_REFERENCE),
    ]
    assert found[2].size is None
    assert found[2].call_site.endswith("test_serialized_references.<locals>.f")
    writer.close()
    assert ray.get(b) is None
    eventually(lambda: len(told(b, a)) == 2)


def test_captured_references(ray, told):
    a = ray.put(None)
    b = ray.put([a])
    object_id = a.binary()
    assert kinds(told(a, b)) == [("Driver", Kind.LOCAL_REFERENCE)] * 2
    del a

    found = told(object_id, b)
    assert kinds(found) == [("Driver", Kind.CAPTURED_IN_OBJECT), ("Driver", Kind.LOCAL_REFERENCE)]
    assert function_of(found[0]) == f"(put object)  | {__file__}:test_captured_references"
    del b
    assert not told(object_id)


# --- actors ---


@pytest.fixture
def keeper(ray: ModuleType) -> Iterator[Any]:
    @ray.remote(num_cpus=0)
    class Keeper:
        def keep(self, what):
            self.what = what

    actor = Keeper.remote()
    yield actor
    ray.kill(actor)


def test_an_actor_keeps_a_reference_after_the_call(ray, told, keeper):
    a = ray.put(None)
    done = keeper.keep.remote([a])
    ray.get(done)
    assert kinds(told(done, a)) == [("Driver", Kind.LOCAL_REFERENCE)] * 2 + [("Worker", Kind.LOCAL_REFERENCE)]
    assert function_of(told(done)[0]) == f"(actor call)  | {__file__}:test_an_actor_keeps_a_reference_after_the_call"
    object_id = a.binary()
    del a

    (found,) = told(object_id)  # the owner keeps it for the actor only
    assert kinds([found]) == [("Worker", Kind.LOCAL_REFERENCE)]
    assert found.call_site.startswith("(deserialize actor task arg) ")
    assert found.call_site.endswith("Keeper.keep")
    assert found.owner_pid == os.getpid()
    assert found.pid != os.getpid()
    ray.get(keeper.keep.remote(None))
    eventually(lambda: not told(object_id))


def test_handles(ray, report, keeper):
    @ray.remote(num_cpus=0)
    class Other:
        def ready(self):
            return True

    def handles() -> list[Reference]:
        return [
            each for each in report().references if is_actor_handle(each.object_id) and "test_handles" in each.call_site
        ]

    other = Other.remote()
    (own,) = handles()
    assert kinds([own]) == [("Driver", Kind.ACTOR_HANDLE)]
    assert function_of(own) == f"(actor call)  | {__file__}:test_handles"
    assert (own.size, own.task_status) == (None, "-")
    ray.get(keeper.keep.remote([other]))
    found = [each for each in report().references if each.object_id == own.object_id]
    assert sorted(kinds(found)) == [("Driver", Kind.ACTOR_HANDLE), ("Worker", Kind.ACTOR_HANDLE)]
    ray.kill(other)


# --- what is not there, or not told ---


def test_a_result_that_nobody_will_ask_for(ray, told, gate):
    @ray.remote
    def f(gate):
        pathlib.Path(gate).read_bytes()

    b = f.remote(str(gate))
    writer = gate.open("wb")
    object_id = b.binary()
    assert kinds(told(b)) == [("Driver", Kind.LOCAL_REFERENCE)]
    del b
    assert not told(object_id)
    writer.close()


def test_tasks_that_have_not_begun(ray, told):
    @ray.remote(num_cpus=0)
    def use(value):
        return value

    @ray.remote(resources={"nobody has it": 1})
    def never():
        return None

    waits = never.remote()
    depends = use.remote(waits)

    found = told(waits, depends)
    assert [(each.kind, each.task_status) for each in found] == [
        (Kind.USED_BY_PENDING_TASK, "PENDING_NODE_ASSIGNMENT"),
        (Kind.LOCAL_REFERENCE, "PENDING_ARGS_AVAIL"),
    ]
    ray.cancel(waits)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(depends)


def test_a_stopped_process_is_named(ray, report, keeper):
    a = ray.put(None)
    ray.get(keeper.keep.remote([a]))
    (pid,) = [each.pid for each in report().references if each.object_id == a.binary() and each.pid != os.getpid()]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = report(answer_seconds=0.3)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert [process.pid for process in found.silent] == [pid]
    assert {each.pid for each in found.references if each.object_id == a.binary()} == {os.getpid()}
    assert not report().silent


def test_the_largest_are_listed_and_all_are_counted(ray, report):
    refs = [ray.put(bytes(number)) for number in range(1000, 1500)]

    found = report(most_references=10)

    (driver,) = [process for process in found.processes if process.pid == os.getpid()]
    everything = [each for each in report().references if each.pid == os.getpid()]
    sizes = sorted((each.size or 0 for each in everything), reverse=True)
    assert sorted((each.size or 0 for each in driver.references), reverse=True) == sizes[:10]
    omitted = driver.omitted[Kind.LOCAL_REFERENCE]
    listed = [each for each in driver.references if each.kind is Kind.LOCAL_REFERENCE]
    local = [each for each in everything if each.kind is Kind.LOCAL_REFERENCE]
    assert omitted.count + len(listed) == len(local) >= len(refs)
    assert omitted.size + sum(each.size or 0 for each in listed) == sum(each.size or 0 for each in local)


def test_the_store(ray, report):
    before = report().store
    a = ray.put(np.zeros(LARGE))

    after = report().store
    assert (after.objects, after.capacity) == (before.objects + 1, before.capacity)
    assert after.used - before.used >= 8 * LARGE
    assert after.needed - before.needed >= 8 * LARGE
    del a
