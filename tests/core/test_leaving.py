"""`trayray.core.leaving`, one promise at a time; arbitrary histories are in tests/property."""

from trayray.core.leaving import IDLE_TURN, TASK_TURN, Action, Ask, Departure, Kill, Limits, Order

A, B, C, T = b"a", b"b", b"c", b"t"
LIMITS = Limits(answer=0.5, each=5.0, total=10.0)


def begun(*turns: tuple[bytes, int], limits: Limits = LIMITS) -> Departure:
    departure = Departure(turns, limits)
    assert departure.begin(0.0) == [Ask(worker) for worker, _ in turns]
    return departure


def answers(departure: Departure, now: float = 0.0, **cleans: bool) -> list[Action]:
    return [action for name, clean in cleans.items() for action in departure.answered(name.encode(), clean, now)]


def test_nobody_has_anything_to_clean_up() -> None:
    departure = begun((A, 1), (B, 2), (T, TASK_TURN))

    assert answers(departure, t=False, a=False, b=False) == [Kill(T), Kill(B), Kill(A)]
    assert departure.is_over
    assert departure.next_deadline is None


def test_actors_leave_from_the_youngest_to_the_oldest_and_one_after_the_other() -> None:
    departure = begun((A, 1), (B, 2), (C, 3))

    assert answers(departure, a=True, b=True, c=True) == [Order(C, 5.0)]
    assert departure.ended(C, 1.0) == [Order(B, 5.0)]
    assert departure.ended(B, 2.0) == [Order(A, 5.0)]
    assert not departure.is_over
    assert departure.ended(A, 3.0) == []
    assert departure.is_over


def test_an_older_actor_is_there_as_long_as_a_younger_one_cleans_up() -> None:
    departure = begun((A, 1), (B, 2))

    assert answers(departure, a=False, b=True) == [Order(B, 5.0)]
    assert departure.ended(B, 0.1) == [Kill(A)]


def test_running_tasks_leave_first_and_together() -> None:
    departure = begun((A, 1), (T, TASK_TURN), (B, TASK_TURN))

    assert answers(departure, a=True, t=True, b=True) == [Order(T, 5.0), Order(B, 5.0)]
    assert departure.ended(T, 1.0) == []
    assert departure.ended(B, 1.0) == [Order(A, 5.0)]


def test_idle_workers_leave_last() -> None:
    """They may own what others need."""
    departure = begun((T, IDLE_TURN), (A, 1))

    assert answers(departure, t=False, a=True) == [Order(A, 5.0)]
    assert departure.ended(A, 1.0) == [Kill(T)]


def test_the_first_turn_begins_before_all_have_answered() -> None:
    departure = begun((A, 1), (B, 2))

    assert answers(departure, b=True) == [Order(B, 5.0)]
    assert departure.ended(B, 0.1) == []
    assert answers(departure, a=True) == [Order(A, 5.0)]


def test_who_does_not_answer_is_killed() -> None:
    departure = begun((A, 1), (T, TASK_TURN))
    assert answers(departure, a=True) == []

    assert departure.next_deadline == 0.5
    assert departure.tick(0.4) == []
    assert departure.tick(0.5) == [Kill(T), Order(A, 5.0)]
    assert departure.answered(T, True, 0.6) == [], "too late"


def test_who_takes_too_long_is_killed_and_the_next_turn_begins() -> None:
    departure = begun((A, 1), (B, 2))
    answers(departure, a=True, b=True)

    assert departure.next_deadline == 5.0
    assert departure.tick(5.0) == [Kill(B, late=True), Order(A, 5.0)]
    assert departure.ended(B, 5.1) == []
    assert departure.ended(A, 6.0) == []
    assert departure.is_over


def test_all_together_have_a_deadline() -> None:
    departure = begun((A, 1), (B, 2), (C, 3), (T, IDLE_TURN))
    answers(departure, t=False, a=True, b=True, c=True)
    assert departure.ended(C, 4.0) == [Order(B, 5.0)]
    assert departure.ended(B, 8.0) == [Order(A, 2.0)], "what is left"

    assert departure.next_deadline == 10.0
    assert departure.tick(10.0) == [Kill(A, late=True), Kill(T)]
    assert departure.is_over


def test_who_ends_by_itself_is_not_waited_for() -> None:
    departure = begun((A, 1), (B, 2))

    assert departure.ended(B, 0.1) == []
    assert answers(departure, a=True) == [Order(A, 5.0)]


def test_the_next_turn_begins_when_the_one_before_has_cleaned_up() -> None:
    """Until a process has ended takes longer than most need to clean up."""
    departure = begun((A, 1), (B, 2), (C, 3))
    answers(departure, a=False, b=True, c=True)

    assert answers(departure, c=False) == [Kill(C), Order(B, 5.0)]
    assert answers(departure, b=False) == [Kill(B), Kill(A)]
    assert departure.is_over


def test_answers_count_once_and_only_of_members() -> None:
    departure = begun((A, 1), (B, 2))
    answers(departure, a=True)

    assert answers(departure, a=False, c=True) == [], "it has been asked once, and its turn has not come"
    assert answers(departure, b=True, a=True) == [Order(B, 5.0)]
    assert answers(departure, b=True) == []
    assert answers(departure, b=False) == [Kill(B), Order(A, 5.0)]
    assert answers(departure, b=False) == []
    assert departure.ended(B, 1.0) == []
    assert departure.ended(A, 1.0) == []
    assert departure.ended(A, 1.0) == []


def test_without_time_everybody_is_killed_at_once() -> None:
    departure = Departure([(A, 1), (B, 2)], Limits.of(0.0, 2))

    assert departure.begin(0.0) == [Kill(A), Kill(B)]
    assert departure.is_over


def test_a_departure_of_nobody_is_over() -> None:
    departure = begun()

    assert departure.is_over
    assert departure.next_deadline is None


def test_limits() -> None:
    """The more are asked, the later is an answer late: each costs the machine something."""
    assert Limits.of(5.0, 0) == Limits(0.5, 5.0, 10.0)
    assert Limits.of(5.0, 100).answer == 1.5
    assert Limits.of(0.2, 100).answer == 0.2
