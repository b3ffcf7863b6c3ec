import pickle
import threading
from collections.abc import Callable

import pytest

from trayray.model import ids
from trayray.model.ids import (
    ActorClassID,
    ActorID,
    BaseID,
    ClusterID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    TaskIdFactory,
    UniqueID,
    WorkerID,
)

SIZES: dict[type[BaseID], int] = {
    JobID: 4,
    ActorID: 16,
    PlacementGroupID: 18,
    TaskID: 24,
    **dict.fromkeys((UniqueID, NodeID, WorkerID, FunctionID, ClusterID, ActorClassID), 28),
}
JOB = JobID.from_int(258)


@pytest.mark.parametrize(("kind", "size"), SIZES.items(), ids=lambda value: getattr(value, "__name__", None))
class TestEveryKind:
    def test_roundtrips_through_bytes_text_and_pickle(self, kind: type[BaseID], size: int):
        made = kind.from_random()
        assert len(made.binary()) == size == kind.size()
        assert made.hex() == made.binary().hex()
        for copy in (
            kind(made.binary()),
            kind.from_binary(made.binary()),
            kind.from_hex(made.hex()),
            kind.from_hex(made.hex().encode()),
            pickle.loads(pickle.dumps(made)),
        ):
            assert type(copy) is kind
            assert copy == made
            assert hash(copy) == hash(made)
        assert kind.from_random() != made
        assert repr(made) == f"{kind.__name__}({made.hex()})"

    def test_nil_is_all_ones(self, kind: type[BaseID], size: int):
        assert kind.nil().binary() == b"\xff" * size
        assert kind.nil().is_nil()
        assert not kind(bytes(size)).is_nil()

    def test_wrong_length_names_both_lengths(self, kind: type[BaseID], size: int):
        with pytest.raises(ValueError, match=rf"ID string needs to have length {size}, got {size + 1}"):
            kind(bytes(size + 1))
        with pytest.raises(ValueError, match=rf"ID string needs to have length {size}, got 2"):
            kind.from_hex("abcd")

    def test_only_bytes_make_an_id(self, kind: type[BaseID], size: int):
        with pytest.raises(TypeError, match="expected bytes"):
            kind("f" * size)  # pyright: ignore[reportArgumentType]  # the misuse under test

    def test_has_no_dict(self, kind: type[BaseID], size: int):
        assert not hasattr(kind(bytes(size)), "__dict__")


def test_ids_of_different_kinds_differ():
    data = bytes(28)
    assert NodeID(data) != WorkerID(data)
    assert NodeID(data) != data
    assert len({NodeID(data), WorkerID(data), NodeID(data)}) == 2


def test_job_ids_are_little_endian_numbers():
    assert JobID.from_int(1).hex() == "01000000"
    assert JOB.int() == 258
    with pytest.raises(OverflowError):
        JobID.from_int(2**32)


def test_actor_ids_end_in_their_job_and_never_repeat():
    parent = TaskID.for_driver_task(JOB)
    first, second = ActorID.of(JOB, parent, 1), ActorID.of(JOB, parent, 1)
    assert first != second
    assert first.job_id == second.job_id == JOB
    assert PlacementGroupID.of(JOB).job_id() == JOB


def test_layout_of_task_ids():
    actor = ActorID.of(JOB)
    driver = TaskID.for_driver_task(JOB)
    assert driver.binary() == b"\xff" * 20 + JOB.binary()
    creation = TaskID.for_actor_creation_task(actor)
    assert creation.binary() == b"\xff" * 8 + actor.binary()
    normal = TaskID.for_normal_task(JOB, driver, 7)
    assert normal.binary()[8:] == b"\xff" * 12 + JOB.binary()
    call = TaskID.for_actor_task(JOB, driver, 7, actor)
    assert call.actor_id() == creation.actor_id() == actor
    assert {task.job_id() for task in (driver, creation, normal, call, TaskID.for_fake_task(JOB))} == {JOB}


def test_derived_task_ids_depend_on_parent_and_counter_only():
    driver, other = TaskID.for_driver_task(JOB), TaskID.for_fake_task(JOB)
    assert TaskID.for_normal_task(JOB, driver, 1) == TaskID.for_normal_task(JOB, driver, 1)
    made = {TaskID.for_normal_task(JOB, parent, n) for parent in (driver, other) for n in range(10)}
    assert len(made) == 20


def test_factory_counts_up_from_its_base():
    factory = TaskIdFactory(JOB.binary(), base=41)
    actor = ActorID.of(JOB).binary()
    assert factory.next_normal() == (41).to_bytes(8, "little") + b"\xff" * 12 + JOB.binary()
    assert factory.next_for_actor(actor) == (42).to_bytes(8, "little") + actor
    assert TaskID(factory.next_normal()).job_id() == JOB


def test_factory_wraps_around_and_leaves_out_the_reserved_prefix():
    factory = TaskIdFactory(JOB.binary(), base=2**64 - 3)
    uniques = [int.from_bytes(factory.next_normal()[:8], "little") for _ in range(4)]
    assert uniques == [2**64 - 3, 2**64 - 2, 0, 1]
    assert TaskIdFactory(JOB.binary(), base=2**64 - 1).next_normal() != ids.driver_task_id(JOB.binary())


def test_factory_refuses_a_wrong_job():
    with pytest.raises(ValueError, match="4 bytes, got 3"):
        TaskIdFactory(b"abc", base=0)


def test_factory_can_be_shared_by_threads():
    factory = TaskIdFactory(JOB.binary(), base=2**63)
    made: list[list[bytes]] = [[], [], [], []]

    def make(into: list[bytes]) -> None:
        into.extend(factory.next_normal() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set().union(*made)) == 8000


@pytest.mark.parametrize(
    ("make", "same"),
    [
        (lambda: ids.driver_task_id(JOB.binary()), TaskID.for_driver_task(JOB)),
        (lambda: ids.creation_task_id(bytes(16)), TaskID.for_actor_creation_task(ActorID(bytes(16)))),
    ],
)
def test_bytes_functions_agree_with_the_classes(make: Callable[[], bytes], same: TaskID):
    assert make() == same.binary()


def test_object_ids_are_task_and_index():
    task = TaskID.for_fake_task(JOB).binary()
    assert ids.object_id(task, 1) == task + b"\x01\0\0\0"
    assert len(ids.object_id(task, 2**32 - 1)) == ids.OBJECT_ID_SIZE
