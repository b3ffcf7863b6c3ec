"""OTP's semantics of supervision, a test for each row of the table in docs/supervision.md."""

import pytest

from tests.core.supervised_world import (
    CRASH,
    NO_START,
    NORMAL,
    SHUTDOWN,
    DeleteChild,
    RestartChild,
    StartChild,
    StartDynamic,
    TerminateChild,
    World,
    child,
)
from trayray.core.supervision import ChildCounts, Supervision
from trayray.core.supervision_messages import Ending, Refusal, Reply, Start
from trayray.model.supervision import ChildPolicy, SupervisorPolicy

A, B, C = child("a"), child("b"), child("c")

# --- start and end ---


def test_children_start_in_order() -> None:
    assert World(A, B, C).done == ["start a", "start b", "start c"]


def test_a_child_starts_when_the_one_before_it_has_started() -> None:
    world = World(A, B, slow=["a"])

    assert world.done == ["start a"]
    assert world.has_started("a") == ["start b"]


def test_children_stop_in_reverse_order() -> None:
    world = World(A, B, C)

    assert world.shut_down() == ["stop c 5.0", "stop b 5.0", "stop a 5.0", "end"]
    assert world.outcome is not None
    assert world.outcome.ending is Ending.SHUT_DOWN


def test_a_child_is_stopped_when_the_one_after_it_is_gone() -> None:
    world = World(A, B, slow=["b"], strategy="one_for_all")
    world.has_started("b")

    assert world.shut_down() == ["stop b 5.0"]
    assert world.exits("b", SHUTDOWN) == ["stop a 5.0", "end"]


def test_each_child_is_stopped_in_its_own_way() -> None:
    world = World(child("a", shutdown="infinity"), child("b", shutdown="brutal_kill"), child("c", shutdown=0.5))

    assert world.shut_down() == ["stop c 0.5", "stop b brutal_kill", "stop a infinity", "end"]


def test_a_failed_start_undoes_the_whole() -> None:
    world = World(A, B, C, failing=["c"])

    assert world.done == ["start a", "start b", "start c", "stop b 5.0", "stop a 5.0", "end"]
    assert world.outcome is not None
    assert (world.outcome.ending, world.outcome.child) == (Ending.START_FAILED, "c")
    assert world.outcome.exits == (("c", NO_START),)


def test_a_failed_first_start_is_not_tried_again() -> None:
    world = World(A, B, failing=["a"], intensity=10)

    assert world.done == ["start a", "end"]


# --- restart types ---


@pytest.mark.parametrize("how", [NORMAL, SHUTDOWN, CRASH])
def test_permanent_is_always_started_again(how: object) -> None:
    assert World(A).exits("a", how) == ["start a"]  # type: ignore[arg-type]


def test_transient_is_started_again_after_an_abnormal_end() -> None:
    assert World(child("a", "transient")).exits("a", CRASH) == ["start a"]


@pytest.mark.parametrize("how", [NORMAL, SHUTDOWN])
def test_transient_stays_stopped_after_a_normal_end(how: object) -> None:
    world = World(child("a", "transient"))

    assert world.exits("a", how) == []  # type: ignore[arg-type]
    assert world.states == {"a": "stopped"}


@pytest.mark.parametrize("how", [NORMAL, SHUTDOWN, CRASH])
def test_temporary_is_never_started_again_and_forgotten(how: object) -> None:
    world = World(child("a", "temporary"))

    assert world.exits("a", how) == ["forget a"]  # type: ignore[arg-type]
    assert world.states == {}


# --- strategies ---


def test_one_for_one_restarts_the_child_alone() -> None:
    assert World(A, B, C).exits("b") == ["start b"]


def test_one_for_all_stops_the_others_in_reverse_order_and_starts_all() -> None:
    world = World(A, B, C, strategy="one_for_all")

    assert world.exits("b") == ["stop c 5.0", "stop a 5.0", "start a", "start b", "start c"]


def test_rest_for_one_restarts_the_child_and_those_after_it() -> None:
    world = World(A, B, C, strategy="rest_for_one")

    assert world.exits("b") == ["stop c 5.0", "start b", "start c"]


