"""Ray's ``ray.cluster_utils``: a cluster for tests that ends with the process that made it.

Of one node for now. Not here: the node (``node.main``), connecting to it (``api.initialize``).
"""

from __future__ import annotations

import atexit
import signal
from typing import Any

import attrs

from trayray.api.initialize import _Amounts, init, shutdown
from trayray.api.node_control import cluster_status
from trayray.api.session import NodeProcess, end_node, session, start_node
from trayray.exceptions import RaySystemError
from trayray.node.session import Session

#: Size of a node's object store when nothing is said (bytes).
_STORE_BYTES = 150 * 1024 * 1024
#: Arguments of `add_node` that say what the node has.
_AMOUNTS = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory")
#: Further ones, and the name that `init` has for them.
_OPTIONS = {
    "memory": "_memory",
    "node_name": "_node_name",
    "temp_dir": "_temp_dir",
    "_system_config": "_system_config",
    "object_spilling_directory": "object_spilling_directory",
}
#: Those of the node's settings.
_SETTINGS = {"node_ip_address": "ip", "gcs_server_port": "port"}
#: Those that are about what a node here does not have.
_WITHOUT_EFFECT = frozenset(
    {
        "include_dashboard",
        "dashboard_host",
        "dashboard_port",
        "min_worker_port",
        "max_worker_port",
        "include_log_monitor",
    }
)


class ClusterNode:
    """A node of a `Cluster`."""

    def __init__(self, process: NodeProcess) -> None:
        self._process = process
        self._session = Session(process.session_dir)
        status = cluster_status(self._session)
        #: The node's id in hexadecimal digits, as in ``nodes()``.
        self.node_id = status.info.node_id.hex()
        self.unique_id = self.node_id
        #: "host:port" of its control plane.
        self.address = process.address
        ip, _, port = process.address.rpartition(":")
        self.node_ip_address = ip
        self.address_info: dict[str, Any] = {
            "node_ip_address": ip,
            "gcs_address": process.address,
            "address": process.address,
            "object_store_address": status.info.node_socket,
            "raylet_socket_name": status.info.node_socket,
            "session_dir": str(process.session_dir),
            "metrics_export_port": int(port),
            "node_id": self.node_id,
        }

    def __repr__(self) -> str:
        return f"<ClusterNode {self.node_id[:8]} at {self.address} alive={self.is_alive()}>"

    def is_alive(self) -> bool:
        """Whether the node's process runs."""
        return self._process.process.poll() is None

    def get_session_dir_path(self) -> str:
        """The directory with the node's logs."""
        return str(self._process.session_dir)

    def kill_raylet(self) -> None:
        """Kill the node's process, as a crash would; its workers end with it."""
        self._process.process.send_signal(signal.SIGKILL)
        self._process.process.wait()

    def _end(self, *, gracefully: bool) -> None:
        if not gracefully and self.is_alive():
            self.kill_raylet()
        end_node(self._process)


