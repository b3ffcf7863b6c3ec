"""Counting executions, and who is let in. A whole node's endpoint: tests/processes/test_metrics.py."""

import logging
from collections import Counter
from types import SimpleNamespace

from trayray.node import metrics as module
from trayray.node.metrics import OTHER_TASKS, NodeMetrics
from trayray.wire.report_messages import GAUGE, HISTOGRAM, MetricUpdate


def events(*outcomes):
    return [(b"t" * 24, name, 0.0, 1.0, ok) for name, ok in outcomes]


def test_executions_are_counted_by_name_and_outcome():
    metrics = NodeMetrics(lambda: 0.0)

    metrics.executed(events(("f", True), ("f", False), ("g", True)))
    metrics.executed(events(("f", True)))

    assert sorted(metrics.executions()) == [("f", 2, 1), ("g", 1, 0)]


def test_names_that_never_repeat_are_counted_together(monkeypatch):
    monkeypatch.setattr(module, "MAX_TASK_NAMES", 10)
    metrics = NodeMetrics(lambda: 0.0)

    for number in range(100):
        metrics.executed(events(("often", True), ("often", False), (f"once {number}", number % 2 == 0)))

    counts = {name: (finished, failed) for name, finished, failed in metrics.executions()}
    assert len(counts) <= 10
    assert counts["often"] == (100, 100)
    finished, failed = (sum(numbers) for numbers in zip(*counts.values(), strict=True))
    assert (finished, failed) == (150, 150), "nothing is lost"
    assert OTHER_TASKS in counts


def test_what_is_left_out_is_logged(caplog):
    metrics = NodeMetrics(lambda: 0.0)
    client = SimpleNamespace(worker_id=b"w" * 28, job=b"\1\0\0\0")
    metrics.reported(client, [MetricUpdate("m", GAUGE, "", (), [((), (1.0,))])])

    with caplog.at_level(logging.WARNING, module.__name__):
        for _ in range(3):
            metrics.reported(client, [MetricUpdate("m", HISTOGRAM, "", (1.0,), [((), (1.0, 1.0, 0.0))])])

    assert Counter(record.levelname for record in caplog.records) == {"WARNING": 1}
    assert "'m'" in caplog.text


def test_gauges_of_a_process_that_has_gone_age_by_the_clock():
    now = [0.0]
    metrics = NodeMetrics(lambda: now[0])
    client = SimpleNamespace(worker_id=b"w" * 28, job=b"\1\0\0\0")
    metrics.process_gone(client)  # it has recorded nothing
    metrics.reported(client, [MetricUpdate("m", GAUGE, "", (), [((), (1.0,))])])
    metrics.process_gone(client)

    assert len(list(metrics.table.families(metrics.now()))) == 1
    now[0] = 61.0
    assert list(metrics.table.families(metrics.now())) == []
