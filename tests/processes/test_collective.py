"""Groups of actors, tasks and the driver that make calls together."""

import numpy as np
import pytest

import trayray
from trayray.util import collective
from trayray.util.collective import CollectiveError, ReduceOp
from trayray.util.collective import group as group_module

#: Above and below the limit of what travels inside messages.
SMALL, LARGE = 5, 40_001


@trayray.remote(num_cpus=0)
class Rank:
    """A member of a group, by the arguments of the calls."""

    def call(self, function, *arguments):
        return function(*arguments)


def together(actors, function, *arguments):
    """What ``function(rank, *arguments)`` returns in each of the actors, called in all of them at once."""
    return [actor.call.remote(function, rank, *arguments) for rank, actor in enumerate(actors)]


def ended(refs):
    """The results, or the errors, of calls."""
    ends = []
    for ref in refs:
        try:
            ends.append(trayray.get(ref, timeout=60))
        except Exception as error:  # noqa: BLE001 -- whatever it is, the test looks at it
            ends.append(error)
    return ends


@pytest.fixture(scope="module")
def trio_of_ranks(ray):
    """Three actors in a group called "three"."""
    actors = [Rank.remote() for _ in range(3)]
    collective.create_collective_group(actors, 3, [0, 1, 2], backend="gloo", group_name="three", gloo_timeout=20_000)
    yield actors
    ray.get(together(actors, lambda rank: collective.destroy_collective_group("three")))


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_collective_calls(ray, trio_of_ranks, size):
    def calls(rank, size):
        results = {}
        for op in ReduceOp:
            tensor = np.full(size, rank + 2.0)
            collective.allreduce(tensor, "three", op)
            results[op.name] = tensor
        tensor = np.full(size, rank + 2.0)
        collective.reduce(tensor, 2, "three")
        results["reduce"] = tensor
        tensor = np.arange(size, dtype="i4") * rank
        collective.broadcast(tensor, 1, "three")
        results["broadcast"] = tensor
        gathered = [np.zeros(size, "u1") for _ in range(3)]
        collective.allgather(gathered, np.full(size, rank, "u1"), "three")
        results["allgather"] = gathered
        tensor = np.zeros(size)
        collective.reducescatter(tensor, [np.full(size, rank * 10.0 + i) for i in range(3)], "three")
        results["reducescatter"] = tensor
        collective.barrier("three")
        return results

    for rank, results in enumerate(ray.get(together(trio_of_ranks, calls, size), timeout=60)):
        for name, value in {"SUM": 9, "PRODUCT": 24, "MIN": 2, "MAX": 4}.items():
            np.testing.assert_array_equal(results[name], np.full(size, float(value)))
        np.testing.assert_array_equal(results["reduce"], np.full(size, 9.0 if rank == 2 else rank + 2.0))
        np.testing.assert_array_equal(results["broadcast"], np.arange(size, dtype="i4"))
        np.testing.assert_array_equal(results["allgather"], [np.full(size, r) for r in range(3)])
        np.testing.assert_array_equal(results["reducescatter"], np.full(size, 30.0 + 3 * rank))


def test_arrays_that_are_larger_than_a_piece(ray, trio_of_ranks):
    def calls(rank):
        whole, group_module._PIECE_BYTES = group_module._PIECE_BYTES, 100_000
        array = np.arange(60_000.0).reshape(300, 200)[::2, ::2] + rank
        collective.allreduce(array, "three")
        gathered = [np.zeros((150, 100)) for _ in range(3)]
        collective.allgather(gathered, array, "three")
        collective.reducescatter(array, gathered, "three", ReduceOp.MAX)
        collective.broadcast(array, 0, "three")
        group_module._PIECE_BYTES = whole
        return array

    expected = np.arange(60_000.0).reshape(300, 200)[::2, ::2] * 3 + 3
    for array in ray.get(together(trio_of_ranks, calls), timeout=60):
        np.testing.assert_array_equal(array, expected)


def test_the_same_bits_on_every_rank(ray, trio_of_ranks):
    def total(rank, size):
        tensor = np.random.default_rng(rank).standard_normal(size).astype("f4")
        collective.allreduce(tensor, "three")
        return tensor.tobytes()

    for size in (SMALL, LARGE):
        assert len(set(ray.get(together(trio_of_ranks, total, size)))) == 1


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_messages_between_two_ranks_come_in_order(ray, trio_of_ranks, size):
    def calls(rank, size):
        if rank == 0:
            for value in (1, 2):
                collective.send(np.full(size, value), 2, "three")
        if rank == 2:
            tensors = [np.zeros(size, int), np.zeros(size, int)]
            for tensor in tensors:
                collective.recv(tensor, 0, "three")
            return tensors
        return None

    _, _, (first, second) = ray.get(together(trio_of_ranks, calls, size), timeout=60)
    np.testing.assert_array_equal(first, np.full(size, 1))
    np.testing.assert_array_equal(second, np.full(size, 2))


