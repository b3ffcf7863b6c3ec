"""Verdicts about waits on small cases; `tests/property/test_waiting.py` has the large ones."""

from trayray.core.wait_story import deadlock_text, story
from trayray.core.waiting import Fact, Kind, State, Subject, chain, confirmed, find_deadlock, never_ending


def wait(number, *on, needs=1, name="", **more):
    """A wait of process p for objects."""
    return Fact(Subject(Kind.WAIT, bytes([number]), "p"), State.BLOCKED, name, on, needs, detail="get", **more)


def made(ref, by, name="f"):
    return Fact(ref, State.MADE, name, (by,), 1)


def blocked(call, wait, name="f"):
    return Fact(call, State.BLOCKED, name, (wait,), 1)


def ref(number):
    return Subject(Kind.OBJECT, bytes([number]), "o")


def task(number):
    return Subject(Kind.TASK, bytes([number]), "o")


def call(number):
    return Subject(Kind.CALL, bytes([number]), "p")


def known(*facts):
    return {fact.subject: fact for fact in facts}


def circle(**more):
    """Two calls that wait for each other's results; wait 2 began later."""
    first = wait(1, ref(2), name="f", since=1.0, **more)
    second = wait(2, ref(1), name="g", since=2.0)
    facts = [first, second]
    for number, waits, name in ((1, first, "f"), (2, second, "g")):
        facts.append(made(ref(number), call(number), name))
        facts.append(blocked(call(number), waits.subject, name))
    return known(*facts), first.subject, second.subject


def test_nobody_is_accused_for_want_of_knowledge():
    alone = wait(1, ref(1))

    assert never_ending(known(alone)) == set()
    assert find_deadlock(alone.subject, known(alone)) is None
    assert find_deadlock(alone.subject, {}) is None


def test_circle():
    facts, first, second = circle()

    verdict = find_deadlock(first, facts)

    assert verdict is not None
    assert verdict.victim == second
    assert [fact.subject for fact in verdict.cycle] == [first, ref(2), call(2), second, ref(1), call(1)]
    assert find_deadlock(second, facts).victim == second


def test_a_timeout_anywhere_breaks_the_circle():
    facts, first, second = circle(timed=True)

    assert never_ending(facts) == set()
    assert find_deadlock(first, facts) is None
    assert find_deadlock(second, facts) is None


def test_who_waits_for_a_circle_is_no_part_of_it():
    facts, first, _ = circle()
    outside = wait(9, ref(1), since=9.0)

    assert find_deadlock(outside.subject, facts | known(outside)) is None
    assert outside.subject in never_ending(facts | known(outside))
    assert find_deadlock(first, facts | known(outside)).victim.id == b"\2"


def test_enough_of_several():
    facts, first, _ = circle()
    running = Fact(call(7), State.RUNNING)
    both = facts[first]._replace(on=(ref(2), ref(7)))
    alive = known(made(ref(7), call(7)), running)

    assert find_deadlock(first, facts | alive | known(both)) is None  # an error of ref 7 ends the get
    needs_both = both._replace(needs=2)
    assert find_deadlock(first, facts | alive | known(needs_both)) is not None


def test_confirmed_only_if_all_that_it_rests_on_is_unchanged():
    facts, first, second = circle()
    verdict = find_deadlock(first, facts)
    again = find_deadlock(first, circle()[0])
    # The same calls in the same places, but another get of the second.
    other = facts[second]._replace(subject=Subject(Kind.WAIT, b"\3", "p"))
    del facts[second]
    changed = facts | known(other, blocked(call(2), other.subject))

    assert confirmed(verdict, again)
    assert find_deadlock(first, changed) is not None
    assert not confirmed(verdict, find_deadlock(first, changed))
    assert not confirmed(verdict, None)
    assert not confirmed(None, None)


def test_a_chain_leads_to_what_holds_everything_up():
    ready, running = Fact(ref(8), State.READY), Fact(call(2), State.RUNNING, "g")
    start = Fact(task(1), State.ARGUMENTS, "f", (ref(8), ref(7), ref(2)), 3)
    facts = known(start, ready, made(ref(2), call(2), "g"), running)

    assert [fact.subject for fact in chain(task(1), facts)] == [task(1), ref(2), call(2)]
    assert chain(ref(99), facts) == []


def test_sentences_of_a_chain():
    placed = {"pid": 7, "node": "10.0.0.1"}
    facts = known(
        made(ref(1), task(1), "f"),
        Fact(task(1), State.ARGUMENTS, "f", (ref(2), ref(3)), 2),
        made(ref(2), task(2), "g"),
        Fact(task(2), State.SENT, "g", (call(2),), 1),
        blocked(call(2), Subject(Kind.WAIT, b"\5", "p"), "g")._replace(**placed),
        wait(5, ref(4), name="g", seconds=2.04, timed=True, **placed),
        Fact(ref(4), State.LOST),
        Fact(ref(3), State.READY),
    )

    assert story(ref(1), facts) == [
        "ObjectRef(01) is made by f().",
        "f() waits for its arguments ObjectRef(02), the result of g(), ObjectRef(03).",
        "g() runs in worker pid 7 on 10.0.0.1 and has waited in get, with a timeout, for 2.0 s for ObjectRef(04).",
        "ObjectRef(04) is lost: the process that owned it has died.",
    ]


def test_sentences_where_knowledge_ends():
    facts = known(made(ref(1), task(1), "f"), Fact(task(1), State.SENT, "f", (call(1),), 1))

    assert story(ref(1), facts)[-1] == "What is known of the call 01 ends here: its process does not answer."


def test_sentences_of_a_circle():
    facts, first, _ = circle()
    verdict = find_deadlock(first, facts)
    assert verdict is not None

    text = deadlock_text(verdict, facts)

    assert text.splitlines()[:3] == [
        "f() waits for the result of g(), which waits for f() itself, so none of it could ever end:",
        "  f() runs and has waited in get for 0.0 s for ObjectRef(02), the result of g().",
        "  g() runs and has waited in get for 0.0 s for ObjectRef(01), the result of f().",
    ]
    assert text.splitlines()[3].startswith("This get is given up")
    assert story(ref(1), facts)[-1] == "So f() waits for itself, and none of these can ever end."
