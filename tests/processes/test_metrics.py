"""Metrics on their way: recorded in drivers, tasks and actors, read at the node's endpoint as Prometheus reads them."""

import contextlib
import http.client
import json
import os
import pathlib
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import leftovers
from tests.conftest import init_arguments
from tests.processes.waiting import eventually
from trayray.exceptions import AuthenticationError
from trayray.link.grpc_edge import open_channel
from trayray.util.metrics import Counter, Gauge, Histogram
from trayray.wire.proto.trayray import v1


def request(ray, path="/metrics", method="GET", **headers):
    """Status and body of a request at the node's endpoint."""
    (node,) = ray.nodes()
    with contextlib.closing(
        http.client.HTTPConnection(node["NodeManagerAddress"], node["MetricsExportPort"], timeout=10)
    ) as connection:
        connection.request(method, path, headers=headers)
        with connection.getresponse() as response:
            return response.status, response.read().decode()


def scrape(ray):
    """Samples by name: (labels, value) each."""
    status, text = request(ray)
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(ray, name, **labels):
    """The value of the only sample of that name and these labels; None when there is none."""
    fitting = [amount for found, amount in scrape(ray).get(name, ()) if labels.items() <= found.items()]
    assert len(fitting) <= 1, (name, labels, fitting)
    return fitting[0] if fitting else None


def test_counters_of_all_processes_are_one(ray):
    @ray.remote
    def work(amount):
        Counter("work_done", description="units", tag_keys=("kind",)).inc(amount, tags={"kind": "task"})

    @ray.remote
    class Worker:
        def __init__(self):
            self.counter = Counter("work_done", tag_keys=("kind",)).set_default_tags({"kind": "actor"})

        def work(self, amount):
            self.counter.inc(amount)

    ray.get([work.remote(amount) for amount in (1, 2, 3)], timeout=30)
    actors = [Worker.remote() for _ in range(2)]
    ray.get([actor.work.remote(10) for actor in actors], timeout=30)
    Counter("work_done", tag_keys=("kind",)).inc(0.5, tags={"kind": "driver"})

    def amounts():
        return {labels["kind"]: amount for labels, amount in scrape(ray).get("ray_work_done_total", ())}

    assert eventually(lambda: (found := amounts()) == {"task": 6, "actor": 20, "driver": 0.5} and found)


def test_a_counter_stays_when_its_process_has_ended(ray):
    @ray.remote
    class Worker:
        def work(self):
            Counter("of_the_dead").inc(7)
            ray.actor.exit_actor()

    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(Worker.remote().work.remote(), timeout=30)

    assert eventually(lambda: value(ray, "ray_of_the_dead_total")) == 7, "sent at its good end"


def test_gauges_are_told_apart_by_worker(ray):
    @ray.remote
    class Worker:
        def set(self, level):
            Gauge("level").set(level)
            return ray.get_runtime_context().get_worker_id()

    actors = [Worker.remote() for _ in range(2)]
    ids = ray.get([actor.set.remote(level) for level, actor in enumerate(actors, start=1)], timeout=30)

    def levels():
        return {labels["WorkerId"]: level for labels, level in scrape(ray).get("ray_level", ())}

    expected = {ids[0]: 1.0, ids[1]: 2.0}
    assert eventually(lambda: levels() == expected and expected)


def test_histograms(ray):
    @ray.remote
    def measure(amount):
        Histogram("latency", boundaries=[1, 2], tag_keys=("route",)).observe(amount, tags={"route": "/"})

    ray.get([measure.remote(amount) for amount in (0.5, 1.5, 1.5, 9)], timeout=30)

    assert eventually(lambda: value(ray, "ray_latency_count", route="/") == 4)
    buckets = {labels["le"]: amount for labels, amount in scrape(ray)["ray_latency_bucket"]}
    assert buckets == {"1.0": 1, "2.0": 3, "+Inf": 4}
    assert value(ray, "ray_latency_sum") == 12.5


def test_labels_that_every_metric_of_a_program_has(ray):
    Gauge("labelled", tag_keys=("own-tag",)).set(1, tags={"own-tag": 'a "b"\n\\'})

    (labels, _) = eventually(lambda: scrape(ray).get("ray_labelled"))[0]

    context = ray.get_runtime_context()
    assert labels == {
        "own_tag": 'a "b"\n\\',
        "Component": "core_worker",
        "JobId": context.get_job_id(),
        "NodeAddress": "127.0.0.1",
        "SessionName": context.get_session_name(),
        "Version": ray.__version__,
        "WorkerId": context.get_worker_id(),
    }


def test_a_metric_goes_with_a_function(ray):
    counter = Counter("captured", tag_keys=("a",)).set_default_tags({"a": "1"})

    @ray.remote
    def work():
        counter.inc()

    ray.get([work.remote() for _ in range(3)], timeout=30)

    assert eventually(lambda: value(ray, "ray_captured_total", a="1") == 3)


def test_a_child_that_user_code_forks_counts_nothing_twice(ray):
    @ray.remote
    def work():
        counter = Counter("forked")
        counter.inc()
        pid = os.fork()
        if pid == 0:
            counter.inc(100)
            os._exit(0)
        os.waitpid(pid, 0)
        counter.inc()

    ray.get(work.remote(), timeout=30)

    assert eventually(lambda: value(ray, "ray_forked_total") == 2)


