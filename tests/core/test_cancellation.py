"""`trayray.core.cancellation`, one promise at a time; arbitrary histories are in tests/property."""

import pytest

from trayray.core.cancellation import ANSWER_SECONDS, REPEAT_SECONDS, Ask, Cancellation, Kill, Settle, Step

GRACE = 1.0


def ladder(*, actor_call: bool = False, force: bool = False) -> Cancellation:
    return Cancellation(0.0, GRACE, actor_call=actor_call, force=force)


def climb(machine: Cancellation, until: float) -> list[tuple[float, object]]:
    """Every action up to ``until`` of a call that runs and never ends, with the time of each."""
    taken: list[tuple[float, object]] = []
    while (due := machine.next_deadline()) is not None and due <= until:
        taken += [(due, action) for action in machine.tick(due, runs=True)]
    return taken


def test_a_task_is_interrupted_and_killed_a_grace_later() -> None:
    actions = climb(ladder(), GRACE)
    assert actions[0] == (0.0, Ask(Step.INTERRUPT))
    assert actions[-1] == (GRACE, Kill())
    assert {action for _, action in actions[:-1]} == {Ask(Step.INTERRUPT)}


def test_an_actors_call_is_told_first_interrupted_then_killed() -> None:
    actions = climb(ladder(actor_call=True), 2 * GRACE)
    first = {action: when for when, action in reversed(actions)}
    assert first == {Ask(Step.CHECKPOINT): 0.0, Ask(Step.INTERRUPT): GRACE, Kill(): 2 * GRACE}


def test_a_step_is_asked_for_again_and_again() -> None:
    asked = [when for when, action in climb(ladder(), 3.5 * REPEAT_SECONDS) if isinstance(action, Ask)]
    assert asked == pytest.approx([0, REPEAT_SECONDS, 2 * REPEAT_SECONDS, 3 * REPEAT_SECONDS])


def test_a_late_tick_skips_no_step() -> None:
    machine = ladder(actor_call=True)
    assert machine.tick(0.0, runs=True) == [Ask(Step.CHECKPOINT)]
    assert machine.tick(100 * GRACE, runs=True) == [Ask(Step.INTERRUPT)]
    assert machine.tick(100 * GRACE + GRACE / 2, runs=True) == [Ask(Step.INTERRUPT)]
    assert machine.tick(101 * GRACE, runs=True) == [Kill()]


def test_force_kills_when_the_worker_has_said_that_it_runs_the_task() -> None:
    machine = ladder(force=True)
    assert machine.tick(0.0, runs=True) == [Ask(Step.KILL)]
    assert machine.answered(0.001, runs=False) == []
    assert machine.answered(0.001, runs=True) == [Kill()]
    assert machine.answered(0.002, runs=True) == []


def test_force_does_not_wait_for_a_worker_that_does_not_answer() -> None:
    assert climb(ladder(force=True), ANSWER_SECONDS)[-1] == (ANSWER_SECONDS, Kill())


def test_force_overtakes_patience() -> None:
    machine = ladder(actor_call=False)
    machine.tick(0.0, runs=True)
    machine.force(0.2)
    assert machine.tick(0.2, runs=True) == [Ask(Step.KILL)]
    assert machine.answered(0.2, runs=True) == [Kill()]


def test_an_answer_means_nothing_to_a_call_that_is_not_forced() -> None:
    machine = ladder()
    machine.tick(0.0, runs=True)
    assert machine.answered(0.1, runs=True) == []


@pytest.mark.parametrize("force", [False, True])
def test_nobody_is_killed_for_a_task_that_another_keeps_from_starting(force: bool) -> None:
    machine = ladder(force=force)
    machine.tick(0.0, runs=False)
    machine.tick(GRACE, runs=False)
    assert machine.ended
    assert machine.next_deadline() is None


def test_a_task_that_has_not_started_is_settled_as_pending() -> None:
    machine = ladder()
    machine.tick(0.0, runs=False)
    assert machine.tick(GRACE, runs=False) == [Settle(Step.PENDING)]


@pytest.mark.parametrize(("ran", "step"), [(True, Step.KILL), (False, Step.PENDING)])
def test_the_end_of_the_process_settles(ran: bool, step: Step) -> None:
    machine = ladder()
    machine.tick(0.0, runs=True)
    assert machine.lost(ran=ran) == [Settle(step)]
    assert machine.lost(ran=ran) == []


def test_a_kill_is_repeated_until_the_process_is_gone() -> None:
    kills = [when for when, action in climb(ladder(), 4 * GRACE) if action == Kill()]
    assert kills == [1.0, 2.0, 3.0, 4.0]


def test_nothing_is_done_once_the_call_has_a_result() -> None:
    machine = ladder(force=True)
    machine.tick(0.0, runs=True)
    machine.end()
    assert machine.tick(10.0, runs=True) == []
    assert machine.answered(10.0, runs=True) == []
    assert machine.lost(ran=True) == []
    assert machine.next_deadline() is None


def test_without_grace_every_step_is_still_asked_for() -> None:
    machine = Cancellation(0.0, 0.0, actor_call=True)
    actions = [action for _ in range(3) for action in machine.tick(0.0, runs=True)]
    assert actions == [Ask(Step.CHECKPOINT), Ask(Step.INTERRUPT), Kill()]
