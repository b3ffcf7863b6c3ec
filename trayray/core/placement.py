"""Which node takes which bundle of a placement group: all of them get a node, or none does.

    STRICT_PACK     all on one node
    PACK            on one node if possible, else on few
    SPREAD          on different nodes if possible, else on as many as possible
    STRICT_SPREAD   each on a node of its own

Not here: a group's life (``placement_groups``), what is done with a bundle (``bundles``, ``leases``).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from trayray.core.node_choice import Node
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import LabelRule, satisfies

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
#: A search that has not found a place for all bundles after so many tries is given up: packing is a hard problem.
MAX_TRIES = 2_000
#: Nor is it begun for more bundles than this: each is one level of it.
MAX_SEARCHED = 100


@frozen
class Wanted:
    """One bundle to be placed."""

    resources: ResourceSet
    rules: tuple[LabelRule, ...] = ()


@frozen
class Placed:
    """The nodes of the bundles, in their order."""

    nodes: tuple[bytes, ...]


@frozen
class MustWait:
    """The nodes could hold them, if enough were free."""


@frozen
class NeverFits:
    """The nodes could not hold them if all were free: only a further node helps."""


Planned = Placed | MustWait | NeverFits


def plan(
    bundles: Sequence[Wanted], strategy: str, nodes: Sequence[Node], occupied: Mapping[bytes, int] | None = None
) -> Planned:
    """Find nodes for all bundles.

    Args:
        bundles: what is to be placed: all of a group, or those that it has lost.
        strategy: one of `STRATEGIES`.
        nodes: all living nodes.
        occupied: how many further bundles of the same group each node has already.
    """
    placed = _Planner(bundles, nodes, [node.available for node in nodes], occupied or {}).place(strategy)
    if placed is not None:
        return Placed(tuple(nodes[number].node_id for number in placed))
    empty = _Planner(bundles, nodes, [node.total for node in nodes], occupied or {})
    # A search that was given up has not shown that there is no way.
    return MustWait() if empty.place(strategy) is not None or empty.gave_up else NeverFits()


class _Planner:
    """The bundles and what each node has for them; bundles and nodes are known by their numbers."""

    def __init__(
        self,
        bundles: Sequence[Wanted],
        nodes: Sequence[Node],
        free: Sequence[ResourceSet],
        occupied: Mapping[bytes, int],
    ) -> None:
        self.bundles = bundles
        self.nodes = nodes
        self.free = free
        self.occupied = occupied
        #: Whether the last search was not complete.
        self.gave_up = False
        self._any_rules = any(bundle.rules for bundle in bundles)
        #: The most that any node has of a resource: what sizes are compared by.
        self._most: dict[str, int] = {}
        for have in free:
            for name in have:
                self._most[name] = max(self._most.get(name, 0), have.units(name))

    def place(self, strategy: str) -> list[int] | None:
        """The node of each bundle, None when there is no way."""
        match strategy:
            case "STRICT_PACK":
                return self._on_one_node()
            case "STRICT_SPREAD":
                return self._on_nodes_of_their_own()
            case "PACK":
                return self._on_one_node() or self._on_few_nodes() or self._anyhow(packed=True)
            case _:
                return self._on_many_nodes() or self._anyhow(packed=False)

    def _may(self, bundle: Wanted, number: int, free: ResourceSet) -> bool:
        return free.covers(bundle.resources) and satisfies(self.nodes[number].labels, bundle.rules)

    def _had(self, number: int) -> int:
        return self.occupied.get(self.nodes[number].node_id, 0)

    def _size(self, resources: ResourceSet) -> float:
        """Comparable over resources of different kinds: the largest share of what any node has."""
        return max((resources.units(name) / self._most.get(name, 1) for name in resources), default=0.0)

    def _largest_first(self) -> list[int]:
        return sorted(range(len(self.bundles)), key=lambda index: -self._size(self.bundles[index].resources))

    def _on_one_node(self) -> list[int] | None:
        whole = ResourceSet()
        for bundle in self.bundles:
            whole += bundle.resources
        fitting = [
            number
            for number, free in enumerate(self.free)
            if free.covers(whole) and all(satisfies(self.nodes[number].labels, b.rules) for b in self.bundles)
        ]
        if not fitting:
            return None
        # Where the group is already; else the tightest fit, which leaves large nodes to large groups.
        best = min(fitting, key=lambda number: (-self._had(number), self._size(self.free[number] - whole), number))
        return [best] * len(self.bundles)

    def _on_few_nodes(self) -> list[int] | None:
        """Fill the node that takes the most of what is left, again and again."""
        left, places = self._largest_first(), dict[int, int]()
        unused = set(range(len(self.nodes)))
        while left and unused:
            taken = self._fillings(unused, left)
            best = max(unused, key=lambda number: (len(taken[number]), self._had(number), -number))
            if not taken[best]:
                return None
            unused.remove(best)
            places.update((index, best) for index in taken[best])
            left = [index for index in left if index not in places]
        return None if left else [places[index] for index in range(len(self.bundles))]

    def _fillings(self, numbers: Iterable[int], indices: list[int]) -> dict[int, list[int]]:
        """Which of the bundles each node would take. Nodes that have the same take the same, unless labels matter."""
        known: dict[ResourceSet, list[int]] = {}
        fillings: dict[int, list[int]] = {}
        for number in numbers:
            free = self.free[number]
            if self._any_rules or free not in known:
                known[free] = self._fill(number, indices)
            fillings[number] = known[free]
        return fillings

    def _fill(self, number: int, indices: list[int]) -> list[int]:
        free, taken = self.free[number], list[int]()
        for index in indices:
            if self._may(self.bundles[index], number, free):
                free -= self.bundles[index].resources
                taken.append(index)
        return taken

    def _on_nodes_of_their_own(self) -> list[int] | None:
        matched = self._match(exclude_occupied=True)
        return None if len(matched) < len(self.bundles) else [matched[index] for index in range(len(self.bundles))]

    def _match(self, *, exclude_occupied: bool) -> dict[int, int]:
        """As many bundles as possible on nodes of their own: the node by the bundle (augmenting paths)."""
        bundle_of: dict[int, int] = {}
        for index in self._largest_first():
            self._augment(index, bundle_of, exclude_occupied=exclude_occupied)
        return {index: number for number, index in bundle_of.items()}

    def _augment(self, start: int, bundle_of: dict[int, int], *, exclude_occupied: bool) -> None:
        """Give bundle ``start`` a node too, others moving on to further ones where that helps (breadth first)."""
        came_from: dict[int, int] = {}
        waiting = deque([start])
        while waiting:
            index = waiting.popleft()
            for number, free in enumerate(self.free):
                if number in came_from or not self._may(self.bundles[index], number, free):
                    continue
                if exclude_occupied and self._had(number):
                    continue
                came_from[number] = index
                if number in bundle_of:
                    waiting.append(bundle_of[number])
                    continue
                node_of = {bundle: node for node, bundle in bundle_of.items()}
                target: int | None = number
                while target is not None:
                    moved = came_from[target]
                    bundle_of[target] = moved
                    target = node_of.get(moved)
                return

    def _on_many_nodes(self) -> list[int] | None:
        """Each on a node of its own as far as possible; the others where the fewest are."""
        places = self._match(exclude_occupied=True) if self.occupied else {}
        if len(places) < len(self.bundles):
            places = self._match(exclude_occupied=False)
        free = list(self.free)
        count = [self._had(number) for number in range(len(self.nodes))]
        for index, number in places.items():
            free[number] -= self.bundles[index].resources
            count[number] += 1
        for index in self._largest_first():
            if index in places:
                continue
            fitting = [number for number in range(len(free)) if self._may(self.bundles[index], number, free[number])]
            if not fitting:
                return None
            best = min(fitting, key=lambda number: (count[number], -self._size(free[number]), number))
            places[index] = best
            free[best] -= self.bundles[index].resources
            count[best] += 1
        return [places[index] for index in range(len(self.bundles))]

    def _anyhow(self, *, packed: bool) -> list[int] | None:
        """Try all ways, up to a limit: the simple rules above do not find each that there is."""
        order, free = self._largest_first(), list(self.free)
        if len(order) > MAX_SEARCHED:
            self.gave_up = True
            return None
        count = [self._had(number) for number in range(len(self.nodes))]
        places: dict[int, int] = {}
        tries = 0

        def place_from(position: int) -> bool:
            nonlocal tries
            if position == len(order):
                return True
            bundle = self.bundles[order[position]]
            tried: set[tuple[ResourceSet, int]] = set()
            for number in sorted(range(len(free)), key=lambda n: (-count[n] if packed else count[n], n)):
                before = free[number]
                if not self._may(bundle, number, before) or (before, count[number]) in tried:
                    continue
                tries += 1
                if tries > MAX_TRIES:
                    self.gave_up = True
                    return False
                if not self._any_rules:  # equal nodes are equally good
                    tried.add((before, count[number]))
                free[number] = before - bundle.resources
                count[number] += 1
                places[order[position]] = number
                if place_from(position + 1):
                    return True
                free[number] = before
                count[number] -= 1
            return False

        return [places[index] for index in range(len(order))] if place_from(0) else None
