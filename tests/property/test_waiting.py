"""What can never end: a small world of calls that wait for each other, run in every order that chance finds.

`World` is the model: actors with few slots, tasks, arguments, `get` and `wait`, failures. It says what may still
happen; `core.waiting` sees only facts about a state of it.
"""

import itertools
import random

import attrs
from hypothesis import given
from hypothesis import strategies as st

from trayray.core.waiting import Fact, Kind, State, Subject, chain, confirmed, find_deadlock, never_ending


@attrs.define
class Call:
    """A call of an actor, or (None) a task: its arguments, and for which calls its body waits, set after set."""

    actor: int | None
    arguments: frozenset[int]
    #: With each set, how many `wait` wants of them; 0 stands for a `get` of all.
    body: list[tuple[frozenset[int], int]]
    timed: bool = False
    started: bool = False
    ended: bool = False
    failed: bool = False


class World:
    def __init__(self, calls: list[Call], slots: list[int]) -> None:
        self.calls = calls
        self.slots = slots

    # --- what may happen ---

    def steps(self) -> list[tuple[str, int]]:
        """Everything that can happen next."""
        found: list[tuple[str, int]] = []
        for number, call in enumerate(self.calls):
            if call.ended:
                continue
            if not call.started:
                if self.has_arguments(call) and self.has_slot(call):
                    found.append(("start", number))
            elif self.is_blocked(call):
                if call.timed:
                    found.append(("go on", number))
            else:
                found += [("go on", number)] if call.body else [("return", number), ("raise", number)]
        return found

    def take(self, what: str, number: int) -> None:
        call = self.calls[number]
        match what:
            case "start":
                call.started = True
            case "go on":
                objects, count = call.body.pop(0)
                if not count and any(self.calls[other].failed for other in objects):
                    call.ended = call.failed = True  # get raises
            case _:
                call.ended, call.failed = True, what == "raise"

    def give_up(self, number: int) -> None:
        """The call's wait raises, and nobody catches it."""
        self.calls[number].ended = self.calls[number].failed = True

    def has_arguments(self, call: Call) -> bool:
        return all(self.calls[other].ended for other in call.arguments)

    def running(self, actor: int) -> list[int]:
        return [n for n, call in enumerate(self.calls) if call.actor == actor and call.started and not call.ended]

    def has_slot(self, call: Call) -> bool:
        return call.actor is None or len(self.running(call.actor)) < self.slots[call.actor]

    def is_blocked(self, call: Call) -> bool:
        if not call.started or call.ended or not call.body:
            return False
        objects, count = call.body[0]
        ready = [other for other in objects if self.calls[other].ended]
        if count:
            return len(ready) < count
        return len(ready) < len(objects) and not any(self.calls[other].failed for other in ready)

    # --- the facts of a state ---

    def facts(self) -> dict[Subject, Fact]:
        return {fact.subject: fact for number in range(len(self.calls)) for fact in self._facts_of(number)}

    def _facts_of(self, number: int) -> list[Fact]:
        call = self.calls[number]
        if call.ended:
            return [Fact(subject(Kind.OBJECT, number), State.READY)]
        made = Fact(subject(Kind.OBJECT, number), State.MADE, on=(subject(Kind.TASK, number),), needs=1)
        missing = tuple(subject(Kind.OBJECT, n) for n in sorted(call.arguments) if not self.calls[n].ended)
        if missing:
            return [made, Fact(subject(Kind.TASK, number), State.ARGUMENTS, on=missing, needs=len(missing))]
        sent = Fact(subject(Kind.TASK, number), State.SENT, on=(subject(Kind.CALL, number),), needs=1)
        return [made, sent, *self._executed(number)]

    def _executed(self, number: int) -> list[Fact]:
        call, this = self.calls[number], subject(Kind.CALL, number)
        if not call.started:
            before = [] if self.has_slot(call) else self.running(call.actor)
            if before and all(self.is_blocked(self.calls[other]) for other in before):
                return [Fact(this, State.BEHIND, on=tuple(subject(Kind.WAIT, n) for n in before), needs=1)]
            return [Fact(this, State.BEHIND, on=tuple(subject(Kind.CALL, n) for n in before), needs=len(before[:1]))]
        if not self.is_blocked(call):
            return [Fact(this, State.RUNNING)]
        objects, count = call.body[0]
        missing = tuple(subject(Kind.OBJECT, n) for n in sorted(objects) if not self.calls[n].ended)
        needs = count - (len(objects) - len(missing)) if count else 1
        wait = Fact(subject(Kind.WAIT, number), State.BLOCKED, "", missing, needs, call.timed, since=number)
        return [Fact(this, State.BLOCKED, on=(wait.subject,), needs=1), wait]


