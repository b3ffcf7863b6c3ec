"""Any history of placement groups agrees with books of what each node has set aside.

Nodes answer late, refuse, die and join; groups come and go. The books apply what the table says; nothing may be
reserved twice or be left behind, and what can be placed when all is quiet is placed.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trayray.core.node_choice import Node
from trayray.core.placement import STRATEGIES, Placed, Wanted, plan
from trayray.core.placement_groups import Announce, Bundle, Group, GroupAction, GroupState, GroupTable, Release, Reserve
from trayray.model.resources import ResourceSet

LIVING = (GroupState.PENDING, GroupState.PREPARED, GroupState.CREATED, GroupState.RESCHEDULING)


def cpus(amount: float) -> ResourceSet:
    return ResourceSet.of({"CPU": amount})


class GroupsAgainstBooks(RuleBasedStateMachine):
    """The model: what each node has in all, and which bundles it has set aside."""

    def __init__(self) -> None:
        super().__init__()
        self.table = GroupTable()
        self.totals = {b"n0": cpus(3)}
        self.reserved: dict[bytes, dict[tuple[bytes, int], ResourceSet]] = {b"n0": {}}
        self.unanswered: list[Reserve] = []
        self.said: dict[bytes, GroupState] = {}
        self.number = 0
        self.now = 0.0

    def free(self, name: bytes) -> ResourceSet:
        left = self.totals[name]
        for amount in self.reserved[name].values():
            left -= amount
        return left

    def nodes(self) -> list[Node]:
        return [Node(name, total, self.free(name)) for name, total in self.totals.items()]

    def apply(self, actions: list[GroupAction]) -> None:
        for action in actions:
            match action:
                case Reserve():
                    assert action.node in self.totals, "a dead node is asked"
                    self.unanswered.append(action)
                case Release(group_id, node, bundles):
                    self.unanswered = [
                        each for each in self.unanswered if (each.group_id, each.node) != (group_id, node)
                    ]
                    for index in bundles:
                        self.reserved.get(node, {}).pop((group_id, index), None)
                case Announce(group_id):
                    state = self.table.groups[group_id].state
                    assert self.said.get(group_id) is not state, "said twice"
                    self.said[group_id] = state

    # --- what happens ---

    @rule(
        amounts=st.lists(st.sampled_from([0.5, 1, 2]), min_size=1, max_size=3),
        strategy=st.sampled_from(STRATEGIES),
        job=st.sampled_from([b"A", b"B"]),
    )
    def a_group_is_requested(self, amounts: list[float], strategy: str, job: bytes) -> None:
        self.number += 1
        bundles = [Bundle(Wanted(cpus(amount))) for amount in amounts]
        self.table.register(Group(b"g%d" % self.number, "", "", strategy, bundles, job), self.now)

    @rule()
    def groups_are_placed(self) -> None:
        self.apply(self.table.place(self.nodes(), self.now))

    @precondition(lambda self: self.unanswered)
    @rule(data=st.data(), willing=st.booleans())
    def a_node_answers(self, data: st.DataObject, willing: bool) -> None:
        self.answer(self.unanswered.pop(data.draw(st.integers(0, len(self.unanswered) - 1))), willing=willing)

    def answer(self, request: Reserve, *, willing: bool = True) -> None:
        whole = ResourceSet()
        for amount in request.bundles.values():
            whole += amount
        able = willing and self.free(request.node).covers(whole)
        if able:
            for index, amount in request.bundles.items():
                assert (request.group_id, index) not in self.reserved[request.node], "reserved twice"
                self.reserved[request.node][request.group_id, index] = amount
        self.apply(self.table.answered(request.group_id, request.node, able, self.now))

    @rule(size=st.sampled_from([1, 2, 4]))
    def a_node_joins(self, size: int) -> None:
        self.number += 1
        name = b"n%d" % self.number
        self.totals[name], self.reserved[name] = cpus(size), {}
        self.table.node_joined()

    @precondition(lambda self: self.totals)
    @rule(data=st.data())
    def a_node_dies(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.totals)))
        del self.totals[name], self.reserved[name]
        self.unanswered = [request for request in self.unanswered if request.node != name]
        self.apply(self.table.node_gone(name))

    @precondition(lambda self: self.table.groups)
    @rule(data=st.data())
    def a_group_is_removed(self, data: st.DataObject) -> None:
        self.apply(self.table.remove(data.draw(st.sampled_from(sorted(self.table.groups)))))

    @rule(job=st.sampled_from([b"A", b"B"]))
    def a_job_ends(self, job: bytes) -> None:
        self.apply(self.table.job_ended(job))
        assert all(g.state is GroupState.REMOVED for g in self.table.groups.values() if g.job == job)

    # --- what always holds ---

    @invariant()
    def the_books_agree(self) -> None:
        self.table.check_invariants()
        waited_for = {(request.group_id, index) for request in self.unanswered for index in request.bundles}
        for name in self.totals:
            self.free(name)  # raises when more is set aside than there is
        for group in self.table.groups.values():
            held = {
                index: name
                for name, bundles in self.reserved.items()
                for (group_id, index) in bundles
                if group_id == group.group_id
            }
            if group.state is GroupState.REMOVED:
                assert not held, "something of a removed group is left"
            if group.state is GroupState.CREATED:
                assert held == {index: bundle.node for index, bundle in enumerate(group.bundles)}
            for index, name in held.items():
                assert group.bundles[index].node == name, "a node has what it should have given back"
            for index, bundle in enumerate(group.bundles):
                if bundle.node and group.state in LIVING:
                    assert index in held or (group.group_id, index) in waited_for, "nobody was asked"

    def teardown(self) -> None:
        """When all answer, what fits is created; what is removed leaves nothing."""
        for _ in range(len(self.table.groups) + 2):
            self.groups_are_placed()
            while self.unanswered:
                self.answer(self.unanswered.pop())
            self.the_books_agree()
        for group in self.table.groups.values():
            if group.state is GroupState.PENDING:
                wanted = [bundle.wanted for bundle in group.bundles]
                assert not isinstance(plan(wanted, group.strategy, self.nodes()), Placed), "it was overlooked"
        for job in (b"A", b"B"):
            self.a_job_ends(job)
        assert not any(self.reserved.values())


TestGroupsAgainstBooks = GroupsAgainstBooks.TestCase
TestGroupsAgainstBooks.settings = settings(max_examples=max(200, settings().max_examples))
