"""Placement groups and scheduling strategies in real processes, on one node; what outlives a job is in
`test_placement_group_lifetimes`."""

import os
import pathlib
import time

import pytest

import trayray
from tests.conftest import init_arguments
from tests.processes.waiting import eventually
from trayray.exceptions import (
    ActorPlacementGroupRemoved,
    ActorUnschedulableError,
    GetTimeoutError,
    RayActorError,
    RaySystemError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
)
from trayray.util import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from trayray.util.placement_group import PlacementGroup
from trayray.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

CPUS = 4
#: An id that no node has.
NOBODY = "ab" * 28


@pytest.fixture(scope="module")
def cluster(nothing_left_behind_by_all):
    """A node with labels, for the whole module."""
    from tests import leftovers

    if trayray.is_initialized():
        trayray.shutdown()
    with leftovers.nothing_left_behind(shared=True):
        trayray.init(**init_arguments(num_cpus=CPUS, labels={"zone": "a"}))
        try:
            yield trayray
        finally:
            trayray.shutdown()


@pytest.fixture
def ray(cluster):
    """The cluster with all of its CPUs free, before and after; what the test has left behind of groups is removed."""
    eventually(all_free)
    yield cluster
    for group_id, entry in placement_group_table().items():
        if entry["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(trayray.PlacementGroupID.from_hex(group_id)))
    eventually(all_free)


def free(name="CPU"):
    return trayray.available_resources().get(name, 0)


def all_free():
    return free() == CPUS


def inside(group, index=-1, captures=None):
    return PlacementGroupSchedulingStrategy(group, index, captures)


def state(group):
    return placement_group_table(group)["state"]


@trayray.remote
def context():
    here = trayray.get_runtime_context()
    return here.get_placement_group_id(), here.should_capture_child_tasks_in_placement_group


@trayray.remote
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count

    def group(self):
        return get_current_placement_group()

    def sleep(self):
        time.sleep(60)

    def crash(self):
        os._exit(1)

    def start(self):
        return trayray.get(context.remote())


# --- groups ---


def test_a_group_is_shown_among_the_resources_as_ray_shows_it(ray):
    group = placement_group([{"CPU": 1}, {"CPU": 0.5, "memory": 1000}])
    assert group.wait(20)
    name = group.id.hex()
    total, left = ray.cluster_resources(), ray.available_resources()
    assert (total["CPU"], left["CPU"]) == (CPUS, CPUS - 1.5)
    (node,) = ray.nodes()
    assert not [resource for resource in node["Resources"] if "_group_" in resource], "a node has what it started with"
    for amounts in (total, left):
        assert amounts[f"CPU_group_{name}"] == 1.5
        assert amounts[f"CPU_group_1_{name}"] == 0.5
        assert amounts[f"memory_group_1_{name}"] == 1000
        assert amounts[f"bundle_group_{name}"] == 2000
    holder = Counter.options(num_cpus=1, scheduling_strategy=inside(group, 0)).remote()
    ray.get(holder.add.remote(), timeout=20)
    left = ray.available_resources()
    assert (left.get(f"CPU_group_0_{name}", 0), left[f"CPU_group_{name}"]) == (0, 0.5)
    assert left[f"bundle_group_0_{name}"] == pytest.approx(999.999)
    remove_placement_group(group)
    eventually(all_free)
    assert not [resource for resource in ray.cluster_resources() if "_group_" in resource]


def test_a_group_waits_for_resources_that_tasks_hold_and_gets_them_first(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote(num_cpus=CPUS)
    def hold():
        while not gate.exists():
            time.sleep(0.01)

    running = hold.remote()
    eventually(lambda: free() == 0)
    waiting = [hold.remote() for _ in range(3)]
    group = placement_group([{"CPU": 1}] * CPUS)
    assert state(group) == "PENDING"
    assert placement_group_table(group)["stats"]["scheduling_state"] == "NO_RESOURCES"
    gate.touch()
    assert group.wait(20)
    remove_placement_group(group)
    ray.get([running, *waiting], timeout=20)


def test_idle_leases_give_way_to_a_group(ray):
    @ray.remote
    def quick():
        return 1

    for _ in range(3):
        ray.get([quick.remote() for _ in range(20)], timeout=20)
        group = placement_group([{"CPU": CPUS}])
        assert group.wait(5)
        remove_placement_group(group)


def test_a_task_that_waits_for_its_group_lends_it_its_own_cpus(ray):
    @ray.remote(num_cpus=CPUS)
    def reserve():
        group = placement_group([{"CPU": CPUS}])
        trayray.get(group.ready())
        value = trayray.get(context.options(num_cpus=CPUS, scheduling_strategy=inside(group)).remote())
        remove_placement_group(group)
        return value[0] == group.id.hex()

    assert ray.get(reserve.remote(), timeout=20)


def test_nested_tasks_in_a_bundle_of_one_cpu_lend_it_to_each_other(ray):
    @ray.remote
    def depth(n):
        return 0 if n == 0 else 1 + trayray.get(depth.remote(n - 1))

    group = placement_group([{"CPU": 1}])
    captured = depth.options(scheduling_strategy=inside(group, 0, captures=True))
    assert ray.get(captured.remote(3), timeout=30) == 3


def test_a_look_at_a_group_takes_no_waiting(ray):
    ready, pending = placement_group([{"CPU": 1}]), placement_group([{"CPU": CPUS}])
    assert ready.wait()
    assert [(ready.wait(0), pending.wait(0)) for _ in range(5)] == [(True, False)] * 5


def test_infeasible_groups_say_so(ray):
    group = placement_group([{"CPU": CPUS + 1}])
    spread = placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")
    for each in (group, spread):
        assert (state(each), each.wait(0)) == ("PENDING", False)
        assert placement_group_table(each)["stats"]["scheduling_state"] == "INFEASIBLE"
    assert free() == CPUS


def test_labels_of_bundles_are_minded(ray):
    here = placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "in(a,b)"}])
    nowhere = placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "b"}])
    assert here.wait(20)
    assert placement_group_table(nowhere)["stats"]["scheduling_state"] == "INFEASIBLE"


