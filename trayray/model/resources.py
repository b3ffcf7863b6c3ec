"""Exact arithmetic with amounts of resources, in whole units of 1/10000.

Covers amounts and their comparison. Which resources an option asks for is in ``options``; what a node has, and the
choice between nodes, are decisions of ``trayray.core``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, Self

__all__ = ("UNITS_PER_ONE", "ResourceSet", "check_amount", "to_units")

#: One CPU, GPU or byte is this many units.
UNITS_PER_ONE: Final = 10_000


def check_amount(name: str, amount: object) -> float | int:
    """Return ``amount`` if one can ask for it.

    Raises TypeError if it is no number, ValueError if it is negative, not finite, or neither zero nor at least 0.0001.
    """
    if not isinstance(amount, (int, float)):
        raise TypeError(f"The quantity of resource {name} must be a number, but received type {type(amount)}")
    if not math.isfinite(amount):
        raise ValueError(f"The quantity of resource {name} must be a finite number, but received {amount}")
    if amount < 0:
        raise ValueError(f"The quantity of resource {name} cannot be negative")
    if 0 < amount < 1 / UNITS_PER_ONE:
        raise ValueError(
            f"The precision of the fractional quantity of resource {name} cannot go beyond {1 / UNITS_PER_ONE}"
        )
    return amount


def to_units(name: str, amount: object) -> int:
    """The nearest whole number of units; raises as ``check_amount`` does."""
    checked = check_amount(name, amount)
    return checked * UNITS_PER_ONE if isinstance(checked, int) else round(checked * UNITS_PER_ONE)


class ResourceSet:
    """An immutable mapping of resource names to amounts above zero; equal sets hash alike.

    Sums and differences are exact. A name that is not in the set has the amount 0.
    """

    __slots__ = ("_hash", "_units")
    _units: dict[str, int]
    _hash: int | None

    def __init__(self) -> None:
        self._units = {}
        self._hash = None

    @classmethod
    def of(cls, amounts: Mapping[str, float | int]) -> Self:
        """The set with these amounts, each rounded to the nearest unit. Raises as ``check_amount`` does."""
        return cls._wrap({name: units for name, amount in amounts.items() if (units := to_units(name, amount))})

    @classmethod
    def from_units(cls, units: Mapping[str, int]) -> Self:
        """The set with these whole numbers of units. Raises ValueError if one is negative."""
        for name, value in units.items():
            if value < 0:
                raise ValueError(f"The quantity of resource {name} cannot be negative, got {value} units")
        return cls._wrap({name: value for name, value in units.items() if value})

    @classmethod
    def _wrap(cls, units: dict[str, int]) -> Self:
        new = cls()
        new._units = units
        return new

    def units(self, name: str) -> int:
        """The amount of one resource in units."""
        return self._units.get(name, 0)

    def get(self, name: str) -> float:
        """The amount of one resource."""
        return self._units.get(name, 0) / UNITS_PER_ONE

    def to_units(self) -> dict[str, int]:
        """A new dict of the amounts in units, for messages."""
        return dict(self._units)

    def to_dict(self) -> dict[str, float]:
        """A new dict of the amounts as Ray shows them: floats, without zero entries."""
        return {name: units / UNITS_PER_ONE for name, units in self._units.items()}

    def is_empty(self) -> bool:
        """Whether all amounts are zero."""
        return not self._units

    def covers(self, other: ResourceSet) -> bool:
        """Whether ``self - other`` is possible: there is at least as much of every resource here."""
        mine = self._units
        return all(mine.get(name, 0) >= units for name, units in other._units.items())

    def __add__(self, other: ResourceSet) -> ResourceSet:
        units = dict(self._units)
        for name, more in other._units.items():
            units[name] = units.get(name, 0) + more
        return self._wrap(units)

    def __sub__(self, other: ResourceSet) -> ResourceSet:
        """What is left. Raises ValueError, naming the resource, if ``self`` does not cover ``other``."""
        units = dict(self._units)
        for name, less in other._units.items():
            left = units.get(name, 0) - less
            if left < 0:
                have, want = self.get(name), less / UNITS_PER_ONE
                raise ValueError(f"Cannot take {want} of resource {name} out of {have}")
            if left:
                units[name] = left
            else:
                del units[name]
        return self._wrap(units)

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __contains__(self, name: object) -> bool:
        return name in self._units

    def __len__(self) -> int:
        return len(self._units)

    def __eq__(self, other: object) -> bool:
        return self._units == other._units if isinstance(other, ResourceSet) else NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._units.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"ResourceSet({self.to_dict()})"

    def __reduce__(self) -> tuple[object, tuple[dict[str, int]]]:
        return ResourceSet.from_units, (self._units,)
