import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from trayray.cli.processes import Watched, descendants
from trayray.cluster_utils import Cluster
from trayray.exceptions import RaySystemError


@pytest.fixture
def cluster(fresh_ray: ModuleType) -> Iterator[Cluster]:
    """Without a node; the test adds it."""
    cluster = Cluster()
    yield cluster
    fresh_ray.shutdown()
    cluster.shutdown()


def test_head_with_the_defaults(cluster: Cluster, fresh_ray: ModuleType):
    head = cluster.add_node()

    cluster.connect(namespace="home")

    assert cluster.head_node is head
    assert cluster.address == cluster.gcs_address == head.address_info["gcs_address"]
    assert cluster.list_all_nodes() == [head]
    assert cluster.worker_nodes == set()
    resources = fresh_ray.cluster_resources()
    assert resources["CPU"] == 1.0
    assert "GPU" not in resources
    assert resources["object_store_memory"] == 150 * 1024 * 1024
    context = fresh_ray.get_runtime_context()
    assert (context.get_node_id(), context.namespace) == (head.node_id, "home")


def test_head_as_stated(cluster: Cluster, fresh_ray: ModuleType):
    cluster.add_node(
        num_cpus=3, num_gpus=1, resources={"disk": 2}, labels={"zone": "a"}, node_name="first", memory=10**6
    )

    fresh_ray.init(address=cluster.address, log_to_driver=False)

    (node,) = fresh_ray.nodes()
    amounts = {name: node["Resources"][name] for name in ("CPU", "GPU", "disk", "memory")}
    assert amounts == {"CPU": 3.0, "GPU": 1.0, "disk": 2.0, "memory": 10.0**6}
    assert (node["Labels"]["zone"], node["NodeName"]) == ("a", "first")


def test_in_one_step(fresh_ray: ModuleType):
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 2})
    try:
        assert fresh_ray.cluster_resources()["CPU"] == 2.0
        cluster.wait_for_nodes()
        assert cluster.remaining_processes_alive()
    finally:
        cluster.shutdown()

    assert not fresh_ray.is_initialized()  # it left before its cluster ended
    assert cluster.address is None
    assert cluster.list_all_nodes() == []


def test_what_needs_a_head_says_so(cluster: Cluster):
    assert cluster.address is None
    with pytest.raises(RaySystemError, match=r"call add_node\(\) first"):
        cluster.connect()
    with pytest.raises(RuntimeError, match="initialize_head=True"):
        Cluster(connect=True)


def test_further_nodes_are_not_available_yet(cluster: Cluster):
    head = cluster.add_node()

    with pytest.raises(RaySystemError, match="several nodes are not available yet"):
        cluster.add_node()

    assert cluster.list_all_nodes() == [head]
    assert head.is_alive()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"number_of_cpus": 2}, TypeError, "no argument number_of_cpus; it has .*num_cpus"),
        ({"num_cpus": -1}, ValueError, "nonnegative"),
        ({"object_store_memory": 1000}, ValueError, "minimum"),
    ],
)
def test_unusable_arguments(cluster: Cluster, arguments: dict[str, int], error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        cluster.add_node(**arguments)

    assert cluster.head_node is None


def test_driver_keeps_its_node(cluster: Cluster, fresh_ray: ModuleType):
    head = cluster.add_node()
    cluster.connect()

    with pytest.raises(ValueError, match="not allowed"):
        cluster.remove_node(head)

    assert not fresh_ray.is_initialized()
    assert head.is_alive()


@pytest.mark.parametrize("graceful", [True, False])
def test_removed_node_ends_with_its_processes(cluster: Cluster, graceful: bool):
    head = cluster.add_node()
    pid = head._process.process.pid
    with Watched([pid, *descendants(pid)]) as processes:
        cluster.remove_node(head, allow_graceful=graceful)

        assert processes.wait(5.0)
    assert not (pathlib.Path(head.get_session_dir_path()) / "address.json").exists()
    with pytest.raises(ValueError, match="not a node of this cluster"):
        cluster.remove_node(head)


def test_killed_node_is_noticed(cluster: Cluster):
    head = cluster.add_node()

    head.kill_raylet()

    assert not cluster.remaining_processes_alive()
    with pytest.raises(TimeoutError, match="has died"):
        cluster.wait_for_nodes(timeout=0.1)


def test_initialising_finds_it_by_its_address_alone(cluster: Cluster, fresh_ray: ModuleType):
    cluster.add_node(num_cpus=7)

    fresh_ray.init(num_cpus=1, log_to_driver=False)

    assert fresh_ray.cluster_resources()["CPU"] == 1.0


@pytest.mark.parametrize("how", ["pass", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_ends_with_the_process_that_made_it(how: str):
    source = f"""
from trayray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, connect=True)
print(cluster.head_node._process.process.pid, flush=True)
input()
{how}
"""
    process = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout
        node = int(process.stdout.readline())
        with Watched([node, *descendants(node)]) as processes:
            process.communicate("\n")

            assert processes.wait(5.0)
    assert process.returncode in (0, -signal.SIGKILL)