def test_handles_travel_and_are_equal(ray):
    @ray.remote
    def look(group):
        return group, group.bundle_specs, group.wait(10), trayray.get(group.ready())

    group = placement_group([{"CPU": 1}], name="travels")
    assert ray.get(look.remote(group), timeout=20) == (group, [{"CPU": 1}], True, group)
    assert hash(get_placement_group("travels")) == hash(group)
    with pytest.raises(RaySystemError, match="already exists"):
        placement_group([{"CPU": 1}], name="travels")


def test_a_group_that_never_was_is_an_error_and_not_a_wait(ray):
    unknown = PlacementGroup(trayray.PlacementGroupID.from_random())
    with pytest.raises(ValueError, match="does not exist"):
        unknown.wait(10)
    with pytest.raises(ValueError, match="does not exist"):
        context.options(scheduling_strategy=inside(unknown)).remote()
    assert placement_group_table(unknown) == {}
    remove_placement_group(unknown)


def test_the_empty_group_is_no_group(ray):
    empty = PlacementGroup.empty()
    assert (empty.is_empty, empty.bundle_count, ray.get(empty.ready(), timeout=5)) == (True, 0, empty)
    assert ray.get(context.options(scheduling_strategy=inside(empty)).remote(), timeout=20) == (None, False)


# --- what runs in a group ---


@pytest.mark.parametrize("way", ["strategy", "deprecated options"])
def test_tasks_know_their_group(ray, way):
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    options = {"scheduling_strategy": inside(group, 1, captures=True)}
    if way != "strategy":
        options = {
            "placement_group": group,
            "placement_group_bundle_index": 1,
            "placement_group_capture_child_tasks": True,
        }
    assert ray.get(context.options(**options).remote(), timeout=20) == (group.id.hex(), True)
    assert ray.get(context.remote(), timeout=20) == (None, False), "not left behind in the worker"


@pytest.mark.parametrize("captures", [False, True])
def test_actors_know_their_group_and_may_pass_it_on(ray, captures):
    group = placement_group([{"CPU": 2}])
    actor = Counter.options(num_cpus=1, scheduling_strategy=inside(group, captures=captures)).remote()
    assert ray.get(actor.group.remote(), timeout=20) == group
    expected = (group.id.hex(), True) if captures else (None, False)
    assert ray.get(actor.start.remote(), timeout=20) == expected


