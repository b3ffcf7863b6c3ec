"""Placement groups and the jobs that made them."""

import pytest

from tests.processes.waiting import eventually
from trayray.cluster_utils import Cluster
from trayray.exceptions import RayActorError
from trayray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from trayray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@pytest.fixture
def shared(fresh_ray):
    """The address of a cluster of four CPUs that outlives its drivers."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    try:
        yield cluster.address
    finally:
        fresh_ray.shutdown()
        cluster.shutdown()


def make_counter(ray):
    @ray.remote(num_cpus=1)
    class Counter:
        def __init__(self):
            self.count = 0

        def add(self):
            self.count += 1
            return self.count

    return Counter


def state(group):
    return placement_group_table(group)["state"]


def test_groups_end_with_their_job_unless_they_are_detached(shared, fresh_ray):
    ray = fresh_ray
    ray.init(address=shared, namespace="one", log_to_driver=False)
    plain = placement_group([{"CPU": 1}], name="plain")
    lasting = placement_group([{"CPU": 1}], name="lasting", lifetime="detached")
    assert plain.wait(20)
    assert lasting.wait(20)
    strategy = PlacementGroupSchedulingStrategy(lasting)
    kept = make_counter(ray).options(name="kept", lifetime="detached", scheduling_strategy=strategy).remote()
    ray.get(kept.add.remote(), timeout=20)
    ray.shutdown()

    ray.init(address=shared, namespace="two", log_to_driver=False)
    eventually(lambda: state(plain) == "REMOVED")
    assert get_placement_group("lasting") == lasting, "found from another namespace"
    with pytest.raises(ValueError, match="plain"):
        get_placement_group("plain")
    actor = ray.get_actor("kept", namespace="one")
    assert ray.get(actor.add.remote(), timeout=20) == 2
    remove_placement_group(lasting)
    with pytest.raises(RayActorError):
        ray.get(actor.add.remote(), timeout=20)
    eventually(lambda: ray.available_resources().get("CPU") == 4)


def test_a_detached_actor_ends_with_the_group_of_its_job(shared, fresh_ray):
    ray = fresh_ray
    ray.init(address=shared, namespace="one", log_to_driver=False)
    group = placement_group([{"CPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group)
    actor = make_counter(ray).options(name="a", lifetime="detached", scheduling_strategy=strategy).remote()
    ray.get(actor.add.remote(), timeout=20)
    ray.shutdown()

    ray.init(address=shared, namespace="one", log_to_driver=False)
    eventually(lambda: state(group) == "REMOVED")
    with pytest.raises(ValueError, match="'a'"):
        ray.get_actor("a")
    eventually(lambda: ray.available_resources().get("CPU") == 4)


def test_names_belong_to_namespaces(shared, fresh_ray):
    ray = fresh_ray
    ray.init(address=shared, namespace="one", log_to_driver=False)
    first = placement_group([{"CPU": 1}], name="same", lifetime="detached")
    ray.shutdown()

    ray.init(address=shared, namespace="two", log_to_driver=False)
    second = placement_group([{"CPU": 1}], name="same")
    assert get_placement_group("same") == second != first