class Cluster:
    """A cluster on this machine that lives as long as this process at most.

    Args:
        initialize_head: start the head node at once.
        connect: join it as a driver; needs ``initialize_head``.
        head_node_args: arguments of `add_node` for the head.
        shutdown_at_exit: end it in good order when the interpreter exits. It ends then in any case.

    Raises:
        RuntimeError: ``connect`` without ``initialize_head``.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        if connect and not initialize_head:
            raise RuntimeError("Cannot connect to an uninitialized cluster: pass initialize_head=True as well.")
        self.head_node: ClusterNode | None = None
        self.worker_nodes: set[ClusterNode] = set()
        self.webui_url = ""
        self._shutdown_at_exit = shutdown_at_exit
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str | None:
        """ "host:port" for ``init(address=...)``; None without a head."""
        return None if self.head_node is None else self.head_node.address

    @property
    def gcs_address(self) -> str | None:
        """The same as `address`."""
        return self.address

    def add_node(self, wait: bool = True, **node_args: Any) -> ClusterNode:
        """Start a node, the head if there is none yet.

        Args:
            wait: has no effect: a node that is returned accepts work.
            node_args: ``num_cpus`` (1), ``num_gpus`` (0), ``resources``, ``labels``, ``memory`` and
                ``object_store_memory`` (bytes; 150 MiB), ``node_name``, ``node_ip_address``, ``temp_dir``,
                ``gcs_server_port`` (any).

        Raises:
            RaySystemError: there is a head already (several nodes are not available yet), or the node did not start.
            TypeError: an unknown argument, or one of the wrong type.
            ValueError: an impossible amount.
        """
        del wait
        if self.head_node is not None:
            raise RaySystemError(
                NotImplementedError("clusters of several nodes are not available yet: this one has its head already")
            )
        known = {*_AMOUNTS, *_OPTIONS, *_SETTINGS, *_WITHOUT_EFFECT}
        unknown = sorted(set(node_args) - known)
        if unknown:
            raise TypeError(f"add_node() has no argument {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        given: dict[str, Any] = {"num_cpus": 1, "object_store_memory": _STORE_BYTES, **node_args}
        amounts = _Amounts(**{name: given.get(name) for name in _AMOUNTS}, options={})
        amounts.check()
        config = amounts.node_config({ours: given[name] for name, ours in _OPTIONS.items() if name in given})
        config = attrs.evolve(config, **{ours: given[name] for name, ours in _SETTINGS.items() if name in given})
        process = start_node(config)
        try:
            self.head_node = ClusterNode(process)
        except BaseException:
            end_node(process)
            raise
        if self._shutdown_at_exit:
            atexit.register(self.shutdown)
        return self.head_node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """End a node and what runs on it; without ``allow_graceful`` as a crash would.

        Raises:
            ValueError: this process is a driver on that node, and is disconnected now; or the cluster has no such node.
        """
        if node is not self.head_node:
            raise ValueError(f"{node!r} is not a node of this cluster")
        if _is_connected_to(node):
            shutdown()
            raise ValueError(
                "Removing the node that this driver is connected to is not allowed, because it would break the driver. "
                "The driver has been disconnected; call shutdown() of the cluster to end it."
            )
        self.head_node = None
        atexit.unregister(self.shutdown)
        node._end(gracefully=allow_graceful)

    def connect(self, namespace: str | None = None) -> None:
        """Join the cluster as a driver.

        Raises:
            RaySystemError: it has no head yet.
        """
        init(address=self._head().address, namespace=namespace, ignore_reinit_error=True)

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Wait until the cluster knows of every node; at most ``timeout`` seconds.

        A node registers before `add_node` returns, so that this only looks whether the head still serves.

        Raises:
            TimeoutError: it does not.
        """
        del timeout
        if self.head_node is not None and not self.head_node.is_alive():
            raise TimeoutError(f"{self.head_node!r} has died; its log is {self.head_node.get_session_dir_path()}/logs")

    def list_all_nodes(self) -> list[ClusterNode]:
        """The nodes that were added and not removed, the head first."""
        return [] if self.head_node is None else [self.head_node, *self.worker_nodes]

    def remaining_processes_alive(self) -> bool:
        """Whether no node has died."""
        return all(node.is_alive() for node in self.list_all_nodes())

    def shutdown(self) -> None:
        """End the cluster; a driver in this process leaves it first. Idempotent."""
        node = self.head_node
        if node is not None:
            if _is_connected_to(node):
                shutdown()
            self.remove_node(node)

    def _head(self) -> ClusterNode:
        if self.head_node is None:
            raise RaySystemError(RuntimeError("the cluster has no node yet: call add_node() first"))
        return self.head_node


def _is_connected_to(node: ClusterNode) -> bool:
    connection = session.connection
    return connection is not None and connection.address == node.address


__all__ = ("Cluster", "ClusterNode")
