"""Leases in bundles of placement groups: a bundle serves its group alone, and nothing of it is ever lost or doubled.

The model keeps, for each bundle and for the node at large, what is held there and what is lent.
"""

from dataclasses import dataclass
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trayray.core.leases import Granted, LeaseTable, NeedWorkers, Resumed
from trayray.model.resources import ResourceSet

Place = tuple[bytes, int] | None


def cpus(amount: float) -> ResourceSet:
    return ResourceSet.of({"CPU": amount})


GROUPS = [b"g", b"h"]
#: Classes by key: the group (empty for none), the bundle, what a lease holds, what must be there.
CLASSES = [
    (b"", -1, cpus(1), cpus(1)),
    (b"g", -1, cpus(1), cpus(1)),
    (b"g", 0, cpus(0.5), cpus(0.5)),
    (b"g", 1, cpus(2), cpus(2)),
    (b"h", -1, cpus(0.5), cpus(0.5)),
    (b"h", 0, ResourceSet(), cpus(1)),
]
keys = st.integers(0, len(CLASSES) - 1)


@dataclass(eq=False)
class Held:
    key: int
    worker: bytes
    place: Place
    lent: bool = False
    resuming: bool = False

    @property
    def holds(self) -> ResourceSet:
        return ResourceSet() if self.lent else CLASSES[self.key][2]


class BundlesAgainstBooks(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.total = cpus(5)
        self.table = LeaseTable(self.total)
        self.reserved: dict[tuple[bytes, int], ResourceSet] = {}
        self.refused: set[bytes] = set()
        self.wanted: dict[int, int] = {}
        self.granted = dict.fromkeys(range(len(CLASSES)), 0)
        self.leases: dict[int, Held] = {}
        self.numbers = count()

    # --- groups ---

    @rule(group=st.sampled_from(GROUPS), sizes=st.lists(st.sampled_from([0.5, 1, 2]), min_size=1, max_size=2))
    def a_group_is_reserved(self, group: bytes, sizes: list[float]) -> None:
        if group in self.refused or any(key[0] == group for key in self.reserved):
            return
        bundles = {index: cpus(size) for index, size in enumerate(sizes)}
        fits = self.free(None).covers(sum(bundles.values(), ResourceSet()))
        assert self.table.reserve(group, bundles) == fits
        if fits:
            self.reserved.update({(group, index): amount for index, amount in bundles.items()})

    @precondition(lambda self: self.reserved)
    @rule(group=st.sampled_from(GROUPS))
    def a_group_is_released(self, group: bytes) -> None:
        mine = [key for key in self.reserved if key[0] == group]
        inside = {lease for lease, held in self.leases.items() if held.place in mine}
        assert {held.lease for held in self.table.release(group, [index for _, index in mine])} == inside
        for key in mine:
            del self.reserved[key]
        for lease in inside:
            self.leases[lease].place = None

    @rule(group=st.sampled_from(GROUPS))
    def a_group_is_removed(self, group: bytes) -> None:
        self.a_group_is_released(group)
        known = {key for key in self.wanted if CLASSES[key][0] == group}
        expected = set() if group in self.refused else known
        assert {demand.key for demand in self.table.refuse(group)} == expected
        if known:
            self.refused.add(group)

    # --- clients ---

    @rule(key=keys, more=st.integers(1, 3))
    def want(self, key: int, more: int) -> None:
        group, bundle, holds, needs = CLASSES[key]
        if key not in self.wanted:
            demand = self.table.define(b"c", key, holds, b"J", "f", needs, group=group, bundle=bundle)
            demand.refused = group in self.refused
        self.wanted[key] = self.granted[key] + more
        self.table.want(b"c", key, self.wanted[key])

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), how=st.sampled_from(["returned", "dies"]))
    def a_lease_ends(self, data: st.DataObject, how: str) -> None:
        lease = data.draw(st.sampled_from(sorted(self.leases)))
        held = self.leases.pop(lease)
        ended = self.table.returned(lease) if how == "returned" else self.table.worker_gone(held.worker)
        assert ended is not None
        assert ended.held == held.holds

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def a_task_waits(self, data: st.DataObject) -> None:
        held = self.leases[data.draw(st.sampled_from(sorted(self.leases)))]
        self.table.lend(held.worker)
        held.lent = held.lent or not CLASSES[held.key][2].is_empty()

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def a_task_goes_on(self, data: st.DataObject) -> None:
        held = self.leases[data.draw(st.sampled_from(sorted(self.leases)))]
        assert self.table.resume(held.worker) == held.lent
        held.resuming = held.lent

    # --- decisions ---

    @rule()
    def schedule(self) -> None:
        # Lent CPUs that a group has taken since are not waited for; the table alone knows who goes on without.
        for action in self.table.schedule():
            match action:
                case Resumed(worker):
                    (held,) = (held for held in self.leases.values() if held.worker == worker)
                    assert held.resuming
                    held.resuming = False
                case Granted(_, key, lease, worker):
                    place = self.table.leases[lease].bundle
                    group, bundle, _, needs = CLASSES[key]
                    if group:
                        assert place is not None
                        assert place[0] == group
                        assert bundle in (-1, place[1])
                        assert self.reserved[place].covers(needs)
                    else:
                        assert place is None
                    self.granted[key] += 1
                    self.leases[lease] = Held(key, worker, place)
                case NeedWorkers(_, number):
                    for _ in range(number):
                        self.table.worker_started(b"w%d" % next(self.numbers))
                case _:
                    pass
        for lease, held in self.leases.items():
            real = self.table.leases[lease]
            held.lent = not real.lent.is_empty()

    def free(self, place: Place) -> ResourceSet:
        left = self.total if place is None else self.reserved[place]
        if place is None:
            for amount in self.reserved.values():
                left -= amount
        for held in self.leases.values():
            if held.place == place:
                left -= held.holds
        return left

    @invariant()
    def the_books_agree(self) -> None:
        self.table.check_invariants()
        assert self.table.available == self.free(None)
        for (group, index), amount in self.reserved.items():
            reservation = self.table.bundles[group, index]
            assert (reservation.reserved, reservation.free) == (amount, self.free((group, index)))
            assert reservation.leases == sum(held.place == (group, index) for held in self.leases.values())
        shown = self.table.bundles.as_resources(available=True)
        for group in {group for group, _ in self.reserved}:
            whole = sum((self.free(key) for key in self.reserved if key[0] == group), ResourceSet())
            assert shown.get(f"CPU_group_{group.hex()}", 0) == whole.get("CPU")

    def teardown(self) -> None:
        """When all leases end, everybody is served who has a bundle that is large enough; then all is free."""
        for _ in range(3 + sum(self.wanted.values())):
            self.schedule()
            self.schedule()
            for lease in list(self.leases):
                self.leases.pop(lease)
                self.table.returned(lease)
        for key, number in self.wanted.items():
            group, bundle, holds, needs = CLASSES[key]
            room = [r for (g, i), r in self.reserved.items() if g == group and bundle in (-1, i)]
            left = self.free(None)
            served = any(r.covers(needs) and r.covers(holds) for r in room) if group else left.covers(holds)
            if served and group not in self.refused:
                assert self.granted[key] >= number, "a demand was overlooked"
        for group in GROUPS:
            self.a_group_is_removed(group)
        self.the_books_agree()
        assert self.table.available == self.total


TestBundlesAgainstBooks = BundlesAgainstBooks.TestCase
TestBundlesAgainstBooks.settings = settings(max_examples=max(200, settings().max_examples))
