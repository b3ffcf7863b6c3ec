"""The first messages of links: who connects, and the node's answer.

Not here: checking the token (``link.handshake``).
"""

from msgspec import Struct


class Hello(Struct, array_like=True, tag=0):
    """First message on every link: who connects, with the cluster's token."""

    token: str
    role: str
    worker_id: bytes
    pid: int = 0
    job: bytes = b""


class Welcome(Struct, array_like=True, tag=1):
    """The node accepted the `Hello`. The arena's descriptor travels with it when ``arena`` is true."""

    node_id: bytes
    capacity: int
    session: str
    sockets: str
    address: str
    job: bytes
    arena: bool = False
    #: Where the node answers ``GET /metrics``.
    metrics_port: int = 0
