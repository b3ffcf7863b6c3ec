"""What a cluster costs before it does anything: import, init, first result, shutdown, memory, processes.

    python benchmarks/startup.py [--repeats N]

Times are medians over fresh interpreters. Memory is the proportional set size (PSS) of the idle node, its fork server
and two workers: what they share is counted once. The driver is not part of the sum. A cluster in the program's own
process is measured besides.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
from typing import Any

#: Run in an interpreter of its own for each sample; prints one JSON object.
SAMPLE = """
import json, time
start = time.perf_counter()
import trayray as ray
imported = time.perf_counter()
ray.init(address="local", num_cpus=2, object_store_memory=100 * 2**20, log_to_driver=False)
ready = time.perf_counter()
first = ray.get(ray.remote(lambda: 1).remote())
answered = time.perf_counter()
{measure}
leaving = time.perf_counter()
ray.shutdown()
left = time.perf_counter()
print(json.dumps({{
    "import": imported - start,
    "init": ready - imported,
    "init and first result": answered - imported,
    "shutdown": left - leaving,
    "processes": processes,
}}))
"""

#: Waits until both workers are there and idle, then reads the memory of every process below the driver.
MEASURE = """
import os, pathlib

def children(pid):
    found = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]

def below(pid):
    return [each for child in children(pid) for each in (child, *below(child))]

ray.get([ray.remote(lambda: time.sleep(0.05)).remote() for _ in range(4)])
time.sleep(2.0)
processes = {}
for pid in below(os.getpid()):
    title = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\\0", b" ").decode()[:60].strip()
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    processes[f"{pid} {title}"] = int(pss.split()[1]) / 1024
"""


#: The cluster within the program's process: the first start loads trayray's modules.
IN_PROCESS = """
import json, time
import trayray as ray

function = ray.remote(lambda: 1)
starts, firsts, ends = [], [], []
for _ in range(21):
    began = time.perf_counter()
    ray.init(mode="in_process", num_cpus=2, object_store_memory=100 * 2**20)
    ready = time.perf_counter()
    ray.get(function.remote())
    answered = time.perf_counter()
    ray.shutdown()
    starts.append(ready - began)
    firsts.append(answered - ready)
    ends.append(time.perf_counter() - answered)
print(json.dumps({"cold": starts[0], "start": starts[1:], "first result": firsts[1:], "end": ends[1:]}))
"""


def print_in_process(repeats: int) -> None:
    """How long the in-process mode takes to start and to end."""
    samples: list[dict[str, Any]] = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", IN_PROCESS], capture_output=True, text=True, check=True, timeout=120
        )
        samples.append(json.loads(done.stdout))
    cold = [each["cold"] for each in samples]
    print("\nin one process (docs/in_process.md)")
    print(f"{'init, modules not loaded':24s} {statistics.median(cold):7.3f} s   ({min(cold):.3f} to {max(cold):.3f})")
    for name in ("start", "first result", "end"):
        values = [value * 1000 for each in samples for value in each[name]]
        print(f"{name:24s} {statistics.median(values):7.1f} ms  ({min(values):.1f} to {max(values):.1f})")


def sample(measure: str) -> dict[str, object]:
    program = SAMPLE.format(measure=measure)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


def wheel_bytes() -> int:
    """The package's source, which is what a wheel holds."""
    package = pathlib.Path(__file__).resolve().parent.parent / "trayray"
    return sum(path.stat().st_size for path in package.rglob("*.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    times = [sample("processes = {}") for _ in range(options.repeats)]
    for name in ("import", "init", "init and first result", "shutdown"):
        values = [float(each[name]) for each in times]  # type: ignore[arg-type]  # these rows are numbers
        print(f"{name:24s} {statistics.median(values):7.3f} s   ({min(values):.3f} to {max(values):.3f})")
    print_in_process(options.repeats)
    processes: dict[str, float] = sample(MEASURE)["processes"]  # type: ignore[assignment]  # this row is a mapping
    print(f"\nidle head with two workers: {len(processes)} processes, {sum(processes.values()):.1f} MiB (PSS)")
    for name, mebibytes in processes.items():
        print(f"  {mebibytes:7.1f} MiB  {name}")
    print(f"\nsource of the package: {wheel_bytes() / 1024:.0f} KiB uncompressed")


if __name__ == "__main__":
    main()
