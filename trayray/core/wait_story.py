"""Sentences about what waits for what: the text of `trayray why`, and of a `DeadlockError`.

Not here: the facts, and what follows from them (``waiting``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from trayray.core.waiting import Deadlock, Fact, Facts, Kind, State, Subject, chain, never_ending

_ADVICE: Final = (
    "Return the reference instead of waiting for it, call the method directly, or let the actor run more calls at once "
    "(max_concurrency, async methods)."
)


def story(start: Subject, facts: Facts) -> list[str]:
    """What ``start`` waits for, one sentence a step, down to what waits for nothing."""
    links = chain(start, facts)
    last = links[-1] if links else None
    circle = last is not None and any(fact.subject == last.subject for fact in links[:-1])
    lines = list(_sentences(links[:-1] if circle else links, facts))
    if circle and last is not None:
        ends = "and none of these can ever end" if start in never_ending(facts) else "until one of these gives up"
        lines.append(f"So {_who(last, facts)} waits for itself, {ends}.")
    elif last is not None and last.on and last.on[0] not in facts:
        lines.append(f"What is known of {_what(last.on[0], facts)} ends here: its process does not answer.")
    return lines


def deadlock_text(deadlock: Deadlock, facts: Facts) -> str:
    """The text of the error that ends a circle."""
    wait, circle = facts[deadlock.wait], deadlock.cycle
    if circle[-1].state is State.BLOCKED:  # the call that waits so: its sentence tells the wait too
        circle = (circle[-1], *circle[:-1])
    lines = [f"  {line}" for line in _sentences(circle, facts)]
    what = " and ".join(_object(subject, facts, short=True) for subject in wait.on[:2])
    return "\n".join(
        [
            f"{wait.name}() waits for {what}, which waits for {wait.name}() itself, so none of it could ever end:",
            *lines,
            f"This {wait.detail or 'get'} is given up, so that the others can go on. {_ADVICE}",
        ]
    )


def _sentences(links: Sequence[Fact], facts: Facts) -> Iterator[str]:
    before: Fact | None = None
    for position, fact in enumerate(links):
        # A wait is told with the call that waits so.
        told = fact.subject.kind is Kind.WAIT and before is not None and before.state is State.BLOCKED
        ends = position == len(links) - 1
        following = None if ends else links[position + 1]
        line = "" if told else _sentence(fact, facts, following, first=position == 0, last=ends)
        if line:
            yield line
        before = fact


def _sentence(fact: Fact, facts: Facts, following: Fact | None, *, first: bool, last: bool) -> str:
    match fact.subject.kind:
        case Kind.OBJECT:
            return _of_object(fact, first=first, last=last)
        case Kind.TASK:
            return _of_task(fact, facts)
        case Kind.CALL:
            return _of_call(fact, facts)
        case Kind.ACTOR:
            return _of_actor(fact)
        case Kind.WAIT:
            return f"{fact.name}(){_where(fact)} {_waits(fact, facts, following)}."


def _of_object(fact: Fact, *, first: bool, last: bool) -> str:
    ref = _ref(fact.subject)
    match fact.state:
        case State.MADE:
            return f"{ref} is made by {fact.name}()." if first else ""
        case State.BORROWED:
            return ""
        case State.READY:
            return f"{ref} has its value." if last else ""
        case State.FAILED:
            return f"{ref} has failed: {fact.detail}"
        case State.LOST:
            return f"{ref} is lost: the process that owned it has died."
        case _:
            return f"{ref} is unknown: {fact.detail or 'its owner knows nothing of it'}."


def _of_task(fact: Fact, facts: Facts) -> str:
    call = f"{fact.name}()"
    match fact.state:
        case State.ARGUMENTS:
            return f"{call} waits for {_objects(fact, facts, 'its argument', 'its arguments')}."
        case State.HELD_BACK:
            waits = _objects(fact, facts, "the argument", "the arguments")
            return f"{call} keeps its place behind an earlier call of the same caller, which waits for {waits}."
        case State.QUEUED:
            return f"{call} is queued. {fact.detail}".rstrip()
        case State.RETRYING:
            return f"{call} has failed and is about to be tried again."
        case State.ACTOR_ABSENT:
            return f"{call} waits until its actor runs."
        case State.SENT:
            return ""
        case _:
            return f"{call} is not known to its owner any more: it has just ended."


def _of_call(fact: Fact, facts: Facts) -> str:
    call = f"{fact.name}()"
    match fact.state:
        case State.BLOCKED:
            wait = facts.get(fact.on[0])
            if wait is None:
                return f"{call} runs{_where(fact)} and waits."
            return f"{call} runs{_where(fact)} and {_waits(wait, facts, None)}."
        case State.RUNNING:
            return f"{call} runs{_where(fact)}.{_more(fact)}"
        case State.BEHIND:
            return f"{call} has not begun: {fact.detail}"
        case State.STARTING:
            return f"{call} is about to begin{_where(fact)}."
        case State.ENDED:
            return f"{call or 'The call'} has ended{_where(fact)}; its result is on the way."
        case State.IDLE:
            return f"It executes nothing{_where(fact)}."
        case _:
            return f"The worker at {fact.subject.at} does not answer."


def _of_actor(fact: Fact) -> str:
    actor = f"The actor {fact.actor_class} ({fact.actor.hex()})"
    match fact.state:
        case State.QUEUED:
            return f"{actor} waits for a worker. {fact.detail}".rstrip()
        case State.ARGUMENTS:
            return f"{actor} waits for its constructor's arguments."
        case State.CONSTRUCTING:
            return f"{actor} is being constructed."
        case State.ALIVE:
            return f"{actor} runs{_process(fact)}."
        case State.DEAD:
            return fact.detail
        case _:
            return f"The actor {fact.subject.id.hex()} is not known to the cluster."


def _waits(wait: Fact, facts: Facts, following: Fact | None) -> str:
    """That a thread waits, as the rest of a sentence."""
    ends = ", with a timeout," if wait.timed else ""
    begun = f"has waited in {wait.detail}{ends} for {wait.seconds:.1f} s"
    if len(wait.on) == 1:
        return f"{begun} for {_object(wait.on[0], facts)}"
    first = following.subject if following is not None else min(wait.on, key=lambda s: s not in facts)
    number = "all" if wait.detail == "get" else f"{wait.needs}"
    return f"{begun} for {number} of {len(wait.on)} objects, as {_object(first, facts)}"


def _objects(fact: Fact, facts: Facts, one: str, several: str) -> str:
    named = [_object(subject, facts) for subject in fact.on[:3]]
    more = len(fact.on) - len(named)
    text = ", ".join(named) + (f" and {more} more" if more else "")
    return f"{one if len(fact.on) == 1 else several} {text}"


def _object(subject: Subject, facts: Facts, *, short: bool = False) -> str:
    known = facts.get(subject)
    if known is None or known.state is not State.MADE:
        return _ref(subject)
    made = f"the result of {known.name}()"
    return made if short else f"{_ref(subject)}, {made}"


def _what(subject: Subject, facts: Facts) -> str:
    return _ref(subject) if subject.kind is Kind.OBJECT else f"the {subject.kind} {subject.id.hex()}"


def _who(fact: Fact, facts: Facts) -> str:
    return f"{fact.name}()" if fact.name else _what(fact.subject, facts)


def _ref(subject: Subject) -> str:
    return f"ObjectRef({subject.id.hex()})"


def _where(fact: Fact) -> str:
    return f" in actor {fact.actor_class} ({fact.actor.hex()},{_process(fact)})" if fact.actor else _process(fact)


def _process(fact: Fact) -> str:
    return f" in worker pid {fact.pid} on {fact.node}" if fact.pid else ""


def _more(fact: Fact) -> str:
    return f" {fact.detail}" if fact.detail else ""
