import json
import os
import pathlib
import signal
import socket
import urllib.request

import pytest
from click.testing import CliRunner

from tests.cli.conftest import STORE, Blocking, Place
from trayray.cli.main import trayray
from trayray.cli.processes import Watched, descendants


def node_of(place: Place) -> int:
    (session,) = place.sessions
    return json.loads((session / "address.json").read_text())["pid"]


def test_says_that_it_runs_and_how_to_go_on(place: Place, address: str):
    said = place.trayray("start", "--head", "--port=0", "--num-cpus=1", STORE).stdout

    assert "Ray runtime started." in said
    assert "Next steps" in said
    assert 'ray.init(address="auto")' in said
    assert "trayray stop" in said
    assert address not in said


def test_drivers_share_a_cluster_which_outlives_them(place: Place, address: str):
    place.driver(
        """
        import sys
        ray.init(address=sys.argv[1], namespace="home")

        @ray.remote
        class Counter:
            total = 0
            def add(self):
                self.total += 1
                return self.total

        kept = Counter.options(name="kept", lifetime="detached").remote()
        lost = Counter.options(name="lost").remote()
        assert ray.get([kept.add.remote(), lost.add.remote()]) == [1, 1]
        """,
        address,
    )

    said = place.driver(
        """
        ray.init(address="auto", namespace="elsewhere")
        kept = ray.get_actor("kept", namespace="home")
        print(ray.get(kept.add.remote()), int(ray.cluster_resources()["gadget"]))
        print(ray.util.list_named_actors(all_namespaces=True), ray.util.list_named_actors())
        """
    ).stdout.splitlines()

    assert said == ["2 3", "[{'name': 'kept', 'namespace': 'home'}] []"]


def test_init_without_an_address_joins_it(place: Place, address: str):
    assert place.driver("print(ray.init().address_info['address'])").stdout.strip() == address


def test_stays_in_the_callers_session(place: Place, address: str):
    node = node_of(place)

    assert {os.getsid(pid) for pid in [node, *descendants(node)]} == {os.getsid(0)}


def test_in_a_temporary_directory_of_its_own_it_is_found_all_the_same(place: Place):
    place.trayray("start", "--head", "--port=0", "--num-cpus=3", STORE, "--temp-dir=own", cwd=place.path)

    assert [session.parent.parent.name for session in place.sessions if not session.is_symlink()] == ["own"]
    assert "0.0/3.0 CPU" in place.trayray("status").stdout
    assert place.driver("ray.init('auto'); print(ray.cluster_resources()['CPU'])").stdout == "3.0\n"
    assert "1 cluster" in place.trayray("stop").stdout
    assert not list(place.path.glob("trayray-*/session_*"))


def test_what_is_stated_is_what_the_node_has(place: Place):
    place.trayray(
        *("start", "--head", "--port=0", "--num-cpus=3", "--num-gpus=1", "--memory=1000000", STORE),
        *('--labels={"zone": "a"}', "--node-name=first", "--disable-usage-stats", "--include-dashboard=false"),
        *("--dashboard-port=8265", "--dashboard-host=0.0.0.0", "--ray-client-server-port=10001"),
    )

    said = place.driver(
        """
        ray.init("auto")
        node, = ray.nodes()
        resources = node["Resources"]
        print(resources["CPU"], resources["GPU"], resources["memory"], node["Labels"]["zone"], node["NodeName"])
        """
    ).stdout
    assert said == "3.0 1.0 1000000.0 a first\n"


# ---------------------------------------------------------------- --block


def ended(place: Place, node: int) -> bool:
    """Whether a node and what it had forked ends, and takes its sockets with it."""
    with Watched([node, *descendants(node)]) as processes:
        return processes.wait(5.0) and not place.sessions


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_blocking_command_takes_the_cluster_with_it(place: Place, start_blocking: Blocking, number: signal.Signals):
    command = start_blocking()
    node = node_of(place)

    with Watched([node, *descendants(node)]) as processes:
        command.send_signal(number)

        assert command.wait(10) == 0
        assert processes.wait(1.0)
    assert not place.sessions