def test_groups_are_told_apart_where_everything_else_is_equal(ray):
    groups = [placement_group([{"CPU": 1}]) for _ in range(3)]
    refs = [context.options(scheduling_strategy=inside(group)).remote() for group in groups for _ in range(5)]
    assert [where for where, _ in ray.get(refs, timeout=30)] == [group.id.hex() for group in groups for _ in range(5)]


def test_an_actor_restarts_in_its_group(ray):
    group = placement_group([{"CPU": 1}])
    options = {"max_restarts": 1, "max_task_retries": 1, "num_cpus": 1, "scheduling_strategy": inside(group)}
    actor = Counter.options(**options).remote()
    assert ray.get(actor.add.remote(), timeout=20) == 1
    with pytest.raises(RayActorError):
        ray.get(actor.crash.options(max_task_retries=0).remote(), timeout=20)
    assert ray.get(actor.group.remote(), timeout=20) == group
    assert free() == CPUS - 1


def test_what_does_not_fit_is_refused_where_it_is_asked_for(ray):
    group = placement_group([{"CPU": 1}, {"memory": 1000}])
    for thing in (context, Counter):
        with pytest.raises(ValueError, match="cannot fit into any bundles"):
            thing.options(num_cpus=2, scheduling_strategy=inside(group)).remote()
        with pytest.raises(ValueError, match="cannot fit into its bundle 1"):
            thing.options(scheduling_strategy=inside(group, 1)).remote()
        with pytest.raises(ValueError, match="index 2 is invalid"):
            thing.options(scheduling_strategy=inside(group, 2)).remote()
        with pytest.raises(ValueError, match="must be -1"):
            thing.options(placement_group_bundle_index=0).remote()
        with pytest.raises(ValueError, match="somebody"):
            thing.options(placement_group="somebody").remote()


# --- removal ---


def test_removal_kills_tasks_and_fails_those_that_wait(ray, tmp_path):
    @ray.remote
    def linger(path):
        pathlib.Path(path).write_text(str(os.getpid()))
        time.sleep(60)

    group = placement_group([{"CPU": 1}])
    once = linger.options(max_retries=0, scheduling_strategy=inside(group)).remote(str(tmp_path / "pid"))
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    queued = [linger.options(scheduling_strategy=inside(group)).remote("/nowhere") for _ in range(3)]
    remove_placement_group(group)
    late = linger.options(scheduling_strategy=inside(group)).remote("/nowhere")
    for ref in (once, *queued, late):
        with pytest.raises(TaskPlacementGroupRemoved):
            ray.get(ref, timeout=20)
    eventually(lambda: not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text()}"))


def test_a_task_of_a_removed_group_is_not_retried(ray, tmp_path):
    @ray.remote(max_retries=3)
    def linger():
        (tmp_path / f"{os.getpid()}").touch()
        time.sleep(60)

    group = placement_group([{"CPU": 1}])
    ref = linger.options(scheduling_strategy=inside(group)).remote()
    eventually(lambda: list(tmp_path.iterdir()))
    remove_placement_group(group)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(ref, timeout=20)
    assert len(list(tmp_path.iterdir())) == 1


def test_removal_kills_actors_and_fails_those_that_wait(ray):
    group = placement_group([{"CPU": 1}])
    options = {"num_cpus": 1, "max_restarts": -1, "scheduling_strategy": inside(group)}
    first = Counter.options(**options).remote()
    ray.get(first.add.remote(), timeout=20)
    running = first.sleep.remote()
    second = Counter.options(**options).remote()
    waiting = second.add.remote()
    assert ray.wait([waiting], timeout=0.2) == ([], [waiting])
    remove_placement_group(group)
    for ref in (running, first.add.remote()):
        with pytest.raises(RayActorError, match="placement group"):
            ray.get(ref, timeout=20)
    for ref in (waiting, second.add.remote(), Counter.options(**options).remote().add.remote()):
        with pytest.raises(ActorPlacementGroupRemoved):
            ray.get(ref, timeout=20)