def test_one_for_all_stops_temporary_children_for_good() -> None:
    world = World(A, child("t", "temporary"), C, strategy="one_for_all")

    assert world.exits("a") == ["stop c 5.0", "stop t 5.0", "forget t", "start a", "start c"]


def test_rest_for_one_stops_temporary_children_after_it_for_good() -> None:
    world = World(child("s", "temporary"), A, child("t", "temporary"), strategy="rest_for_one")

    assert world.exits("a") == ["stop t 5.0", "forget t", "start a"]
    assert world.states == {"s": "running", "a": "running"}


def test_the_end_of_a_temporary_child_restarts_nobody() -> None:
    assert World(A, child("t", "temporary"), strategy="one_for_all").exits("t") == ["forget t"]


def test_the_normal_end_of_a_transient_child_restarts_nobody() -> None:
    assert World(A, child("t", "transient"), strategy="one_for_all").exits("t", NORMAL) == []


def test_a_group_restart_starts_stopped_children_too() -> None:
    world = World(A, child("t", "transient"), B, strategy="one_for_all")
    world.exits("t", NORMAL)
    world.ask(TerminateChild, "b")

    assert world.exits("a") == ["start a", "start t", "start b"]


def test_children_that_end_together_are_dealt_with_one_after_the_other() -> None:
    world = World(A, B, slow=["a"], intensity=2)
    world.has_started("a")

    assert world.exits("a") == ["start a"]
    assert world.exits("b") == []
    assert world.has_started("a") == ["start b"]


def test_a_child_that_has_ended_needs_no_stop() -> None:
    world = World(A, B, C, slow=["c"], strategy="one_for_all")
    world.has_started("c")

    assert world.exits("b") == ["stop c 5.0"]
    assert world.exits("a") == []
    assert world.exits("c") == ["start a", "start b", "start c"]
    world.has_started("c")
    assert world.outcome is None, "the end of a, which was to be stopped anyway, is no second restart"


# --- intensity ---


def test_intensity_is_one_in_five_seconds_by_default() -> None:
    assert (SupervisorPolicy().intensity, SupervisorPolicy().period) == (1, 5.0)


def test_more_restarts_than_the_intensity_end_the_supervisor() -> None:
    world = World(A, B, intensity=2)

    assert world.exits("a") == ["start a"]
    assert world.exits("b") == ["start b"]
    assert world.exits("a") == ["stop b 5.0", "end"]
    assert world.outcome is not None
    assert (world.outcome.ending, world.outcome.child) == (Ending.INTENSITY, "a")
    assert [child for child, _ in world.outcome.exits] == ["a", "b", "a"]


def test_restarts_older_than_the_period_do_not_count() -> None:
    world = World(A, intensity=1, period=5.0)

    assert world.exits("a") == ["start a"]
    world.now += 5.25
    assert world.exits("a") == ["start a"]
    world.now += 5.0
    assert world.exits("a") == ["end"], "one that is just as old as the period counts"


def test_intensity_zero_allows_no_restart() -> None:
    assert World(A, B, intensity=0).exits("a") == ["stop b 5.0", "end"]


def test_a_restart_of_several_children_counts_once() -> None:
    world = World(A, B, C, strategy="one_for_all", intensity=1)

    assert world.exits("a")[-1] == "start c"
    assert world.outcome is None


def test_a_failed_restart_is_tried_again_and_counts() -> None:
    world = World(A, B, intensity=3)
    world.failing = {"a"}

    assert world.exits("a") == ["start a", "start a", "start a", "stop b 5.0", "end"]
    assert world.outcome is not None
    assert [how for _, how in world.outcome.exits] == [CRASH, NO_START, NO_START, NO_START]


def test_what_has_come_before_a_failed_restart_is_tried_again_comes_first() -> None:
    world = World(A, B, slow=["a"], intensity=3)
    world.has_started("a")
    world.exits("a")
    world.ask(TerminateChild, "a")

    assert world.exits("a", NO_START) == []
    assert world.states == {"a": "stopped", "b": "running"}


def test_a_failed_group_restart_is_tried_again_from_the_child_that_failed() -> None:
    world = World(A, B, C, strategy="rest_for_one", intensity=2)
    world.failing = {"b"}

    assert world.exits("a") == ["stop c 5.0", "stop b 5.0", "start a", "start b", "start b", "stop a 5.0", "end"]


