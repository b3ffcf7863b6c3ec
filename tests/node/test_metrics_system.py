"""Processor time turned into percentages, and /proc. A whole node's metrics: tests/processes/test_metrics.py."""

import os
import subprocess
import sys

import pytest

from trayray.node.metrics_processes import MachineUsage, ProcessUsage, read_machine, read_processes
from trayray.node.metrics_system import UsageHistory


def process(pid, cpu_seconds, title="ray::f", started=1, resident=100, open_files=3):
    return ProcessUsage(pid, title, started, cpu_seconds, resident, open_files)


def look(history, processes, now, machine=MachineUsage(0, 0, 0)):  # noqa: B008 -- frozen
    """Values by (name, component)."""
    return {
        (family.name, dict(sample.labels).get("Component", "")): sample.value
        for family in history.families(processes, machine, now, {99}, "ip")
        for sample in family.samples
    }


def test_processor_time_is_a_share_of_the_time_between_two_looks():
    history = UsageHistory()

    first = look(history, [process(1, 10.0)], 100.0)
    second = look(history, [process(1, 13.0)], 104.0)

    assert first["ray_component_cpu_percentage", "ray::f"] == 0
    assert second["ray_component_cpu_percentage", "ray::f"] == 75


def test_a_new_process_has_used_all_its_time_since():
    history = UsageHistory()
    look(history, [process(1, 10.0)], 100.0)

    again = look(history, [process(1, 1.0, started=2)], 102.0)

    assert again["ray_component_cpu_percentage", "ray::f"] == 50, "the same id, but another process"


def test_processes_are_summed_by_what_they_are():
    history = UsageHistory()
    processes = [
        process(1, 0.0),
        process(2, 0.0),
        process(os.getpid(), 0.0, "python"),
        process(99, 0.0, "python", open_files=7),
    ]

    found = look(history, processes, 1.0)

    assert found["ray_component_rss_bytes", "ray::f"] == 200
    assert found["ray_component_rss_mb", "ray::f"] == pytest.approx(200e-6)
    assert found["ray_component_num_fds", "driver"] == 7
    assert found["ray_component_rss_bytes", "raylet"] == 100


def test_the_machine_is_busy_for_a_share_of_the_time():
    history = UsageHistory()
    look(history, [], 0.0, MachineUsage(100.0, 1000.0, 0))

    found = look(history, [], 1.0, MachineUsage(101.0, 1004.0, 5))

    assert found["ray_node_cpu_utilization", ""] == 25
    assert found["ray_node_mem_available", ""] == 5


def test_reading_processes():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        own, other = read_processes([os.getpid(), child.pid])
        child.communicate()

    assert (own.pid, other.pid) == (os.getpid(), child.pid)
    assert own.cpu_seconds > 0
    assert own.resident > 1_000_000
    assert own.open_files > 2
    assert own.started <= other.started
    assert own.title
    assert read_processes([child.pid]) == [], "it has ended"


def test_reading_the_machine():
    first, second = read_machine(), read_machine()

    assert 0 < first.busy_seconds <= first.total_seconds <= second.total_seconds
    assert first.available > 0
