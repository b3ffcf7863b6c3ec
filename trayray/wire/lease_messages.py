"""Messages of the node link about leases on workers, and about placement groups.

Tags are unique within the whole node link (``node_messages``).
"""

from msgspec import Struct

from trayray.model.scheduling import LabelRule, Scheduling


class DefineClass(Struct, array_like=True, tag=2):
    """Declares scheduling class ``key`` of this link: what one lease of it holds."""

    key: int
    resources: dict[str, float]
    job: bytes
    name: str
    #: Where it may run; None for anywhere.
    scheduling: Scheduling | None = None


class Demand(Struct, array_like=True, tag=3):
    """The owner wants ``total`` leases of class ``key`` counted from the start of the link (it may go down)."""

    key: int
    total: int


class Grant(Struct, array_like=True, tag=4):
    """A lease on a worker."""

    key: int
    lease: int
    worker: bytes
    address: str


class ReturnLease(Struct, array_like=True, tag=5):
    """The owner needs the lease no longer; ``reusable`` is false when the worker must not serve again."""

    lease: int
    reusable: bool = True


class LeaseLost(Struct, array_like=True, tag=6):
    """The worker behind a lease died; ``cause`` is a sentence for the user."""

    lease: int
    cause: str


class Contended(Struct, array_like=True, tag=7):
    """Others wait for resources: give idle leases back now (True), or linger again (False)."""

    contended: bool


class Lend(Struct, array_like=True, tag=8):
    """The running task waits in get/wait: its CPUs are free for others."""


class Resume(Struct, array_like=True, tag=9):
    """The running task wants its CPUs back; answered by `Resumed`."""


class Resumed(Struct, array_like=True, tag=10):
    """The CPUs are the worker's again."""


class KillLeased(Struct, array_like=True, tag=45):
    """End the worker of a lease that the sender holds. ``reason`` is a sentence for the user."""

    lease: int
    reason: str


class Refused(Struct, array_like=True, tag=48):
    """No lease of class ``key`` will ever be granted: its placement group is gone, or no node will ever be right."""

    key: int
    group_removed: bool
    #: A sentence for the user.
    reason: str


class WatchGroup(Struct, array_like=True, tag=49):
    """Send `GroupNews` once, when this placement group is created or removed."""

    group: bytes


class GroupNews(Struct, array_like=True, tag=50):
    """A placement group is CREATED or REMOVED; the state of an unknown one is empty.

    The answer to `CreateGroup` says that it is REGISTERED, or why not.
    """

    group: bytes
    state: str
    error: str = ""


class CreateGroup(Struct, array_like=True, tag=51):
    """Reserve these bundles, each some resources and what its node's labels must be."""

    group: bytes
    name: str
    namespace: str
    strategy: str
    bundles: list[tuple[dict[str, float], tuple[LabelRule, ...]]]
    job: bytes
    detached: bool
    #: The actor that asks; empty for none.
    actor: bytes


class RemoveGroup(Struct, array_like=True, tag=52):
    """Give back what a placement group reserves; answered by `GroupNews`."""

    group: bytes
