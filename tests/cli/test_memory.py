"""`trayray memory`: two programs on one cluster, its options, and call sites on and off."""

import re
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest

from tests.cli.conftest import STORE, Place

PROGRAM = """
import trayray as ray
ray.init("auto", log_to_driver=False)

@ray.remote(num_cpus=0)
class Clerk:
    def keep(self, what):
        self.what = what

def make():
    return ray.put(None)

large = ray.put(bytes(3_000_000))
small = make()
clerk = Clerk.remote()
ray.get(clerk.keep.remote([small]))
print(large.hex(), small.hex(), flush=True)
input()
"""


@attrs.define
class Row:
    """A line of the unformatted table."""

    pid: int
    process_type: str
    call_site: str
    status: str
    size: str
    kind: str
    object_id: str
    owner_pid: int


def rows(text: str) -> list[Row]:
    found: list[Row] = []
    for line in text.splitlines():
        if line.startswith("127.0.0.1 | "):
            _, pid, process_type, *site, status, _, size, kind, object_id, owner = line.split(" | ")
            found.append(Row(int(pid), process_type, " | ".join(site), status, size, kind, object_id, int(owner)))
    return found


@pytest.fixture
def drivers(place: Place, address: str) -> "Iterator[list[subprocess.Popen[str]]]":
    """Two programs that have made their references."""
    with place.popen("-c", PROGRAM) as first, place.popen("-c", PROGRAM) as second:
        yield [first, second]
        for driver in (first, second):
            driver.communicate("\n")


def ids_of(driver: "subprocess.Popen[str]") -> list[str]:
    assert driver.stdout
    return driver.stdout.readline().split()


def test_two_programs(place: Place, drivers: "list[subprocess.Popen[str]]"):
    (large, small), (_, other_small) = map(ids_of, drivers)
    done = place.trayray("memory", "--units=KB")

    assert (done.returncode, done.stderr) == (0, "")
    found = rows(done.stdout)
    for driver, object_id in zip(drivers, (small, other_small), strict=True):
        own = [row for row in found if row.object_id == object_id]
        assert sorted((row.process_type, row.kind, row.owner_pid) for row in own) == [
            ("Driver", "LOCAL_REFERENCE", driver.pid),
            ("Worker", "LOCAL_REFERENCE", driver.pid),
        ]
    (row,) = [row for row in found if row.object_id == large]
    assert (row.pid, row.call_site, row.status) == (drivers[0].pid, "disabled", "FINISHED")
    assert re.fullmatch(r"3000\.\d+ KB", row.size)
    assert sum(row.kind == "ACTOR_HANDLE" for row in found) == 2
    assert "Grouping by node address...        Sorting by object size...        Display all entries" in done.stdout
    assert "set env variable TRAYRAY_record_ref_creation_sites=1" in done.stdout
    assert re.search(r"^Plasma memory usage 5 MiB, 2 objects, \d+\.\d+% full, ", done.stdout, re.MULTILINE)

    statistics = place.trayray("memory", "--stats-only").stdout.splitlines()
    assert statistics[0] == "--- Aggregate object store stats across all nodes ---"
    assert len(statistics) == 2
    by_site = place.trayray("memory", "--group-by=stack_trace", "--sort-by=PID", "-n", 1, "--no-format").stdout
    assert re.findall("^--- Summary for stack trace: (.*) ---$", by_site, re.MULTILINE) == ["disabled"]
    assert [row.pid for row in rows(by_site)] == [min(row.pid for row in found)]
    table = place.trayray("memory", "--format", "--num-entries=1").stdout
    heading = next(line for line in table.splitlines() if line.startswith("IP Address"))
    assert heading.split("  ")[0] == "IP Address"
    assert len(rows(table)) == 0


def test_call_sites(place: Place):
    recording = place.environment | {"RAY_record_ref_creation_sites": "1"}
    started = place.trayray("start", "--head", "--port=0", "--num-cpus=1", STORE, env=recording)
    assert started.returncode == 0, started.stderr
    source = PROGRAM.replace("input()", "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)")
    program = place.path / "program.py"
    program.write_text(source)
    command = ["-m", "trayray", "memory", "--no-format", "--group-by=STACK_TRACE"]

    done = place.python(program, sys.executable, *command, env=recording)

    assert done.returncode == 0, done.stderr
    large, small = done.stdout.split()[:2]
    sites = {(row.process_type, row.object_id): row.call_site for row in rows(done.stdout)}
    line = {text: number for number, text in enumerate(source.splitlines(), 1)}
    assert sites["Driver", large] == f"(put object)  | {program}:<module>:{line['large = ray.put(bytes(3_000_000))']}"
    making, calling = line["    return ray.put(None)"], line["small = make()"]
    assert sites["Driver", small] == f"(put object)  | {program}:make:{making} | {program}:<module>:{calling}"
    assert sites["Worker", small] == "(deserialize actor task arg) __main__.Clerk.keep"
    assert f"--- Summary for stack trace: {sites['Driver', large]} ---" in done.stdout
    assert "record_ref_creation_sites" not in done.stdout


def test_no_cluster(place: Place):
    done = place.trayray("memory")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: no cluster of this user runs on this machine")


def test_options_are_checked(place: Place):
    assert "Invalid value for '--sort-by'" in place.trayray("memory", "--sort-by=AGE").stderr
    assert "Invalid value for '--num-entries'" in place.trayray("memory", "--num-entries=0").stderr