def test_a_failed_restart_of_all_stops_those_that_have_started_and_begins_anew() -> None:
    world = World(A, B, strategy="one_for_all", intensity=2)
    world.failing = {"b"}

    again = ["start a", "start b", "stop a 5.0"]
    assert world.exits("b") == ["stop a 5.0", *again, *again, "end"]


def test_a_restart_that_fails_when_the_supervisor_ends_holds_nothing_up() -> None:
    world = World(A, B, C, slow=["b", "c"])
    world.has_started("b")
    world.has_started("c")
    world.exits("b")

    assert world.shut_down() == ["stop c 5.0"]
    assert world.exits("b", NO_START) == []
    assert world.exits("c", SHUTDOWN) == ["stop a 5.0", "end"]


def test_only_a_restart_is_called_one() -> None:
    world = World(A)
    world.exits("a")
    world.ask(TerminateChild, "a")
    world.ask(RestartChild, "a")

    assert world.again == [False, True, False]


# --- significant children ---


def test_any_significant_ends_the_supervisor_at_the_first_end() -> None:
    world = World(A, child("s", "transient", significant=True), B, auto_shutdown="any_significant")

    assert world.exits("s", NORMAL) == ["stop b 5.0", "stop a 5.0", "end"]
    assert world.outcome is not None
    assert (world.outcome.ending, world.outcome.child) == (Ending.AUTO_SHUTDOWN, "s")


def test_all_significant_waits_for_the_last() -> None:
    significant = [child(name, "temporary", significant=True) for name in "st"]
    world = World(A, *significant, auto_shutdown="all_significant")

    assert world.exits("s", CRASH) == ["forget s"]
    assert world.exits("t", NORMAL) == ["forget t", "stop a 5.0", "end"]


def test_all_significant_waits_for_one_whose_restart_has_failed() -> None:
    significant = [child(name, "transient", significant=True) for name in "st"]
    world = World(*significant, auto_shutdown="all_significant", intensity=5, slow=["s"])
    world.has_started("s")
    world.exits("s", CRASH)
    world.exits("t", NORMAL)

    assert world.exits("s", NO_START) == ["start s"], "the end of t is dealt with before it is tried again"
    assert world.has_started("s") == []
    assert world.exits("s", NORMAL) == ["end"]


def test_a_significant_transient_child_that_crashes_is_started_again() -> None:
    world = World(child("s", "transient", significant=True), auto_shutdown="any_significant")

    assert world.exits("s", CRASH) == ["start s"]


def test_a_significant_temporary_child_ends_the_supervisor_however_it_ends() -> None:
    world = World(child("s", "temporary", significant=True), auto_shutdown="any_significant")

    assert world.exits("s", CRASH) == ["forget s", "end"]


def test_a_child_that_is_not_significant_ends_nothing() -> None:
    significant = child("s", "transient", significant=True)

    assert World(child("t", "transient"), significant, auto_shutdown="any_significant").exits("t", NORMAL) == []


def test_stopping_a_significant_child_on_request_ends_nothing() -> None:
    world = World(A, child("s", "transient", significant=True), auto_shutdown="any_significant")

    assert world.refusal(TerminateChild, "s") is None
    assert world.done == ["stop s 5.0"]


def test_a_significant_child_that_is_stopped_with_others_ends_nothing() -> None:
    significant = child("s", "temporary", significant=True)
    world = World(A, significant, strategy="one_for_all", auto_shutdown="any_significant")

    assert world.exits("a") == ["stop s 5.0", "forget s", "start a"]


def test_significant_is_refused_for_permanent_children() -> None:
    with pytest.raises(ValueError, match="significant and permanent"):
        ChildPolicy("a", "permanent", significant=True)


def test_significant_is_refused_without_auto_shutdown() -> None:
    with pytest.raises(ValueError, match="auto_shutdown='never'"):
        World(child("a", "transient", significant=True))


def test_auto_shutdown_is_refused_for_simple_one_for_one() -> None:
    with pytest.raises(ValueError, match="simple_one_for_one"):
        SupervisorPolicy("simple_one_for_one", auto_shutdown="any_significant")


# --- children made at run time ---


