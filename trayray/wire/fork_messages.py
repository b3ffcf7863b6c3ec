"""The messages of the fork server's pipe."""

from msgspec import Struct


class Fork(Struct, array_like=True, tag=1):
    """Fork a worker; its output descriptors travel with the frame."""

    worker: bytes


class Forked(Struct, array_like=True, tag=2):
    """The worker runs as process ``pid``."""

    worker: bytes
    pid: int


class Exited(Struct, array_like=True, tag=3):
    """The worker's process ended with this wait status."""

    worker: bytes
    pid: int
    status: int
    #: The most memory that it has used (KiB).
    peak: int = 0


class Signal(Struct, array_like=True, tag=4):
    """Send a signal to a worker."""

    pid: int
    number: int


ForkMessage = Fork | Forked | Exited | Signal
