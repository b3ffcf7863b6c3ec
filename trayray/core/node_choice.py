"""Which node a class of tasks, or an actor, goes to: the scheduling policies, over what is known of the nodes.

    DEFAULT    the node with the most bytes of its arguments; else the local one while it is less than half used; else
               one of the least used
    SPREAD     the next node in turn that has room
    affinity   that node, or (soft) any other when it can never take it
    labels     nodes that satisfy the rules, first those that satisfy the preferred ones too

Not here: bundles (``placement``), who gets what is free on a node (``leases``).
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen

from trayray.model.resources import ResourceSet
from trayray.model.scheduling import ANYWHERE, Scheduling, satisfies

#: A node that is used less than this counts as empty, so that work stays together on few nodes.
SPREAD_THRESHOLD = 0.5
#: One of so many of the least used nodes is drawn, so that many who choose at once do not all choose the same.
TOP_SHARE = 0.2


@frozen
class Node:
    """A living node as whoever places work knows it."""

    node_id: bytes
    total: ResourceSet
    available: ResourceSet
    labels: Mapping[str, str] = field(factory=dict[str, str])


@frozen
class Request:
    """What is to be placed. ``needs`` must be there in total, ``holds`` is taken; mostly they are the same."""

    holds: ResourceSet
    needs: ResourceSet
    scheduling: Scheduling = ANYWHERE
    #: Bytes of its arguments by the node that has them.
    argument_bytes: Mapping[bytes, int] = field(factory=dict[bytes, int])

    def fits(self, node: Node) -> bool:
        """Whether the node could ever take it, whatever is free there at present."""
        return node.total.covers(self.needs) and node.total.covers(self.holds)


# --- answers ---


@frozen
class Chosen:
    """It can run on this node now."""

    node_id: bytes


@frozen
class Busy:
    """These nodes could run it, but not now."""

    nodes: tuple[bytes, ...]


@frozen
class Infeasible:
    """No node could ever run it; one that joins later may."""

    #: Whether it is for the labels: the resources are there.
    by_labels: bool


@frozen
class Impossible:
    """No node will ever run it, whoever joins: it fails. ``reason`` is a sentence for the user."""

    reason: str


Choice = Chosen | Busy | Infeasible | Impossible


def choose_node(
    request: Request,
    nodes: Sequence[Node],
    *,
    local: bytes = b"",
    after: bytes = b"",
    draw: Callable[[int], int] = lambda count: 0,
) -> Choice:
    """Decide where ``request`` goes.

    Args:
        nodes: all living nodes.
        local: the node of whoever asks.
        after: where the last request of a class that is spread went.
        draw: a number from 0 to below its argument, by chance.
    """
    scheduling = request.scheduling
    if scheduling.node:
        node = next((n for n in nodes if n.node_id == scheduling.node), None)
        takes = node is not None and request.fits(node) and satisfies(node.labels, scheduling.rules)
        if node is not None and takes:
            return _decide(request, [node], local, after, draw)
        if not scheduling.soft:
            return Impossible(_affinity_failed(request, node))
    feasible = [node for node in nodes if request.fits(node)]
    eligible = eligible_nodes(scheduling, feasible)
    if not eligible:
        return Infeasible(by_labels=bool(feasible))
    return _decide(request, eligible, local, after, draw)


def eligible_nodes(scheduling: Scheduling, nodes: Sequence[Node]) -> list[Node]:
    """Those of ``nodes`` that satisfy the rules on labels, or else the first of the fallbacks that any satisfies."""
    for rules in (scheduling.rules, *scheduling.fallbacks):
        found = [node for node in nodes if satisfies(node.labels, rules)]
        if found:
            return found
    return []


def _decide(
    request: Request, eligible: Sequence[Node], local: bytes, after: bytes, draw: Callable[[int], int]
) -> Choice:
    free = [node for node in eligible if node.available.covers(request.holds)]
    if not free:
        return Busy(tuple(node.node_id for node in eligible))
    preferred = [node for node in free if satisfies(node.labels, request.scheduling.preferred)]
    free = preferred or free
    if request.scheduling.spread:
        following = [node.node_id for node in free if node.node_id > after]
        return Chosen(min(following, default=min(node.node_id for node in free)))
    nearest = max(free, key=lambda node: request.argument_bytes.get(node.node_id, 0))
    if request.argument_bytes.get(nearest.node_id, 0):
        return Chosen(nearest.node_id)
    ranked = sorted(free, key=lambda node: (_used(request, node), node.node_id != local, node.node_id))
    best = ranked[0]
    if best.node_id == local:
        return Chosen(local)
    top = max(1, int(len(ranked) * TOP_SHARE))
    return Chosen(ranked[draw(top)].node_id)


def _used(request: Request, node: Node) -> float:
    """How much of the scarcest resource would be used with the request; 0 below the threshold."""
    shares = [
        1 - (node.available.units(name) - request.holds.units(name)) / node.total.units(name)
        for name in request.needs
        if node.total.units(name)
    ]
    share = max(shares, default=0.0)
    return 0.0 if share < SPREAD_THRESHOLD else share


def _affinity_failed(request: Request, node: Node | None) -> str:
    name = request.scheduling.node.hex()
    text = (
        f"The node {name} specified via NodeAffinitySchedulingStrategy doesn't exist any more or is infeasible, and "
        "soft=False was specified: "
    )
    if node is None:
        return text + "no living node of the cluster has this id; nodes() lists them."
    if not request.fits(node):
        return text + f"it asks for {request.needs.to_dict()}, and the node has {node.total.to_dict()}."
    broken = [str(rule) for rule in request.scheduling.rules if not rule.accepts(node.labels)]
    return text + f"the node's labels {dict(node.labels)} break its label_selector: {', '.join(broken)}."
