"""A node's metrics: what its processes report, and what is served to Prometheus when it asks.

Not here: merging reports (``metrics_table``), the node's own numbers (``metrics_system``), the text (``metrics_text``),
HTTP (``http_server``).
"""

from __future__ import annotations

import hmac
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from trayray.node.http_server import HttpRequest, HttpResponse
from trayray.node.process_control import children
from trayray.version import __version__
from trayray.wire.report_messages import MetricUpdate

# What is needed by the first report or the first scrape is imported then: the node starts sooner.
if TYPE_CHECKING:
    from trayray.node.clients import Client
    from trayray.node.metrics_processes import MachineUsage, ProcessUsage
    from trayray.node.metrics_system import UsageHistory
    from trayray.node.metrics_table import MetricTable
    from trayray.node.metrics_text import Labels
    from trayray.node.raylet import Raylet

logger = logging.getLogger(__name__)

#: Where Prometheus's file-based service discovery finds the endpoint, in the session directory (Ray's name).
DISCOVERY_FILE = "prom_metrics_service_discovery.json"
#: Names of tasks that are counted apart; those of others are counted together.
MAX_TASK_NAMES = 5000
OTHER_TASKS = "(other)"


class NodeMetrics:
    """What one node knows to tell about itself and about its processes' metrics."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        #: Executions that have ended, and those of them that failed, by name.
        self._ended: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    @cached_property
    def table(self) -> MetricTable:
        """What processes have recorded."""
        from trayray.node.metrics_table import MetricTable

        return MetricTable()

    def reported(self, client: Client, updates: Iterable[MetricUpdate]) -> None:
        """A process reports what it has recorded.

        Raises:
            ValueError: the report contradicts itself.
        """
        for complaint in self.table.merge(updates, client.worker_id.hex(), client.job.hex()):
            logger.warning("%s", complaint)

    def executed(self, events: Sequence[tuple[Any, ...]]) -> None:
        """A process reports what it has executed: the events of `TaskEvents`."""
        # Tens of thousands a second: what is short here is quick.
        self._ended.update([event[1] for event in events])
        self._failed.update([event[1] for event in events if not event[4]])
        if len(self._ended) > MAX_TASK_NAMES:
            for name, count in self._ended.most_common()[MAX_TASK_NAMES // 2 :]:
                failed = self._failed.pop(name, 0)
                del self._ended[name]
                self._ended[OTHER_TASKS] += count
                self._failed[OTHER_TASKS] += failed

    def executions(self) -> Iterator[tuple[str, int, int]]:
        """By name: the name, how many executions succeeded, how many failed."""
        for name, ended in self._ended.items():
            failed = self._failed[name]
            yield name, ended - failed, failed

    def process_gone(self, client: Client) -> None:
        """The process has left or died."""
        if "table" in self.__dict__:  # otherwise no process has recorded anything
            self.table.process_gone(client.worker_id.hex(), self._clock())

    def now(self) -> float:
        return self._clock()


class MetricsEndpoint:
    """Answers HTTP requests for the metrics of one node."""

    def __init__(self, raylet: Raylet, ip: str, session: str, token: str | None) -> None:
        """``token`` is asked for unless it is None: metrics tell how much is done, and the names of functions."""
        self._raylet = raylet
        self._ip = ip
        self._labels: Labels = (("SessionName", session), ("Version", __version__), ("NodeAddress", ip))
        self._authorization = None if token is None else f"Bearer {token}".encode()

    @cached_property
    def _usage(self) -> UsageHistory:
        from trayray.node.metrics_system import UsageHistory

        return UsageHistory()

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The metrics in Prometheus's text format, or why not."""
        if request.path not in ("/metrics", "/"):  # the latter for people: Ray's documents name the bare address
            return HttpResponse(404, b"Metrics are at /metrics.\n")
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(405, b"Metrics are only read.\n", headers=(("Allow", "GET, HEAD"),))
        if not self._admits(request):
            return HttpResponse(
                401,
                b"TRAYRAY_METRICS_AUTH=1: say Authorization: Bearer <token>; the token is in the session directory.\n",
                headers=(("WWW-Authenticate", "Bearer"),),
            )
        from trayray.node.metrics_text import CONTENT_TYPE

        return HttpResponse(200, (await self._text()).encode("utf-8", "replace"), CONTENT_TYPE)

    def _admits(self, request: HttpRequest) -> bool:
        if self._authorization is None:
            return True
        return hmac.compare_digest(request.headers.get("authorization", "").encode(), self._authorization)

    async def _text(self) -> str:
        from trayray.node.metrics_system import node_families
        from trayray.node.metrics_text import exposition

        raylet = self._raylet
        workers = {worker.pid for worker in raylet.processes.workers.values() if worker.pid}
        drivers = {client.pid for client in raylet.clients.by_id.values() if client.role == "driver"}
        # Reading /proc takes a while when there are many processes.
        read = partial(_read_usage, workers | drivers)
        processes, machine = await trio.to_thread.run_sync(read)
        now = raylet.metrics.now()
        families = [
            *node_families(raylet, self._ip),
            *self._usage.families(processes, machine, now, drivers, self._ip),
            *raylet.metrics.table.families(now),
        ]
        return exposition(families, self._labels)


def _read_usage(pids: set[int]) -> tuple[list[ProcessUsage], MachineUsage]:
    from trayray.node.metrics_processes import read_machine, read_processes

    return read_processes(sorted({os.getpid(), *pids, *children()})), read_machine()


def write_discovery(session: Path, ip: str, port: int) -> None:
    """Tell Prometheus where to ask: a file for ``file_sd_configs``."""
    targets = [{"labels": {"job": "ray"}, "targets": [f"{ip}:{port}"]}]
    temporary = session / f"{DISCOVERY_FILE}.new"
    temporary.write_text(json.dumps(targets))
    temporary.replace(session / DISCOVERY_FILE)
