"""What a node has set aside for placement groups: per bundle, how much is reserved and how much of that is free.

Not here: who gets it (``leases``), which node takes which bundle (``placement``).
"""

import re
from collections.abc import Iterable, Mapping

import attrs

from trayray.model.resources import ResourceSet

#: A bundle: its group's id and its index there.
BundleKey = tuple[bytes, int]
#: Ray shows this much of "bundle" for each reserved bundle, and every lease in it takes a thousandth of one.
_BUNDLE_UNITS, _LEASE_UNITS = 1000, 0.001
#: Names of what is reserved, among a node's resources: see `Bundles.as_resources`.
_OF_A_GROUP = re.compile(r".+_group_(\d+_)?[0-9a-f]{36}")


@attrs.define
class Reservation:
    """One bundle that the node has reserved."""

    reserved: ResourceSet
    free: ResourceSet
    #: Leases in it at present.
    leases: int = 0


class Bundles:
    """The bundles of one node."""

    def __init__(self) -> None:
        self._groups: dict[bytes, dict[int, Reservation]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def reserve(self, group: bytes, bundles: Mapping[int, ResourceSet]) -> None:
        """Add bundles, all free. A bundle that is reserved already stays as it is."""
        mine = self._groups.setdefault(group, {})
        for index, resources in bundles.items():
            mine.setdefault(index, Reservation(resources, resources))

    def missing(self, group: bytes, bundles: Mapping[int, ResourceSet]) -> dict[int, ResourceSet]:
        """Those of ``bundles`` that are not reserved yet."""
        mine = self._groups.get(group, {})
        return {index: resources for index, resources in bundles.items() if index not in mine}

    def release(self, group: bytes, indices: Iterable[int]) -> ResourceSet:
        """Forget bundles of the group; what was free in them. Unknown ones are ignored."""
        mine = self._groups.get(group, {})
        free = ResourceSet()
        for index in indices:
            reservation = mine.pop(index, None)
            if reservation is not None:
                free += reservation.free
        if not mine:
            self._groups.pop(group, None)
        return free

    def of(self, group: bytes, index: int = -1) -> dict[BundleKey, Reservation]:
        """The group's bundles on this node in the order of their indices; with ``index``, only that one."""
        mine = self._groups.get(group, {})
        if index >= 0:
            return {(group, index): mine[index]} if index in mine else {}
        return {(group, number): mine[number] for number in sorted(mine)}

    def __getitem__(self, key: BundleKey) -> Reservation:
        return self._groups[key[0]][key[1]]

    def total(self) -> ResourceSet:
        """All that is set aside."""
        total = ResourceSet()
        for bundles in self._groups.values():
            for reservation in bundles.values():
                total += reservation.reserved
        return total

    def as_resources(self, *, available: bool) -> dict[str, float]:
        """The reservations as Ray shows them among a node's resources: ``CPU_group_0_<id>``, ``CPU_group_<id>``..."""
        shown: dict[str, float] = {}
        for group, bundles in self._groups.items():
            for index, reservation in bundles.items():
                amounts = (reservation.free if available else reservation.reserved).to_dict()
                amounts["bundle"] = _BUNDLE_UNITS - (reservation.leases * _LEASE_UNITS if available else 0)
                for name, amount in amounts.items():
                    whole, one = f"{name}_group_{group.hex()}", f"{name}_group_{index}_{group.hex()}"
                    shown[whole] = shown.get(whole, 0.0) + amount
                    shown[one] = amount
        return shown


def without_groups(resources: Mapping[str, float]) -> dict[str, float]:
    """A node's own resources, out of those with what `Bundles.as_resources` has added."""
    return {name: amount for name, amount in resources.items() if not _OF_A_GROUP.fullmatch(name)}