def test_killed_blocking_command_takes_the_cluster_with_it(place: Place, start_blocking: Blocking):
    command = start_blocking()
    node = node_of(place)

    command.kill()

    assert ended(place, node)


def test_blocking_command_says_what_its_node_died_of(place: Place, start_blocking: Blocking):
    command = start_blocking()
    node = node_of(place)

    os.kill(node, signal.SIGKILL)

    _, errors = command.communicate(timeout=10)
    assert command.returncode == 1
    assert "killed by signal 9 (SIGKILL)" in errors
    assert "node.log" in errors
    assert ended(place, node)


def test_blocking_command_ends_when_the_cluster_is_stopped(place: Place, start_blocking: Blocking):
    command = start_blocking()

    assert place.trayray("stop").returncode == 0

    said, _ = command.communicate(timeout=10)
    assert command.returncode == 0
    assert "has been stopped" in said


def test_init_without_an_address_joins_a_blocking_one(place: Place, start_blocking: Blocking):
    start_blocking()

    said = place.driver("print(ray.init().address_info['session_dir'])").stdout

    assert pathlib.Path(said.strip()) in place.sessions


# ---------------------------------------------------------------- mistakes


def test_port_of_a_stranger(place: Place):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        done = place.trayray("start", "--head", f"--port={port}", STORE)

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert not place.sessions


def test_port_of_a_cluster(place: Place, address: str):
    done = place.trayray("start", "--head", f"--port={address.rpartition(':')[2]}", STORE)

    assert done.returncode == 1
    assert f"a cluster runs at {address} already" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--head"),
        (["--address=10.0.0.1:6379"], "10.0.0.1:6379 is not available yet"),
        (["--head", "--address=10.0.0.1:6379"], "give one of them"),
        (["--head", "--port=abc"], "'abc' is not a valid integer"),
        (["--head", "--port=70000"], "70000"),
        (["--head", "--resources={bad"], "is not valid JSON"),
        (["--head", '--resources=["a"]'], "no JSON object of resources"),
        (["--head", '--resources={"disk": "much"}'], "disk must be a number"),
        (["--head", '--labels={"zone": 1}'], "labels are texts"),
        (["--head", "--num-cpus=-1"], "nonnegative"),
        (["--head", "--object-store-memory=1000"], "minimum"),
        (["--head", "--system-config={bad"], "is not valid JSON"),
        (["--head", '--system-config={"max_io_workers": 0}'], 'max_io_workers"] must be a whole number'),
        (["--head", '--system-config={"object_spilling_config": "{}"}'], '"type" must be'),
        (["--head", "--no-such-flag"], "--no-such-flag"),
    ],
)
def test_unusable_command_line_is_named(arguments: list[str], says: str):
    done = CliRunner().invoke(trayray, ["start", *arguments])

    assert done.exit_code == 2
    assert says in done.output


def test_metrics_at_a_port_of_ones_choice(place: Place):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    started = place.trayray("start", "--head", "--port=0", "--num-cpus=1", STORE, f"--metrics-export-port={port}")
    assert started.returncode == 0, started.stderr
    place.driver("""
        from trayray.util.metrics import Counter
        ray.init(address="auto")
        Counter("by_a_driver_that_ends").inc(3)
    """)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    assert [line for line in lines if line.startswith("ray_by_a_driver_that_ends_total{") and line.endswith(" 3.0")]


def test_objects_are_spilled_to_a_directory_of_ones_choice(place: Place):
    place.trayray(
        *("start", "--head", "--port=0", "--num-cpus=1", STORE, "--object-spilling-directory=own"),
        '--system-config={"min_spilling_size": 1000000}',
        cwd=place.path,
    )

    said = place.driver(
        """
        import pathlib
        ray.init("auto")
        references = [ray.put(bytes([number]) * 20_000_000) for number in range(8)]
        assert all(set(ray.get(reference)) == {number} for number, reference in enumerate(references))
        print(sorted({path.parent.parent.name for path in pathlib.Path("own").rglob("*-multi-*")}))
        """,
        cwd=place.path,
    ).stdout

    assert said == "['own']\n"
    assert place.trayray("stop").returncode == 0
    assert list((place.path / "own").iterdir()) == []