def test_start_child_adds_one_at_the_end() -> None:
    world = World(A, B)

    assert world.refusal(StartChild, C) is None
    assert world.done == ["start c"]
    assert world.shut_down()[0] == "stop c 5.0"


def test_a_child_that_cannot_be_started_is_not_added() -> None:
    world = World(A, failing=["b"])

    assert world.ask(StartChild, B) is not None
    assert world.replies[1].refusal is Refusal.START_FAILED
    assert world.replies[1].exit == NO_START
    assert world.states == {"a": "running"}


def test_start_child_refuses_an_id_that_is_there() -> None:
    world = World(A, child("b", "transient"))
    world.exits("b", NORMAL)

    assert world.refusal(StartChild, A) is Refusal.ALREADY_STARTED
    assert world.refusal(StartChild, B) is Refusal.ALREADY_PRESENT


def test_start_child_refuses_an_id_that_is_being_started_again() -> None:
    world = World(A, B, slow=["a", "b"], strategy="one_for_all", intensity=3)
    world.has_started("a")
    world.has_started("b")
    world.exits("a")
    world.exits("b", SHUTDOWN)
    world.has_started("a")
    assert world.ask(StartChild, B) is None
    world.exits("b", NO_START)

    assert world.replies[1].refusal is Refusal.ALREADY_STARTED


def test_terminate_child_stops_it_and_keeps_its_specification() -> None:
    world = World(A, B)

    assert world.refusal(TerminateChild, "a") is None
    assert world.done == ["stop a 5.0"]
    assert world.states == {"a": "stopped", "b": "running"}


def test_terminate_child_forgets_a_temporary_child() -> None:
    world = World(child("t", "temporary"))

    assert world.refusal(TerminateChild, "t") is None
    assert world.states == {}
    assert world.refusal(TerminateChild, "t") is Refusal.NOT_FOUND


def test_terminate_child_of_a_stopped_child_is_no_error() -> None:
    world = World(A)
    world.ask(TerminateChild, "a")

    assert world.refusal(TerminateChild, "a") is None
    assert world.done == []


def test_restart_child_starts_a_stopped_one() -> None:
    world = World(A)
    world.ask(TerminateChild, "a")

    assert world.refusal(RestartChild, "a") is None
    assert world.done == ["start a"]
    assert world.supervision.children["a"].restarts == 0, "it was asked for: that is no restart that counts"


def test_restart_child_refuses_all_but_stopped_ones() -> None:
    world = World(A, child("s", "transient"), slow=["s"], intensity=5)
    world.has_started("s")

    assert world.refusal(RestartChild, "a") is Refusal.RUNNING
    assert world.refusal(RestartChild, "x") is Refusal.NOT_FOUND
    world.exits("s")
    assert world.ask(RestartChild, "s") is None, "a supervisor that restarts a child answers after it"
    world.exits("s", NO_START)
    assert world.replies[3].refusal is Refusal.RESTARTING


def test_a_restart_on_request_that_fails_leaves_the_child_stopped() -> None:
    world = World(A, B)
    world.ask(TerminateChild, "a")
    world.failing = {"a"}

    assert world.refusal(RestartChild, "a") is Refusal.START_FAILED
    assert world.states == {"a": "stopped", "b": "running"}


def test_delete_child_forgets_a_stopped_one() -> None:
    world = World(A, B)
    world.ask(TerminateChild, "a")

    assert world.refusal(DeleteChild, "a") is None
    assert world.states == {"b": "running"}


def test_delete_child_refuses_all_but_stopped_ones() -> None:
    world = World(A)

    assert world.refusal(DeleteChild, "a") is Refusal.RUNNING
    assert world.refusal(DeleteChild, "x") is Refusal.NOT_FOUND


def test_count_children() -> None:
    world = World(A, child("s", kind="supervisor"), child("t", "transient"))
    world.exits("t", NORMAL)

    assert world.supervision.count() == ChildCounts(specs=3, active=2, supervisors=1, workers=2)


# --- simple_one_for_one ---


def test_simple_one_for_one_starts_without_children() -> None:
    world = World(A, strategy="simple_one_for_one")

    assert world.done == []
    assert world.supervision.count() == ChildCounts(specs=1, active=0, supervisors=0, workers=0)


