"""``trayray status``: what a cluster has, what is in use, and what waits.

Laid out as Ray's, which programs read, with workers and the object store below. Not here: the questions
(``api.node_control``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trayray.api.node_control import ClusterStatus
    from trayray.node.session import Session
    from trayray.wire.proto.trayray import v1

_RULE = "-" * 63
#: Resources that are counted in bytes.
_BYTES = ("memory", "object_store_memory")
#: Resources that bundles of placement groups have: `CPU_group_<id>` a group's, `CPU_group_<index>_<id>` one bundle's.
_IN_GROUP = re.compile(r"_group_(?:(\d+)_)?[0-9a-f]{36}$")


@click.command()
@click.option("--address", metavar="HOST:PORT", help="Default: TRAYRAY_ADDRESS, else the latest cluster of this user.")
def status(address: str | None) -> None:
    """Show the nodes, resources, waiting work, workers and object store of a cluster on this machine."""
    import time

    from trayray.api.node_control import cluster_status
    from trayray.cli.terminal import open_console
    from trayray.exceptions import RayError

    session = find(address)
    try:
        found = cluster_status(session)
    except FileNotFoundError:
        raise click.ClickException("the cluster is just ending; `trayray start --head` starts another") from None
    except (OSError, RayError) as error:
        raise click.ClickException(f"the cluster does not answer: {error}\nIts logs are in {session.logs}.") from error
    console = open_console()
    for line in report(found, time.strftime("%Y-%m-%d %H:%M:%S")):
        heading = line.startswith("===") or (line.endswith(":") and not line.startswith(" "))
        console.print(line, style="bold" if heading else None)


def find(address: str | None) -> Session:
    """The cluster that a command is about: at ``address``, else the latest of this user.

    Raises:
        ClickException: there is none; the text says what to do.
    """
    from trayray.model.settings import environment
    from trayray.node.session import find_session, root_dir

    address = address or environment("ADDRESS") or "auto"
    root = root_dir()
    session = find_session(address, root, started_by_hand=address == "auto") or find_session(address, root)
    if session is not None:
        return session
    if address == "auto":
        raise click.ClickException(
            "no cluster of this user runs on this machine; `trayray start --head` starts one, and so does init() in a "
            "program"
        )
    raise click.ClickException(
        f"no cluster of this user listens at {address} on this machine; `trayray status` without an address shows the "
        "latest one, `trayray start --head` starts one"
    )


def report(found: ClusterStatus, time: str) -> Iterator[str]:
    """The lines of the report; ``time`` as it shall be shown."""
    yield f"======== Autoscaler status: {time} ========"
    yield from ("Node status", _RULE)
    alive = [node for node in found.nodes if node.alive]
    busy = found.head.leases > 0
    active = [f" 1 node_{node.node_id.hex()}" for node in alive if busy]
    idle = [f" 1 node_{node.node_id.hex()}" for node in alive if not busy]
    failed = [f" node_{node.node_id.hex()}: {node.death_reason}" for node in found.nodes if not node.alive]
    yield from ("Active:", *(active or [" (no active nodes)"]))
    yield from ("Idle:", *(idle or [" (no idle nodes)"]))
    yield from ("Pending:", " (no pending nodes)")
    yield from ("Recent failures:", *(failed or [" (no failures)"]))
    yield from ("", "Resources", _RULE)
    yield from ("Total Usage:", *_usage(alive, found.head.available))
    yield from ("", "From request_resources:", " (none)")
    yield from ("Pending Demands:", *([_demand(demand) for demand in found.head.demands] or [" (no resource demands)"]))
    yield from ("", "Cluster", _RULE)
    yield f" {found.info.address}, up {_duration(found.head.uptime_seconds)}, version {found.info.version}"
    yield f" {_count(found.head.workers, 'worker process')}, {found.head.idle_workers} idle"
    used, capacity = _bytes(found.head.store_used), _bytes(found.head.store_capacity)
    yield f" {_count(found.head.store_objects, 'object')} in the object store: {used} of {capacity}"
    yield f" logs: {found.info.session_dir}/logs"


def _usage(nodes: list[v1.Node], available: dict[str, float]) -> Iterator[str]:
    """One line a resource: in use, all there is, and what placement groups reserve of it.

    What only names a node is left out. What is reserved and not in use does not count as used.
    """
    total: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.resources.items():
            total[name] = total.get(name, 0.0) + amount
    reserved: dict[str, tuple[float, float]] = {}
    for name in [name for name in total if _IN_GROUP.search(name)]:
        resource, index = _IN_GROUP.split(name)[:2]
        amount = total.pop(name)
        if index is None:  # the whole group's
            used, all_of_it = reserved.get(resource, (0.0, 0.0))
            reserved[resource] = (used + amount - available.get(name, 0.0), all_of_it + amount)
    for name in sorted(total):
        if name.startswith("node:") or not total[name]:
            continue
        inside, set_aside = reserved.get(name, (0.0, 0.0))
        amounts = (total[name] - available.get(name, 0.0) - set_aside + inside, total[name], inside, set_aside)
        texts = [_bytes(amount) if name in _BYTES else str(round(amount, 4)) for amount in amounts]
        more = f" ({texts[2]} used of {texts[3]} reserved in placement groups)" if set_aside else ""
        yield f" {texts[0]}/{texts[1]} {name}{more}"


def _demand(demand: v1.PendingDemand) -> str:
    never = "" if demand.feasible else "; no node has that much: it waits forever"
    return f" {demand.resources}: {demand.count}+ pending tasks/actors ({demand.name}{never})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def _bytes(amount: float) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount >= size:
            return f"{amount / size:.2f}{unit}"
    return f"{int(amount)}B"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