def subject(kind: Kind, number: int) -> Subject:
    return Subject(kind, bytes([number]), "there")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(st.integers(1, 7))
    slots = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=1, max_size=3))
    some = st.frozensets(st.integers(0, count - 1), min_size=1, max_size=3)
    calls: list[Call] = []
    for _ in range(count):
        body = [(objects, draw(st.integers(0, len(objects)))) for objects in draw(st.lists(some, max_size=2))]
        actor = draw(st.none() | st.integers(0, len(slots) - 1))
        # Arguments are made before the call: nothing else can be passed.
        before = st.frozensets(st.integers(0, len(calls) - 1), max_size=2) if calls else st.just(frozenset[int]())
        calls.append(Call(actor, draw(before), body, timed=draw(st.integers(0, 5)) == 0))
    return World(calls, slots)


def run(world: World, chance: random.Random, most: int | None = None) -> None:
    """Let things happen in some order, until nothing can or ``most`` have."""
    while (steps := world.steps()) and most != 0:
        world.take(*chance.choice(steps))
        most = None if most is None else most - 1


@given(worlds(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_what_can_never_end_does_not_whatever_happens(world: World, chance: random.Random, most: int):
    run(world, chance, most)
    stuck = never_ending(world.facts())

    run(world, chance)

    assert stuck <= never_ending(world.facts()), "an alarm was false"
    assert not any(world.calls[s.id[0]].ended for s in stuck)


@given(worlds(), st.randoms(use_true_random=False))
def test_when_nothing_can_happen_any_more_all_that_waits_is_found(world: World, chance: random.Random):
    run(world, chance)
    stuck = never_ending(world.facts())

    assert {s.id[0] for s in stuck} == {number for number, call in enumerate(world.calls) if not call.ended}


@given(worlds(), st.randoms(use_true_random=False))
def test_giving_up_the_victims_ends_everything(world: World, chance: random.Random):
    run(world, chance)
    rounds = 0
    while any(not call.ended for call in world.calls):
        facts = world.facts()
        waits = [subject for subject, fact in facts.items() if subject.kind is Kind.WAIT]
        verdicts = {wait: find_deadlock(wait, facts) for wait in waits}
        victims = {wait for wait, verdict in verdicts.items() if verdict is not None and verdict.victim == wait}
        assert victims, "something waits for itself, and nobody gives up"
        for verdict in verdicts.values():
            assert verdict is None or verdict.victim in victims, "the victim does not know that it is one"
        for wait in victims:
            world.give_up(wait.id[0])
        run(world, chance)
        rounds += 1
    assert rounds <= len(world.calls)


@given(worlds(), st.randoms(use_true_random=False), st.integers(0, 20), st.integers(0, 2))
def test_facts_that_are_gathered_while_things_happen_raise_no_false_alarm(
    world: World, chance: random.Random, most: int, between: int
):
    """The second time they are asked for after the first is complete."""

    def gather() -> dict[Subject, Fact]:
        gathered: dict[Subject, Fact] = {}
        for number in range(len(world.calls)):
            gathered |= {s: f for s, f in world.facts().items() if s.id[0] == number}
            run(world, chance, between)
        return gathered

    run(world, chance, most)
    first, second = gather(), gather()
    found = [find_deadlock(s, first) for s in first if s.kind is Kind.WAIT and s in second]
    agreed = [one for one in found if one is not None and confirmed(one, find_deadlock(one.wait, second))]

    run(world, chance)

    assert not any(world.calls[one.wait.id[0]].ended for one in agreed)


@given(worlds(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_cycles_are_cycles_and_chains_are_chains(world: World, chance: random.Random, most: int):
    run(world, chance, most)
    facts = world.facts()
    stuck = never_ending(facts)
    for start in facts:
        links = chain(start, facts)
        assert links[0].subject == start
        assert all(following.subject in fact.on for fact, following in itertools.pairwise(links))
        assert len({fact.subject for fact in links}) >= len(links) - 1
        assert links[-1].subject in stuck or start not in stuck
        verdict = find_deadlock(start, facts) if start.kind is Kind.WAIT else None
        if verdict is not None:
            circle = [fact.subject for fact in verdict.cycle]
            assert circle[0] == start
            assert set(circle) <= stuck
            assert all(after in facts[at].on for at, after in zip(circle, [*circle[1:], start], strict=True))
