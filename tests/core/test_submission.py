"""`trayray.core.submission`, one promise at a time; arbitrary histories are in tests/property."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from trayray.core.submission import (
    LEASE_SECONDS,
    LINGER_SECONDS,
    MAX_DEPTH,
    MAX_WANTED,
    PIPELINE_SECONDS,
    SHORT_SECONDS,
    STALL_SECONDS,
    ClassQueue,
    Plan,
)


@dataclass(frozen=True)
class Job:
    """A task as the queue sees it."""

    task_id: bytes


def jobs(*names: str) -> list[Job]:
    return [Job(name.encode()) for name in names]


def queue_of(*names: str, leases: Iterable[int] = ()) -> ClassQueue[Job]:
    queue: ClassQueue[Job] = ClassQueue()
    for job in jobs(*names):
        queue.submit(job)
    for lease in leases:
        queue.granted(lease, 0.0)
    return queue


def pushed(plan: Plan[Job]) -> dict[int, list[str]]:
    return {lease: [job.task_id.decode() for job in tasks] for lease, tasks in plan.pushes}


def waiting(queue: ClassQueue[Job]) -> list[str]:
    return [job.task_id.decode() for job in queue.queue]


def numbered(count: int) -> list[str]:
    return [f"{number:03}" for number in range(count)]


def with_three_on_one_worker() -> ClassQueue[Job]:
    """Lease 1 runs "a" since time 0 and has "b" and "c" behind it."""
    queue = queue_of("a", "b", "c", leases=[1])
    queue.depth = 3
    assert pushed(queue.plan(0.0)) == {1: ["a", "b", "c"]}
    return queue


# --- wanting leases ---------------------------------------------------------------------------------------------------


def test_a_lease_is_wanted_for_each_task_that_no_worker_has() -> None:
    assert queue_of("a", "b", "c").plan(0.0).demand == 3


def test_an_unchanged_demand_is_not_stated_again() -> None:
    queue = queue_of("a")
    queue.plan(0.0)

    assert queue.plan(0.0).demand is None


def test_the_demand_counts_from_the_beginning() -> None:
    queue = queue_of("a", "b", "c")
    queue.plan(0.0)
    queue.granted(1, 0.0)
    queue.granted(2, 0.0)

    assert queue.plan(0.0).demand is None, "two were granted, one task is left: 2 + 1 is what was wanted already"
    queue.submit(Job(b"d"))
    assert queue.plan(0.0).demand == 4


def test_what_the_queue_needs_no_longer_is_wanted_no_longer() -> None:
    queue = queue_of("a", "b")
    queue.plan(0.0)
    for job in jobs("a", "b"):
        assert queue.withdraw(job)

    assert queue.plan(0.0).demand == 0


def test_only_so_many_leases_are_wanted_ahead() -> None:
    assert queue_of(*numbered(MAX_WANTED + 1)).plan(0.0).demand == MAX_WANTED


# --- handing out ------------------------------------------------------------------------------------------------------


def test_tasks_are_handed_out_in_the_order_of_submission() -> None:
    queue = queue_of("a", "b", "c", leases=[1])

    assert pushed(queue.plan(0.0)) == {1: ["a"]}
    assert waiting(queue) == ["b", "c"]


def test_tasks_of_unknown_duration_are_handed_out_one_at_a_time() -> None:
    queue = queue_of("a", "b", "c", leases=[1, 2])

    assert pushed(queue.plan(0.0)) == {1: ["a"], 2: ["b"]}
    assert queue.plan(0.0).pushes == []


def test_each_result_of_short_tasks_doubles_how_many_a_worker_has_in_flight() -> None:
    queue = queue_of(*numbered(64), leases=[1])
    done = []
    for in_flight in (1, 2, 4):
        (tasks,) = pushed(queue.plan(0.0)).values()
        assert len(tasks) == in_flight
        done += queue.finished(1, [name.encode() for name in tasks], 0.0)
    assert [job.task_id.decode() for job in done] == numbered(64)[:7]


def test_no_more_is_in_flight_than_a_worker_should_finish_in_time() -> None:
    queue = queue_of(*numbered(64), leases=[1])
    duration = PIPELINE_SECONDS / 8
    now = 0.0
    for _ in range(8):
        (tasks,) = pushed(queue.plan(now)).values()
        now += duration * len(tasks)
        queue.finished(1, [name.encode() for name in tasks], now)
    assert queue.depth in (7, 8)


def test_the_depth_has_a_limit() -> None:
    queue = queue_of(*numbered(4 * MAX_DEPTH), leases=[1])
    while queue.queue:
        for lease, tasks in queue.plan(0.0).pushes:
            assert len(tasks) <= MAX_DEPTH
            queue.finished(lease, [job.task_id for job in tasks], 0.0)
    assert queue.depth == MAX_DEPTH


def test_one_long_task_ends_pipelining() -> None:
    queue = queue_of(*numbered(8), leases=[1])
    queue.depth = 4
    tasks = pushed(queue.plan(0.0))[1]
    queue.finished(1, [name.encode() for name in tasks], 4 * (2 * SHORT_SECONDS))

    assert queue.depth == 1


def test_a_short_queue_does_not_pile_up_on_one_worker() -> None:
    queue = queue_of(*numbered(4), leases=[1, 2, 3])
    queue.depth = MAX_DEPTH

    assert pushed(queue.plan(0.0)) == {1: ["000", "001"], 2: ["002"], 3: ["003"]}


def test_the_emptiest_worker_is_served_first() -> None:
    queue = queue_of("a", leases=[1])
    queue.depth = 4
    queue.plan(0.0)
    queue.granted(2, 0.0)
    queue.submit(Job(b"b"))

    assert pushed(queue.plan(0.0)) == {2: ["b"]}


def test_a_worker_whose_task_waits_is_given_nothing_until_the_task_goes_on() -> None:
    queue = queue_of(leases=[1])
    queue.depth = 4
    queue.blocked(1, True)
    queue.submit(Job(b"a"))

    assert queue.plan(0.0).pushes == []
    queue.blocked(1, False)
    assert pushed(queue.plan(0.0)) == {1: ["a"]}


def test_nothing_is_queued_behind_a_task_that_turned_out_long() -> None:
    queue = queue_of("long", leases=[1])
    queue.plan(0.0)
    queue.depth = 8
    queue.submit(Job(b"next"))

    plan = queue.plan(STALL_SECONDS)

    assert (plan.pushes, plan.reclaims, plan.demand) == ([], [], 2)
    assert queue.depth == 8, "short tasks elsewhere are still pipelined"


def test_a_task_just_begun_may_have_another_behind_it() -> None:
    queue = queue_of("a", leases=[1])
    queue.plan(0.0)
    queue.depth = 8
    queue.submit(Job(b"b"))

    assert pushed(queue.plan(STALL_SECONDS / 2)) == {1: ["b"]}


def test_a_task_may_go_straight_to_an_idle_worker_past_an_empty_queue() -> None:
    queue = queue_of(leases=[1])

    assert queue.take_idle(Job(b"a"), 1.0) == 1
    assert queue.holder(b"a") == 1
    assert queue.finished(1, [b"a"], 1.0) == jobs("a")


def test_no_task_goes_past_others_or_to_a_worker_that_is_busy_or_waits() -> None:
    queue = queue_of("a", leases=[1])
    assert queue.take_idle(Job(b"b"), 0.0) is None, "one is queued before it"
    queue.plan(0.0)
    assert queue.take_idle(Job(b"b"), 0.0) is None, "the only worker is busy"

    queue = queue_of(leases=[1])
    queue.blocked(1, True)
    assert queue.take_idle(Job(b"b"), 0.0) is None

    queue = queue_of(leases=[1])
    queue.spent(1)
    assert queue.take_idle(Job(b"b"), 0.0) is None, "its worker takes no more"


# --- results ----------------------------------------------------------------------------------------------------------


def test_results_tell_their_tasks_and_free_the_worker() -> None:
    queue = queue_of("a", "b", leases=[1])
    queue.plan(0.0)

    assert queue.finished(1, [b"a"], 1.0) == jobs("a")
    assert pushed(queue.plan(1.0)) == {1: ["b"]}


def test_results_of_unknown_tasks_and_duplicates_are_skipped() -> None:
    queue = queue_of("a", leases=[1])
    queue.plan(0.0)

    assert queue.finished(1, [b"x", b"a", b"a"], 1.0) == jobs("a")
    assert queue.finished(1, [b"a"], 1.0) == []


def test_results_of_a_lease_that_is_gone_are_skipped() -> None:
    queue = queue_of("a", leases=[1])
    queue.plan(0.0)
    queue.lost(1)

    assert queue.finished(1, [b"a"], 1.0) == []


def test_skipped_results_say_nothing_about_durations() -> None:
    queue = queue_of("a", leases=[1])
    queue.plan(0.0)
    queue.finished(1, [b"x"], 0.0)

    assert queue.depth == 1


# --- what comes back --------------------------------------------------------------------------------------------------


def test_what_stalls_is_asked_back_once() -> None:
    queue = with_three_on_one_worker()

    assert queue.plan(STALL_SECONDS / 2).reclaims == []
    assert queue.plan(STALL_SECONDS).reclaims == [1]
    assert queue.plan(STALL_SECONDS).reclaims == []


def test_a_single_task_behind_one_that_stalls_is_asked_back_in_time() -> None:
    queue = queue_of("a", "b", leases=[1])
    queue.depth = 2
    queue.plan(0.0)

    assert queue.next_deadline() == STALL_SECONDS
    assert queue.plan(STALL_SECONDS).reclaims == [1]


def test_a_result_is_progress() -> None:
    queue = with_three_on_one_worker()
    queue.finished(1, [b"a"], STALL_SECONDS / 2)

    assert queue.plan(STALL_SECONDS).reclaims == []
    assert queue.plan(2 * STALL_SECONDS).reclaims == [1]


def test_a_running_task_alone_is_never_asked_back() -> None:
    queue = queue_of("a", leases=[1])
    queue.plan(0.0)

    assert queue.plan(1000.0).reclaims == []


def test_what_is_behind_a_waiting_task_is_asked_back_at_once() -> None:
    queue = with_three_on_one_worker()
    queue.blocked(1, True)

    assert queue.plan(0.0).reclaims == [1]


def test_returned_tasks_run_elsewhere_before_everything_queued_since() -> None:
    queue = with_three_on_one_worker()
    queue.submit(Job(b"d"))
    queue.plan(STALL_SECONDS)
    queue.returned(1, [b"b", b"c"], STALL_SECONDS)

    assert waiting(queue) == ["b", "c", "d"]
    queue.granted(2, STALL_SECONDS)
    assert pushed(queue.plan(STALL_SECONDS)) == {2: ["b"]}


def test_a_worker_that_is_asked_for_its_tasks_gets_none_until_it_has_answered() -> None:
    queue = with_three_on_one_worker()
    queue.plan(STALL_SECONDS)
    queue.finished(1, [b"a"], STALL_SECONDS)
    queue.submit(Job(b"d"))
    queue.depth = 8

    assert queue.plan(STALL_SECONDS).pushes == []
    queue.returned(1, [b"c"], STALL_SECONDS)
    assert pushed(queue.plan(STALL_SECONDS)) == {1: ["c", "d"]}


def test_an_empty_answer_is_an_answer() -> None:
    queue = with_three_on_one_worker()
    queue.plan(STALL_SECONDS)
    queue.returned(1, [], STALL_SECONDS)

    assert queue.plan(STALL_SECONDS).reclaims == [1], "it still stalls: it is asked again"
    queue.returned(1, [], STALL_SECONDS)
    queue.finished(1, [b"a"], STALL_SECONDS)
    queue.depth = 8
    queue.submit(Job(b"d"))
    assert pushed(queue.plan(STALL_SECONDS)) == {1: ["d"]}


def test_a_worker_with_nothing_left_to_give_back_owes_no_answer() -> None:
    queue = with_three_on_one_worker()
    queue.plan(STALL_SECONDS)
    queue.finished(1, [b"a", b"b", b"c"], STALL_SECONDS)
    queue.submit(Job(b"d"))

    assert pushed(queue.plan(STALL_SECONDS)) == {1: ["d"]}


def test_unknown_tasks_and_leases_are_not_returned() -> None:
    queue = with_three_on_one_worker()
    queue.returned(1, [b"x"], 0.0)
    queue.returned(7, [b"a"], 0.0)

    assert waiting(queue) == []
    assert list(queue.leases[1].in_flight) == [b"a", b"b", b"c"]


def test_a_lost_worker_s_tasks_are_told_in_push_order() -> None:
    queue = with_three_on_one_worker()

    assert queue.lost(1) == jobs("a", "b", "c")
    assert queue.leases == {}
    assert queue.lost(1) == []


def test_a_lost_worker_ends_pipelining() -> None:
    queue = with_three_on_one_worker()
    queue.lost(1)

    assert queue.depth == 1, "a task that kills its worker takes no others with it next time"


def test_a_queued_task_can_be_withdrawn_and_one_in_flight_cannot() -> None:
    queue = queue_of("a", "b", leases=[1])
    queue.plan(0.0)

    assert not queue.withdraw(Job(b"a"))
    assert queue.withdraw(Job(b"b"))
    assert not queue.withdraw(Job(b"b"))
    assert (queue.holder(b"a"), queue.holder(b"b")) == (1, None)


# --- giving leases back -----------------------------------------------------------------------------------------------


def test_an_unused_lease_lingers_and_goes_back() -> None:
    queue = queue_of("a", leases=[1])
    queue.plan(0.0)
    queue.finished(1, [b"a"], 1.0)

    assert queue.plan(1.0 + LINGER_SECONDS / 2).returns == []
    assert queue.plan(1.0 + 1.01 * LINGER_SECONDS).returns == [1]
    assert queue.leases == {}


def test_an_unused_lease_goes_back_at_once_when_others_wait() -> None:
    queue = queue_of(leases=[1])
    queue.contended = True

    assert queue.plan(0.0).returns == [1]


def test_a_lease_with_work_is_kept_for_a_while_though_others_wait() -> None:
    queue = queue_of("a", leases=[1])
    queue.contended = True

    assert queue.plan(0.99 * LEASE_SECONDS).returns == []


def test_a_lease_is_given_back_after_a_while_when_others_wait() -> None:
    queue = queue_of("a", "b", leases=[1])
    queue.contended = True
    pushed = queue.plan(0.0)
    assert len(pushed.pushes) == 1

    assert queue.plan(LEASE_SECONDS).returns == [], "its task runs"
    queue.finished(1, list(queue.leases[1].in_flight), LEASE_SECONDS)
    plan = queue.plan(LEASE_SECONDS)
    assert (plan.pushes, plan.returns) == ([], [1])
    assert plan.demand is None, "it waits for another lease already"


def test_an_empty_answer_does_not_prolong_lingering() -> None:
    queue = queue_of(leases=[1])
    queue.returned(1, [], LINGER_SECONDS)

    assert queue.plan(1.01 * LINGER_SECONDS).returns == [1]


def test_a_returned_lease_is_wanted_anew() -> None:
    queue = queue_of(leases=[1])
    queue.contended = True
    queue.plan(0.0)
    queue.submit(Job(b"a"))

    assert queue.plan(0.0).demand == 2


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_time_matters_to_unused_leases_and_to_what_may_stall() -> None:
    queue = queue_of(leases=[1])
    assert queue.next_deadline() == LINGER_SECONDS

    queue = with_three_on_one_worker()
    assert queue.next_deadline() == STALL_SECONDS

    queue.plan(STALL_SECONDS)
    assert queue.next_deadline() is None, "the worker was asked; its answer is the next event"


@pytest.mark.parametrize("names", [(), ("a",)])
def test_time_does_not_matter_without_leases_or_to_a_task_alone(names: tuple[str, ...]) -> None:
    queue = queue_of(*names, leases=[1] if names else [])
    queue.plan(0.0)

    assert queue.next_deadline() is None


def test_nothing_is_pushed_behind_a_task_that_is_being_cancelled() -> None:
    queue = queue_of("a", leases=[1])
    queue.plan(0.0)
    assert queue.cancelling(b"a") == 1
    queue.depth = MAX_DEPTH
    queue.submit(*jobs("b"))
    assert queue.plan(0.001).pushes == []
    queue.finished(1, [b"a"], 0.002)
    assert queue.plan(0.002).pushes == [(1, jobs("b"))]


def test_a_task_that_no_worker_has_is_cancelled_without_one() -> None:
    assert queue_of("a").cancelling(b"a") is None


def test_the_first_in_flight_is_the_one_that_runs() -> None:
    queue = queue_of("a", "b", leases=[1])
    queue.depth = MAX_DEPTH
    queue.plan(0.0)
    assert (queue.runs(b"a"), queue.runs(b"b"), queue.runs(b"c")) == (True, False, False)
    queue.finished(1, [b"a"], 0.0)
    assert queue.runs(b"b")
