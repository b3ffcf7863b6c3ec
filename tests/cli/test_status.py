import os
import re
import signal

import pytest
from click.testing import CliRunner

from tests.cli.conftest import Place
from tests.cli.test_start import node_of
from trayray.api import node_control
from trayray.api.node_control import ClusterStatus
from trayray.cli.main import trayray
from trayray.cli.status import report
from trayray.wire.proto.trayray import v1


def test_idle_cluster(place: Place, address: str):
    done = place.trayray("status", f"--address={address}")

    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"=+ Autoscaler status: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d =+\nNode status\n-+\n", done.stdout)
    assert re.search(r"^Idle:\n 1 node_[0-9a-f]{56}$", done.stdout, re.MULTILINE)
    assert "Total Usage:\n 0.0/2.0 CPU\n 0.0/3.0 gadget\n 0B/" in done.stdout
    assert re.search(r"^ 0B/[\d.]+MiB object_store_memory$", done.stdout, re.MULTILINE)
    assert "Pending Demands:\n (no resource demands)\n" in done.stdout
    assert re.search(rf"^ {address}, up 0:00:\d\d, version ", done.stdout, re.MULTILINE)


def test_busy_cluster(place: Place, address: str):
    """What runs, waits and is stored shows while it does."""
    source = """
import numpy, trayray as ray
ray.init("auto")

@ray.remote(resources={"gadget": 1})
class Holder:
    def ready(self):
        return True

holder = Holder.options(num_cpus=1).remote()
kept = ray.put(numpy.zeros(2**20, numpy.uint8))

@ray.remote(num_cpus=64)
def greedy():
    pass

waiting = greedy.remote()
ray.get(holder.ready.remote())
ray.wait([waiting], timeout=0.1)
print(flush=True)
input()
"""
    with place.popen("-c", source) as driver:
        assert driver.stdout
        driver.stdout.readline()

        said = place.trayray("status").stdout

        driver.communicate("\n")
    assert re.search(r"^Active:\n 1 node_", said, re.MULTILINE)
    assert " 1.0/2.0 CPU\n 1.0/3.0 gadget\n" in said
    assert re.search(r"^ 1\.00MiB/.* object_store_memory$", said, re.MULTILINE)
    assert re.search(r"^ \{'CPU': 64\.0\}: 1\+ pending tasks/actors \(\S*greedy; no node has", said, re.MULTILINE)
    assert " 1 object in the object store: 1.00MiB of " in said


def test_address_variable_names_the_cluster(place: Place, address: str):
    for name in ("TRAYRAY_ADDRESS", "RAY_ADDRESS"):
        assert place.trayray("status", env=place.environment | {name: address}).returncode == 0
        assert place.trayray("status", env=place.environment | {name: "127.0.0.1:1"}).returncode == 1


def test_nothing_runs(place: Place):
    done = place.trayray("status")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: no cluster of this user runs on this machine; `trayray start --head`")


def test_dead_address(place: Place):
    done = place.trayray("status", "--address=127.0.0.1:1")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: no cluster of this user listens at 127.0.0.1:1 on this machine")


def test_stuck_cluster(place: Place, address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(place.path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(node_control, "ANSWER_SECONDS", 0.2)
    node = node_of(place)
    os.kill(node, signal.SIGSTOP)

    done = CliRunner().invoke(trayray, ["status"])

    os.kill(node, signal.SIGCONT)
    assert done.exit_code == 1
    assert "did not answer within 0.2 s" in done.output
    assert "logs are in" in done.output


# ---------------------------------------------------------------- the report alone


def status(**head: object) -> ClusterStatus:
    dead = v1.Node(node_id=b"\2" * 28, alive=False, death_reason="it was unplugged")
    node = v1.Node(node_id=b"\1" * 28, alive=True, resources={"CPU": 1.3, "memory": 3 * 2.0**30, "node:1.2.3.4": 1.0})
    return ClusterStatus(v1.ClusterInfo(address="1.2.3.4:5", version="0"), [node, dead], v1.NodeStats(**head))


def test_usage_is_what_is_not_available():
    lines = list(report(status(available={"CPU": 1.2, "memory": 2.0**31, "node:1.2.3.4": 1.0}), "now"))

    start = lines.index("Total Usage:")
    assert lines[start + 1 : start + 4] == [" 0.1/1.3 CPU", " 1.00GiB/3.00GiB memory", ""]


def test_what_placement_groups_reserve_is_used_only_as_far_as_it_is():
    group = "ab" * 18
    amounts = {f"CPU_group_{group}": 3.0, f"CPU_group_0_{group}": 1.0, f"CPU_group_1_{group}": 2.0}
    found = status(available={"CPU": 4.0, f"CPU_group_{group}": 2.5, f"CPU_group_0_{group}": 0.5})
    found.nodes[0].resources = {"CPU": 8.0, **amounts, f"bundle_group_{group}": 2000.0}

    lines = list(report(found, "now"))

    start = lines.index("Total Usage:")
    assert lines[start + 1 : start + 3] == [" 1.5/8.0 CPU (0.5 used of 3.0 reserved in placement groups)", ""]


def test_dead_nodes_are_failures():
    lines = list(report(status(leases=1), "now"))

    assert lines[lines.index("Recent failures:") + 1] == f" node_{'02' * 28}: it was unplugged"
    assert lines[lines.index("Active:") + 1] == f" 1 node_{'01' * 28}"
    assert lines[lines.index("Idle:") + 1] == " (no idle nodes)"


def test_demands_that_can_be_met_are_no_cause_for_alarm():
    demand = v1.PendingDemand(name="f", resources={"CPU": 1.0}, count=7, feasible=True)

    assert " {'CPU': 1.0}: 7+ pending tasks/actors (f)" in list(report(status(demands=[demand]), "now"))


def test_figures_are_readable():
    lines = list(report(status(uptime_seconds=3725.9, workers=2, store_used=1536, store_capacity=2**40), "now"))

    assert " 1.2.3.4:5, up 1:02:05, version 0" in lines
    assert " 2 worker processes, 0 idle" in lines
    assert " 0 objects in the object store: 1.50KiB of 1.00TiB" in lines
