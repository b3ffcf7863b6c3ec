"""What is told of work that waits for resources: at once when no node has them, later when others hold them."""

import time

import pytest

from tests.conftest import init_arguments
from tests.processes.waiting import eventually
from trayray.util import why
from trayray.util.placement_group import placement_group
from trayray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@pytest.fixture
def told(capsys):
    """What the driver has printed so far on its standard error."""
    text = []

    def read():
        text.append(capsys.readouterr().err)
        return "".join(text)

    return read


def start(ray):
    ray.init(**init_arguments(num_cpus=2, resources={"gadget": 1}))

    @ray.remote
    def f():
        return 1

    @ray.remote
    class Holder:
        def hold(self):
            return True

    return f, Holder


def test_no_node_has_it(fresh_ray, told):
    f, holder_class = start(fresh_ray)
    large = f.options(num_cpus=64, resources={"gadget": 3})

    refs = [large.remote() for _ in range(3)]
    actor = holder_class.options(name="big", num_gpus=2).remote()
    eventually(lambda: told().count("asks for") == 2)

    assert (
        '(trayray) f() asks for {"CPU": 64, "gadget": 3}, which no node of the cluster has; the nearest, 127.0.0.1, '
        'has {"CPU": 2, "gadget": 1}: {"CPU": 62, "gadget": 2} too little. It waits until such a node joins; with '
        "TRAYRAY_INFEASIBLE=error it would fail instead.\n"
    ) in told()
    assert "(trayray) The actor Holder asks for {" in told()
    assert fresh_ray.wait([*refs, actor.hold.remote()], timeout=0)[0] == []
    assert fresh_ray.get(f.remote(), timeout=20) == 1
    assert told().count("asks for") == 2


def test_a_task_asks_on_behalf_of_the_job(fresh_ray, told):
    f, _ = start(fresh_ray)

    @fresh_ray.remote
    def submit():
        f.options(num_cpus=64).remote()

    fresh_ray.get(submit.remote(), timeout=20)

    eventually(lambda: "f() asks for" in told())


@pytest.mark.parametrize(
    ("name", "value"), [("TRAYRAY_INFEASIBLE", "error"), ("RAY_enable_infeasible_task_early_exit", "1")]
)
def test_an_error_on_request(fresh_ray, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    f, holder_class = start(fresh_ray)
    large = f.options(num_cpus=64)

    with pytest.raises(fresh_ray.exceptions.TaskUnschedulableError, match=r'f\(\) asks for {"CPU": 64}, .* 127.0.0.1'):
        fresh_ray.get(large.remote(), timeout=20)
    with pytest.raises(fresh_ray.exceptions.TaskUnschedulableError):
        fresh_ray.get(large.remote(), timeout=20)
    with pytest.raises(fresh_ray.exceptions.ActorUnschedulableError, match=r'asks for {"GPU": 1}'):
        fresh_ray.get(holder_class.options(num_gpus=1, num_cpus=0).remote().hold.remote(), timeout=20)
    assert fresh_ray.get(f.remote(), timeout=20) == 1


def test_no_node_has_the_labels(fresh_ray, told):
    f, _ = start(fresh_ray)

    ref = f.options(label_selector={"zone": "moon"}).remote()

    eventually(lambda: "(trayray) f() asks for a node where zone is moon, and no node of the cluster is" in told())
    assert str(why(ref)).endswith("It asks for a node where zone is moon, and no node of the cluster is like that.")


def test_a_full_bundle(fresh_ray):
    _, holder_class = start(fresh_ray)
    group = placement_group([{"CPU": 1}])
    inside = holder_class.options(num_cpus=1, scheduling_strategy=PlacementGroupSchedulingStrategy(group))
    first = inside.remote()
    fresh_ray.get(first.hold.remote(), timeout=20)

    text = f'It runs in placement group {group.id.hex()}. It needs {{"CPU": 1}}, free is {{"CPU": 0}}. Held by Holder '
    second = inside.remote()
    eventually(lambda: text in str(why(second)))


def test_others_hold_it_for_long(fresh_ray, told, monkeypatch):
    monkeypatch.setenv("TRAYRAY_waiting_notice_seconds", "0.3")
    f, holder_class = start(fresh_ray)
    holders = [holder_class.options(num_cpus=1).remote() for _ in range(2)]
    fresh_ray.get([holder.hold.remote() for holder in holders], timeout=20)

    waiting = f.remote()
    eventually(lambda: "f() has been waiting for resources for " in told())

    assert 'It needs {"CPU": 1}, free is {"CPU": 0}. Held by 2 x Holder (pids ' in told()
    del holders
    fresh_ray.get(waiting, timeout=20)


def test_nothing_is_told_of_work_that_advances(fresh_ray, told, monkeypatch):
    monkeypatch.setenv("TRAYRAY_waiting_notice_seconds", "0.3")
    start(fresh_ray)

    @fresh_ray.remote
    def nap(seconds):
        time.sleep(seconds)

    fresh_ray.get([nap.remote(0.2) for _ in range(12)], timeout=30)

    assert "waiting for resources" not in told()
