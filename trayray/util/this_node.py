"""The machine that this code runs on: its address, and what its provider calls it.

Not here: what the cluster knows of its nodes (``api.blocking.nodes``).
"""

from __future__ import annotations

import socket

from trayray.model.settings import environment
from trayray.worker.current import core_worker

#: The way to it tells the address of this machine; nothing is sent.
_FAR_AWAY = "8.8.8.8:53"
_LOOPBACK = "127.0.0.1"


def get_node_ip_address(address: str | None = None) -> str:
    """The address of this node in its cluster; of this machine where there is no cluster.

    Args:
        address: "host:port"; without a cluster, the address of this machine that the way there begins at.
    """
    core = core_worker()
    if core is not None:
        for node in core.run_async(core.gcs.nodes):
            if node.node_id == core.welcome.node_id:
                return node.address
    host, _, port = (address or _FAR_AWAY).rpartition(":")
    try:
        family, kind, protocol, _, there = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as way:
            way.connect(there)
            return way.getsockname()[0]
    except OSError:  # no way there: a machine without a network
        return _LOOPBACK


def get_node_instance_id() -> str:
    """What ``TRAYRAY_CLOUD_INSTANCE_ID`` or ``RAY_CLOUD_INSTANCE_ID`` says; "" without them."""
    return environment("CLOUD_INSTANCE_ID")


__all__ = ("get_node_instance_id", "get_node_ip_address")