def test_simple_one_for_one_has_one_specification() -> None:
    with pytest.raises(ValueError, match="one child specification"):
        World(A, B, strategy="simple_one_for_one")


def test_simple_one_for_one_makes_children_alike() -> None:
    world = World(child("a", "transient", shutdown=0.5), strategy="simple_one_for_one")

    assert [world.ask(StartDynamic) is not None for _ in range(2)] == [True, True]
    assert [reply.child for reply in world.replies.values()] == ["a-1", "a-2"]
    assert world.exits("a-1", CRASH) == ["start a-1"]
    assert world.supervision.count() == ChildCounts(specs=1, active=2, supervisors=0, workers=2)


def test_simple_one_for_one_forgets_a_child_that_is_not_started_again() -> None:
    world = World(child("a", "transient"), strategy="simple_one_for_one")
    world.ask(StartDynamic)

    assert world.exits("a-1", NORMAL) == ["forget a-1"]


def test_simple_one_for_one_stops_all_children_at_once() -> None:
    world = World(A, strategy="simple_one_for_one", slow=["a-1", "a-2"])
    world.ask(StartDynamic)
    world.has_started("a-1")
    world.ask(StartDynamic)
    world.has_started("a-2")

    assert world.shut_down() == ["stop a-2 5.0", "stop a-1 5.0"]
    assert world.exits("a-1", SHUTDOWN) == []
    assert world.exits("a-2", SHUTDOWN) == ["end"]


def test_simple_one_for_one_terminates_a_child_for_good() -> None:
    world = World(A, strategy="simple_one_for_one")
    world.ask(StartDynamic)

    assert world.refusal(TerminateChild, "a-1") is None
    assert world.done == ["stop a-1 5.0", "forget a-1"]


def test_simple_one_for_one_refuses_what_names_a_specification() -> None:
    world = World(A, strategy="simple_one_for_one")
    world.ask(StartDynamic)

    for request, argument in ((StartChild, B), (RestartChild, "a-1"), (DeleteChild, "a-1")):
        assert world.refusal(request, argument) is Refusal.SIMPLE_ONE_FOR_ONE
    assert World(A).refusal(StartDynamic) is Refusal.SIMPLE_ONE_FOR_ONE


# --- requests meanwhile, and the end ---


def test_a_supervisor_answers_when_it_has_done_what_it_is_doing() -> None:
    world = World(A, B, slow=["a"])
    world.has_started("a")
    world.exits("a")

    assert world.ask(TerminateChild, "b") is None
    assert world.has_started("a") == ["stop b 5.0"]
    assert world.replies[1].refusal is None


def test_shutting_down_does_not_wait_for_a_child_that_is_starting() -> None:
    world = World(A, B, slow=["b"])

    assert world.shut_down() == ["stop b 5.0"]
    assert world.has_started("b") == [], "too late"
    assert world.exits("b", SHUTDOWN) == ["stop a 5.0", "end"]


def test_requests_to_a_supervisor_that_has_not_started_are_refused() -> None:
    supervision = Supervision(SupervisorPolicy(), [A])

    assert supervision.handle(StartChild(1, B), 0.0) == [Reply(1, "b", Refusal.NOT_STARTED)]
    assert supervision.start(0.0) == [Start("a", 1, "its supervisor starts")]


def test_requests_to_a_supervisor_that_ends_are_refused() -> None:
    world = World(A, B, slow=["a"], intensity=0)
    world.has_started("a")
    assert world.ask(TerminateChild, "a") is None
    assert world.ask(RestartChild, "b") is None

    assert world.shut_down() == ["stop b 5.0"]
    assert [reply.refusal for reply in world.replies.values()] == [Refusal.SUPERVISOR_ENDS] * 2
    assert world.refusal(StartChild, C) is Refusal.SUPERVISOR_ENDS
    assert world.exits("a", SHUTDOWN) == ["end"]


def test_a_restart_says_why() -> None:
    world = World(A, B, strategy="one_for_all")
    world.exits("a")

    assert world.reasons == [
        "its supervisor starts",
        "its supervisor starts",
        "'a' ended: it crashed",
        "it is started again with 'a' (one_for_all): 'a' ended: it crashed",
    ]
