"""What the cluster is told about a node.

Not here: what of it is free (``services``).
"""

from __future__ import annotations

import socket

from trayray.link.network import NODE
from trayray.node.config import NodeConfig
from trayray.node.raylet import Raylet
from trayray.node.session import Session
from trayray.wire.proto.trayray import v1


class NodeDescription:
    """What the cluster is told about this node."""

    def __init__(
        self,
        config: NodeConfig,
        session: Session,
        raylet: Raylet,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        self._config = config
        self._session = session
        self._raylet = raylet
        self._resources = resources
        self._labels = labels
        self.address = ""
        self.metrics_port = 0

    def __call__(self) -> list[v1.Node]:
        port = int(self.address.rpartition(":")[2])
        return [
            v1.Node(
                node_id=self._raylet.identity.node_id,
                alive=True,
                address=self._config.ip,
                hostname=socket.gethostname(),
                node_manager_port=port,
                object_manager_port=port,
                metrics_export_port=self.metrics_port,
                object_store_socket=str(self._session.sockets / NODE),
                raylet_socket=str(self._session.sockets / NODE),
                name=self._config.name or self._config.ip,
                resources={**self._resources, **self._raylet.table.bundles.as_resources(available=False)},
                labels=self._labels,
            )
        ]