def test_tasks_and_actors_by_state(ray):
    @ray.remote
    def fine():
        pass

    @ray.remote(max_retries=0)
    def broken():
        raise LookupError

    @ray.remote
    class Actor:
        def ready(self):
            return True

    ray.get([fine.remote() for _ in range(5)], timeout=30)
    with pytest.raises(LookupError):
        ray.get(broken.remote(), timeout=30)
    actor = Actor.remote()
    ray.get(actor.ready.remote(), timeout=30)

    def count(state, function):
        samples = scrape(ray).get("ray_tasks", ())
        return sum(n for labels, n in samples if labels["State"] == state and labels["Name"].endswith(function))

    assert eventually(lambda: count("FINISHED", "fine") == 5)
    assert eventually(lambda: count("FAILED", "broken") == 1)
    states = [labels["State"] for labels, _ in scrape(ray)["ray_actors"] if labels["Name"].endswith("Actor")]
    assert "ALIVE" in states
    del actor


def test_running_and_waiting_tasks(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote(num_cpus=4)
    def hold():
        eventually(gate.exists, 60)

    refs = [hold.remote(), hold.remote()]

    def count(state):
        return sum(n for labels, n in scrape(ray)["ray_tasks"] if labels["State"] == state)

    try:
        assert eventually(lambda: count("RUNNING") == 1 and count("PENDING_NODE_ASSIGNMENT") == 1)
        assert value(ray, "ray_resources", Name="CPU", State="USED") == 4
        assert value(ray, "ray_resources", Name="CPU", State="AVAILABLE") == 0
    finally:
        gate.touch()
    ray.get(refs, timeout=30)


def test_the_object_store(ray):
    before = value(ray, "ray_object_store_num_local_objects")

    ref = ray.put(bytes(5_000_000))

    assert value(ray, "ray_object_store_num_local_objects") == before + 1
    assert value(ray, "ray_object_store_used_memory") >= 5_000_000
    assert value(ray, "ray_resources", Name="object_store_memory", State="USED") >= 5_000_000
    del ref
    assert eventually(lambda: value(ray, "ray_object_store_num_local_objects") == before)


def test_processes_and_the_machine(ray):
    found = scrape(ray)

    components = {labels["Component"]: amount for labels, amount in found["ray_component_rss_bytes"]}
    assert components.keys() >= {"raylet", "driver", "ray::fork server"}
    assert all(amount > 1_000_000 for amount in components.values())
    ((_, total),) = found["ray_node_mem_total"]
    ((_, available),) = found["ray_node_mem_available"]
    assert 0 < available <= total
    assert value(ray, "ray_running_jobs") == 1
    assert value(ray, "trayray_workers", State="starting") is not None


async def test_refused_calls_are_counted(ray):
    before = value(ray, "ray_grpc_server_req_failed_total", Status="UNAUTHENTICATED") or 0
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")

    async with open_channel(host, int(port), "wrong") as channel:
        with pytest.raises(AuthenticationError):
            await channel.call(v1.GcsStub, "list_nodes", v1.ListNodesRequest())

    assert value(ray, "ray_grpc_server_req_failed_total", Status="UNAUTHENTICATED") == before + 1


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/favicon.ico", "GET", 404), ("/metrics/x", "GET", 404), ("/metrics", "POST", 405)]
)
def test_nothing_else_is_there(ray, path, method, status):
    assert request(ray, path, method)[0] == status


def test_a_browser_needs_the_address_only(ray):
    status, body = request(ray, "/")
    assert (status, "# TYPE ray_resources gauge" in body) == (200, True)


def test_prometheus_finds_the_endpoint(ray):
    (path,) = leftovers.session_root().glob("session_*/prom_metrics_service_discovery.json")

    (entry,) = json.loads(path.read_text())

    (node,) = ray.nodes()
    assert entry == {"labels": {"job": "ray"}, "targets": [f"127.0.0.1:{node['MetricsExportPort']}"]}


# --- clusters of their own ---


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def test_a_port_of_ones_choice(fresh_ray):
    port = free_port()

    context = fresh_ray.init(**init_arguments(_metrics_export_port=port))

    assert context["metrics_export_port"] == port == fresh_ray.nodes()[0]["MetricsExportPort"]
    assert request(fresh_ray)[0] == 200


def test_a_port_that_is_taken(fresh_ray):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(fresh_ray.exceptions.RaySystemError, match=f"127.0.0.1:{port}: the port is in use"):
            fresh_ray.init(**init_arguments(_metrics_export_port=port))


@pytest.mark.parametrize("port", [-1, 65536, "8080"])
def test_no_port(fresh_ray, port):
    with pytest.raises(ValueError, match="_metrics_export_port"):
        fresh_ray.init(**init_arguments(_metrics_export_port=port))


def test_the_token_can_be_asked_for(fresh_ray, monkeypatch):
    monkeypatch.setenv("TRAYRAY_METRICS_AUTH", "1")
    context = fresh_ray.init(**init_arguments())
    token = (pathlib.Path(context["session_dir"]) / "token").read_text()

    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": token}):
        status, text = request(fresh_ray, **wrong)
        assert (status, "ray_tasks" in text) == (401, False)
    assert request(fresh_ray, Authorization=f"Bearer {token}")[0] == 200


def test_what_was_recorded_before_init_counts(fresh_ray):
    counter = Counter("early")
    counter.inc(3)

    fresh_ray.init(**init_arguments())
    counter.inc()

    assert eventually(lambda: value(fresh_ray, "ray_early_total") == 4)