def test_references_to_a_group_fail_when_it_is_removed(ray):
    group = placement_group([{"CPU": CPUS + 1}])
    refs = [group.ready() for _ in range(2)]
    assert ray.wait(refs, timeout=0) == ([], refs)
    remove_placement_group(group)
    for ref in (*refs, group.ready()):
        with pytest.raises(TaskPlacementGroupRemoved):
            ray.get(ref, timeout=20)
    with pytest.raises(ValueError, match="removed"):
        group.wait(5)


def test_a_group_of_a_detached_actor_ends_with_it(ray):
    @ray.remote(num_cpus=0)
    class Owner:
        def reserve(self):
            return placement_group([{"CPU": 1}])

    owners = [Owner.options(lifetime=lifetime).remote() for lifetime in ("detached", None)]
    detached, plain = ray.get([owner.reserve.remote() for owner in owners], timeout=20)
    for owner in owners:
        ray.kill(owner)
    eventually(lambda: state(detached) == "REMOVED")
    assert state(plain) == "CREATED", "it is its job's"


# --- strategies ---


@pytest.mark.parametrize("strategy", ["DEFAULT", "SPREAD"])
def test_named_strategies_run_on_one_node_too(ray, strategy):
    assert ray.get(context.options(scheduling_strategy=strategy).remote(), timeout=20) == (None, False)


@pytest.mark.parametrize("soft", [False, True])
def test_affinity_to_this_node_runs(ray, soft):
    strategy = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=soft)
    assert ray.get(context.options(scheduling_strategy=strategy).remote(), timeout=20) == (None, False)
    actor = Counter.options(scheduling_strategy=strategy).remote()
    assert ray.get(actor.add.remote(), timeout=20) == 1


@pytest.mark.parametrize("why", ["missing", "infeasible"])
def test_hard_affinity_that_cannot_be_met_fails(ray, why):
    node = NOBODY if why == "missing" else ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    options = {"num_cpus": 1 if why == "missing" else CPUS + 1, "scheduling_strategy": strategy}
    for _ in range(2):
        with pytest.raises(TaskUnschedulableError, match=f"{node}.*NodeAffinity.*soft=False"):
            ray.get(context.options(**options).remote(), timeout=20)
        actor = Counter.options(**options).remote()
        with pytest.raises(ActorUnschedulableError, match=f"{node}.*NodeAffinity.*soft=False"):
            ray.get(actor.add.remote(), timeout=20)


def test_soft_affinity_runs_elsewhere(ray):
    strategy = NodeAffinitySchedulingStrategy(NOBODY, soft=True)
    assert ray.get(context.options(scheduling_strategy=strategy).remote(), timeout=20) == (None, False)


@pytest.mark.parametrize(
    "options",
    [
        {"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": In("a", "b")})},
        {"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": NotIn("b"), "disk": DoesNotExist()})},
        {"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": Exists()}, soft={"zone": In("b")})},
        {"label_selector": {"zone": "a"}},
        {"label_selector": {"zone": "!in(b,c)", "disk": "!ssd"}},
        {"label_selector": {"zone": "b"}, "fallback_strategy": [{"label_selector": {"zone": "a"}}]},
    ],
)
def test_labels_of_the_node_are_matched(ray, options):
    assert ray.get(context.options(**options).remote(), timeout=20) == (None, False)
    assert ray.get(Counter.options(**options).remote().add.remote(), timeout=20) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": In("b")})},
        {"label_selector": {"zone": "b"}, "fallback_strategy": [{"label_selector": {"zone": "c"}}]},
    ],
)
def test_labels_that_no_node_has_are_waited_for(ray, options):
    for ref in (context.options(**options).remote(), Counter.options(**options).remote().add.remote()):
        with pytest.raises(GetTimeoutError):
            ray.get(ref, timeout=0.3)


def test_unknown_strategies_are_refused(ray):
    for thing in (context, Counter):
        with pytest.raises(ValueError, match=r"(?s)SOMEWHERE.*DEFAULT.*SPREAD"):
            thing.options(scheduling_strategy="SOMEWHERE").remote()
        with pytest.raises(TypeError, match="scheduling_strategy"):
            thing.options(scheduling_strategy=["SPREAD"])