def test_ranks_that_disagree_are_all_told_and_can_go_on(ray, trio_of_ranks):
    def disagree(rank):
        collective.allreduce(np.zeros(3 if rank == 1 else 4), "three")

    def other_call(rank):
        if rank == 0:
            collective.barrier("three")
        else:
            collective.broadcast(np.zeros(3), 1, "three")

    def other_type(rank):
        tensor = np.zeros(3, "f4" if rank else "f8")
        if rank == 1:
            collective.recv(tensor, 0, "three")
        if rank == 0:
            collective.send(tensor, 1, "three")

    def wrong_argument(rank):
        collective.allreduce([1] if rank == 2 else np.zeros(3), "three")

    def fine(rank):
        tensor = np.ones(2)
        collective.allreduce(tensor, "three")
        return tensor.tolist()

    for error in ended(together(trio_of_ranks, disagree)):
        assert isinstance(error, CollectiveError), error
        assert "allreduce(SUM) of float64 (3,)" in str(error)
        assert "allreduce(SUM) of float64 (4,)" in str(error)
    for error in ended(together(trio_of_ranks, other_call)):
        assert "barrier()" in str(error)
        assert "broadcast(from 1) of float64 (3,)" in str(error)
    for error in ended(together(trio_of_ranks, other_type))[:2]:
        assert "float32 (3,) from 0 to 1" in str(error)
        assert "float64 (3,) from 0 to 1" in str(error)
    first, second, third = ended(together(trio_of_ranks, wrong_argument))
    assert isinstance(third, TypeError)
    for error in (first, second):
        assert "rank 2 could not take part: TypeError: the tensor must be a numpy array, not list" in str(error)
    assert ray.get(together(trio_of_ranks, fine)) == [[3, 3]] * 3


def test_misuse(ray, trio_of_ranks):
    def misuse(rank):
        ends = []
        for call in (
            lambda: collective.broadcast(np.zeros(3), 3, "three"),
            lambda: collective.send(np.zeros(3), rank, "three"),
            lambda: collective.allreduce(np.zeros(3), "three", "SUM"),
            lambda: collective.barrier("no such group"),
            lambda: collective.init_collective_group(3, rank, "gloo", "three"),
        ):
            try:
                call()
            except (ValueError, TypeError, RuntimeError) as error:
                ends.append(str(error))
        return ends, collective.get_rank("three"), collective.get_collective_group_size("three")

    ends, rank, size = ray.get(trio_of_ranks[1].call.remote(misuse, 1))
    assert (rank, size) == (1, 3)
    expected = (
        "the ranks of group 'three' are 0..2",
        "this process itself",
        "op must be a ReduceOp",
        "not in the",
        "already",
    )
    for end, text in zip(ends, expected, strict=True):
        assert text in end
    assert not collective.is_group_initialized("three")
    assert (collective.get_rank("three"), collective.get_collective_group_size("three")) == (-1, -1)
    collective.destroy_collective_group("three")
    with pytest.raises(ValueError, match="world_size is 0"):
        collective.init_collective_group(0, 0)
    with pytest.raises(ValueError, match=r"rank is 2; it must be in 0\.\.1"):
        collective.init_collective_group(2, 2)
    with pytest.raises(ValueError, match="each of"):
        collective.create_collective_group(trio_of_ranks, 3, [0, 1, 1])
    with pytest.raises(ValueError, match="Each actor should correspond to one rank"):
        collective.create_collective_group(trio_of_ranks, 2, [0, 1])


def test_tasks_and_the_driver_can_be_ranks(ray):
    @ray.remote
    def task(rank):
        collective.init_collective_group(3, rank, "cpu", "mixed")
        tensor = np.full(SMALL, rank)
        collective.allreduce(tensor, "mixed")
        collective.destroy_collective_group("mixed")
        return tensor.tolist()

    refs = [task.remote(1), task.remote(2)]
    collective.init_collective_group(3, 0, "trayray", "mixed")
    tensor = np.zeros(SMALL, int)
    collective.allreduce(tensor, "mixed")
    collective.destroy_collective_group("mixed")

    assert tensor.tolist() == [3] * SMALL
    assert ray.get(refs) == [[3] * SMALL] * 2


def test_nothing_of_large_calls_stays_in_the_store(ray, trio_of_ranks):
    def add(rank):
        collective.allreduce(np.ones(3_000_000), "three")

    for _ in range(5):  # 5 times 3 times 24 MB, and the store has 200
        ray.get(together(trio_of_ranks, add), timeout=60)
