"""Bundles on nodes: every plan is sound, and small ones are found whenever trying everything finds one."""

from collections import Counter
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from trayray.core.node_choice import Node
from trayray.core.placement import STRATEGIES, MustWait, NeverFits, Placed, Wanted, plan
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import LabelRule

amounts = st.fixed_dictionaries({"CPU": st.integers(0, 4)}, optional={"GPU": st.integers(0, 2)})
zones = st.sampled_from(["x", "y"])
rules = st.one_of(st.just(()), zones.map(lambda zone: (LabelRule("zone", "in", (zone,)),)))


@st.composite
def nodes(draw: st.DrawFn) -> list[Node]:
    found: list[Node] = []
    for number in range(draw(st.integers(0, 3))):
        total = ResourceSet.of(draw(amounts))
        taken = {name: draw(st.integers(0, total.units(name))) for name in total}
        free = total - ResourceSet.from_units(taken)
        found.append(Node(b"n%d" % number, total, free, {"zone": draw(zones)}))
    return found


bundles = st.lists(
    st.builds(
        Wanted,
        amounts.filter(lambda wanted: any(wanted.values())).map(ResourceSet.of),
        rules,
    ),
    min_size=1,
    max_size=4,
)


def is_sound(
    wanted: list[Wanted], strategy: str, room: dict[bytes, Node], places: tuple[bytes, ...], full: bool
) -> bool:
    """Whether the bundles fit there, and the strategy allows it; ``full``: with all that the nodes have in total."""
    taken: dict[bytes, ResourceSet] = {}
    for bundle, place in zip(wanted, places, strict=True):
        node = room[place]
        taken[place] = taken.get(place, ResourceSet()) + bundle.resources
        if not all(rule.accepts(node.labels) for rule in bundle.rules):
            return False
        if not (node.total if full else node.available).covers(taken[place]):
            return False
    number = len(set(places))
    return {"STRICT_PACK": number == 1, "STRICT_SPREAD": number == len(places)}.get(strategy, True)


def ways(wanted: list[Wanted], strategy: str, room: dict[bytes, Node], *, full: bool) -> list[tuple[bytes, ...]]:
    return [places for places in product(room, repeat=len(wanted)) if is_sound(wanted, strategy, room, places, full)]


@settings(max_examples=max(400, settings().max_examples))
@given(wanted=bundles, cluster=nodes(), strategy=st.sampled_from(STRATEGIES))
def test_a_plan_is_found_exactly_when_there_is_one(wanted: list[Wanted], cluster: list[Node], strategy: str) -> None:
    room = {node.node_id: node for node in cluster}
    now = ways(wanted, strategy, room, full=False)
    match plan(wanted, strategy, cluster):
        case Placed(places):
            assert places in now
            fewest = min(len(set(way)) for way in now)
            assert strategy != "PACK" or fewest > 1 or len(set(places)) == 1, "one node would do"
        case MustWait():
            assert not now
            assert ways(wanted, strategy, room, full=True)
        case NeverFits():
            assert not ways(wanted, strategy, room, full=True)


@given(
    count=st.integers(1, 6),
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    strategy=st.sampled_from(["SPREAD", "PACK"]),
)
def test_equal_bundles_are_spread_and_packed_as_far_as_possible(count: int, sizes: list[int], strategy: str) -> None:
    cluster = [
        Node(b"n%d" % number, ResourceSet.of({"CPU": size}), ResourceSet.of({"CPU": size}))
        for number, size in enumerate(sizes)
    ]
    wanted = [Wanted(ResourceSet.of({"CPU": 1}))] * count
    planned = plan(wanted, strategy, cluster)
    if sum(sizes) < count:
        assert planned == NeverFits()
        return
    assert isinstance(planned, Placed)
    used = Counter(planned.nodes)
    most = min(count, sum(size > 0 for size in sizes))
    fewest = next(n for n in range(1, len(sizes) + 1) if sum(sorted(sizes)[-n:]) >= count)
    assert len(used) == (most if strategy == "SPREAD" else fewest)
