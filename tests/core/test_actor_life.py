"""`trayray.core.actor_life`, one promise at a time; arbitrary histories are in tests/property."""

from typing import Any

import pytest

from trayray.core.actor_life import (
    TRANSITIONS,
    Actor,
    ActorTable,
    EndTogether,
    EndWorker,
    NameTaken,
    Place,
    Publish,
    State,
    Unplace,
)

X, Y = b"\x0a", b"\x0b"
JOB = b"job"
OWNER = "owner"
#: What most tests do not care about.
NEEDS: tuple[dict[str, float], dict[str, float]] = ({"CPU": 1.0}, {"CPU": 1.0})


def actor(actor_id: bytes = X, name: str = "", **overrides: Any) -> Actor:
    values: dict[str, Any] = {
        "actor_id": actor_id,
        "name": name,
        "namespace": "space",
        "class_name": "Class",
        "job": JOB,
        "owner": OWNER,
        "detached": False,
        "max_restarts": 0,
        "handle": b"handle",
    }
    return Actor(**(values | overrides))


def registered(**overrides: Any) -> ActorTable:
    table = ActorTable()
    table.register(actor(**overrides), get_if_exists=False)
    return table


def created(**overrides: Any) -> ActorTable:
    table = registered(**overrides)
    assert table.create(X, b"spec", *NEEDS) == [Place(X)]
    return table


def placed(worker: bytes = b"w", **overrides: Any) -> ActorTable:
    table = created(**overrides)
    assert table.placed(X, worker, "address")
    return table


def alive(**overrides: Any) -> ActorTable:
    table = placed(**overrides)
    assert table.started(X) == [Publish(X)]
    return table


def state(table: ActorTable, actor_id: bytes = X) -> State:
    table.check_invariants()
    return table.actors[actor_id].state


# --- the way into life ------------------------------------------------------------------------------------------------


def test_an_actor_waits_for_its_arguments_then_for_a_worker_then_lives() -> None:
    table = registered()
    assert state(table) is State.PENDING

    assert table.create(X, b"spec", {"CPU": 2.0}, {"CPU": 3.0}) == [Place(X)]
    assert (table.actors[X].resources, table.actors[X].placement) == ({"CPU": 2.0}, {"CPU": 3.0})
    assert state(table) is State.PENDING

    assert table.placed(X, b"w", "address")
    assert (table.actors[X].worker, table.actors[X].address) == (b"w", "address")
    assert state(table) is State.PENDING

    assert table.started(X) == [Publish(X)]
    assert state(table) is State.ALIVE


def test_registering_twice_changes_nothing() -> None:
    table = alive()
    first = table.actors[X]

    assert table.register(actor(), get_if_exists=False) is first
    assert state(table) is State.ALIVE


def test_an_actor_is_created_once() -> None:
    assert created().create(X, b"again", *NEEDS) == []


def test_a_constructor_s_exception_is_the_end_and_is_kept() -> None:
    table = placed(max_restarts=-1)

    assert table.failed(X, b"error") == [Publish(X)]
    assert state(table) is State.DEAD
    assert table.actors[X].error == b"error"
    assert "constructor" in table.actors[X].cause


def test_an_actor_whose_arguments_failed_needs_no_worker() -> None:
    table = registered()

    assert table.failed(X, b"error") == [Publish(X)]
    assert table.create(X, b"spec", *NEEDS) == []
    assert not table.placed(X, b"w", "address")


def test_late_news_of_a_process_that_has_ended_does_not_make_an_actor_alive() -> None:
    table = placed(max_restarts=1)
    table.worker_gone(b"w", "it crashed")

    assert table.started(X) == []
    assert state(table) is State.RESTARTING


# --- names ------------------------------------------------------------------------------------------------------------


def test_an_actor_is_found_by_its_name_in_its_namespace() -> None:
    table = registered(name="n")

    assert table.find("space", "n") is table.actors[X]
    assert table.find("other", "n") is None
    assert table.find("space", "m") is None


def test_a_name_belongs_to_one_living_actor() -> None:
    table = registered(name="n")

    with pytest.raises(NameTaken, match="'n' already exists in the namespace 'space'"):
        table.register(actor(Y, name="n"), get_if_exists=False)
    assert Y not in table.actors


def test_get_if_exists_shares_the_living_actor() -> None:
    table = registered(name="n")

    assert table.register(actor(Y, name="n"), get_if_exists=True) is table.actors[X]
    assert Y not in table.actors


def test_get_if_exists_creates_what_does_not_exist() -> None:
    table = ActorTable()
    new = actor(name="n")

    assert table.register(new, get_if_exists=True) is new


def test_the_same_name_in_another_namespace_is_another_name() -> None:
    table = registered(name="n")
    table.register(actor(Y, name="n", namespace="other"), get_if_exists=False)

    assert table.find("other", "n") is table.actors[Y]


def test_actors_without_names_do_not_collide() -> None:
    table = registered()
    table.register(actor(Y), get_if_exists=False)

    assert len(table.actors) == 2
    assert table.find("space", "") is None


def test_a_dead_actor_gives_its_name_back() -> None:
    table = registered(name="n")
    table.kill(X, no_restart=True, reason="killed")

    assert table.find("space", "n") is None
    table.register(actor(Y, name="n"), get_if_exists=False)
    assert table.find("space", "n") is table.actors[Y]


def test_a_restarting_actor_keeps_its_name() -> None:
    table = alive(name="n", max_restarts=1)
    table.worker_gone(b"w", "it crashed")

    assert table.find("space", "n") is table.actors[X]


# --- crashes and restarts ---------------------------------------------------------------------------------------------


def test_an_actor_without_restarts_dies_with_its_process() -> None:
    table = alive()

    assert table.worker_gone(b"w", "it crashed") == [Publish(X)]
    assert state(table) is State.DEAD
    assert table.actors[X].cause == "The actor Class (0a) is dead: it crashed."


def test_a_restart_needs_a_new_worker() -> None:
    table = alive(max_restarts=1)

    assert table.worker_gone(b"w", "it crashed") == [Publish(X), Place(X)]
    assert state(table) is State.RESTARTING
    assert table.actors[X].worker == b""
    assert table.placed(X, b"w2", "address2")
    assert table.started(X) == [Publish(X)]
    assert state(table) is State.ALIVE


@pytest.mark.parametrize("max_restarts", [0, 1, 3])
def test_restarts_are_bounded(max_restarts: int) -> None:
    table = alive(max_restarts=max_restarts)
    for number in range(max_restarts):
        table.worker_gone(b"w", "it crashed")
        assert state(table) is State.RESTARTING
        assert table.actors[X].restarts == number + 1
        table.placed(X, b"w", "address")
        table.started(X)
    table.worker_gone(b"w", "it crashed")

    assert state(table) is State.DEAD
    assert table.actors[X].restarts == max_restarts


def test_minus_one_means_unlimited_restarts() -> None:
    table = alive(max_restarts=-1)
    for _ in range(100):
        table.worker_gone(b"w", "it crashed")
        table.placed(X, b"w", "address")
    assert state(table) is State.RESTARTING


def test_a_crash_in_the_constructor_counts_as_one() -> None:
    table = placed(max_restarts=1)

    assert table.worker_gone(b"w", "it crashed") == [Publish(X), Place(X)]
    table.placed(X, b"w2", "address2")
    assert table.worker_gone(b"w2", "it crashed") == [Publish(X)]
    assert state(table) is State.DEAD


def test_the_end_of_other_processes_does_not_matter() -> None:
    table = alive()

    assert table.worker_gone(b"other", "it crashed") == []
    assert state(table) is State.ALIVE


def test_an_actor_that_ends_itself_is_not_restarted() -> None:
    table = alive(max_restarts=-1)

    assert table.exiting(b"w", "exit_actor() was called in it") == [Publish(X)]
    assert table.worker_gone(b"w", "it ended") == []
    assert state(table) is State.DEAD
    assert "exit_actor()" in table.actors[X].cause


# --- kill -------------------------------------------------------------------------------------------------------------


def test_kill_ends_the_process_at_once_and_for_good() -> None:
    table = alive(max_restarts=-1)

    assert table.kill(X, no_restart=True, reason="killed") == [EndWorker(b"w", False, "killed"), Publish(X)]
    assert table.worker_gone(b"w", "signal 9") == []
    assert state(table) is State.DEAD
    assert "killed" in table.actors[X].cause


def test_kill_with_restart_counts_as_a_crash() -> None:
    table = alive(max_restarts=1)

    assert table.kill(X, no_restart=False, reason="killed") == [EndWorker(b"w", False, "killed")]
    assert state(table) is State.ALIVE, "until its process has ended"
    table.worker_gone(b"w", "killed")
    assert (state(table), table.actors[X].restarts) == (State.RESTARTING, 1)


def test_kill_with_restart_of_an_actor_without_restarts_is_its_end() -> None:
    table = alive()
    table.kill(X, no_restart=False, reason="killed")
    table.worker_gone(b"w", "killed")

    assert state(table) is State.DEAD


def test_kill_with_restart_finds_nothing_to_kill_where_no_process_is() -> None:
    assert created().kill(X, no_restart=False, reason="killed") == []


def test_a_killed_actor_that_waits_for_a_worker_needs_it_no_longer() -> None:
    table = created()

    assert table.kill(X, no_restart=True, reason="killed") == [Unplace(X), Publish(X)]
    assert not table.placed(X, b"w", "address")
    assert table.started(X) == []


def test_a_killed_restarting_actor_needs_no_worker() -> None:
    table = alive(max_restarts=1)
    table.worker_gone(b"w", "it crashed")

    assert table.kill(X, no_restart=True, reason="killed") == [Unplace(X), Publish(X)]


def test_unknown_and_dead_actors_cannot_be_killed() -> None:
    table = ActorTable()
    assert table.kill(X, no_restart=True, reason="killed") == []

    table = alive()
    table.kill(X, no_restart=True, reason="first")
    assert table.kill(X, no_restart=True, reason="second") == []
    assert "first" in table.actors[X].cause


# --- out of scope -----------------------------------------------------------------------------------------------------


def test_an_unreachable_actor_ends_in_good_order() -> None:
    table = alive()

    end, publish = table.unreachable(X)
    assert isinstance(end, EndWorker)
    assert (end.worker, end.graceful, publish) == (b"w", True, Publish(X))
    assert state(table) is State.DEAD


def test_a_detached_actor_needs_no_handle() -> None:
    table = alive(detached=True)

    assert table.unreachable(X) == []
    assert state(table) is State.ALIVE


def test_an_actor_may_become_unreachable_before_its_registration_arrives() -> None:
    table = ActorTable()
    assert table.unreachable(X) == []
    table.register(actor(name="n"), get_if_exists=False)

    assert state(table) is State.DEAD
    assert "out of scope" in table.actors[X].cause
    assert table.find("space", "n") is None
    assert table.create(X, b"spec", *NEEDS) == []


# --- owners and jobs --------------------------------------------------------------------------------------------------


def test_actors_end_with_the_process_that_created_them() -> None:
    table = alive(max_restarts=-1)
    table.register(actor(Y, owner="another"), get_if_exists=False)

    assert table.owner_gone(OWNER) == [EndTogether(((b"w", 1),))]
    assert state(table, X) is State.ALIVE, "until its turn comes"
    assert table.leaves(b"w") == [Publish(X)]
    assert state(table, X) is State.DEAD
    assert "its owner" in table.actors[X].cause
    assert state(table, Y) is State.PENDING


def test_actors_end_with_their_job() -> None:
    table = alive(max_restarts=-1)
    table.register(actor(Y, job=b"another"), get_if_exists=False)

    assert table.job_ended(JOB) == [EndTogether(((b"w", 1),))]
    assert table.leaves(b"w") == [Publish(X)]
    assert state(table, X) is State.DEAD
    assert "job" in table.actors[X].cause
    assert state(table, Y) is State.PENDING


def test_actors_without_a_process_end_at_once() -> None:
    table = created()
    table.register(actor(Y), get_if_exists=False)

    assert table.job_ended(JOB) == [Unplace(X), Publish(X), Publish(Y)]


def several(*owners: str) -> ActorTable:
    """Living actors 0, 1, ... with workers w0, w1, ..., addresses a0, a1, ... and these owners."""
    table = ActorTable()
    for index, owner in enumerate(owners):
        actor_id, worker = bytes([index]), f"w{index}".encode()
        table.register(actor(actor_id, name=f"n{index}", owner=owner), get_if_exists=False)
        table.create(actor_id, b"spec", *NEEDS)
        table.placed(actor_id, worker, f"a{index}")
        table.started(actor_id)
    return table


def test_actors_that_end_together_are_numbered_in_the_order_of_their_creation() -> None:
    assert several(OWNER, OWNER, OWNER).job_ended(JOB) == [EndTogether(((b"w0", 1), (b"w1", 2), (b"w2", 3)))]


def test_what_the_actors_of_a_dead_owner_have_created_ends_with_them() -> None:
    """In one group, so that the youngest comes first there too."""
    table = several(OWNER, "a0", "a1", "another")

    assert table.owner_gone(OWNER) == [EndTogether(((b"w0", 1), (b"w1", 2), (b"w2", 3)))]
    assert table.actors[b"\3"].ending == ""


def test_a_driver_s_actors_end_with_the_others_of_its_job() -> None:
    table = several("driver", "a task")

    (end,) = table.owner_gone("driver", JOB)
    assert isinstance(end, EndTogether)
    assert set(end.members) == {(b"w0", 1), (b"w1", 2)}
    assert ("owner" in table.actors[b"\0"].ending, "job" in table.actors[b"\1"].ending) == (True, True)


def test_an_actor_that_is_ending_has_given_its_name_away() -> None:
    table = several(OWNER)
    table.job_ended(JOB)

    assert table.find("space", "n0") is None
    table.register(actor(Y, name="n0"), get_if_exists=False)
    table.leaves(b"w0")
    assert table.find("space", "n0") is table.actors[Y]


def test_an_actor_that_is_ending_ends_once() -> None:
    table = several(OWNER)
    table.actors[b"\0"].max_restarts = -1
    table.job_ended(JOB)

    assert table.job_ended(JOB) == table.owner_gone(OWNER) == table.unreachable(b"\0") == []
    assert table.worker_gone(b"w0", "it crashed") == [Publish(b"\0")], "and is not restarted"
    assert state(table, b"\0") is State.DEAD
    assert "job" in table.actors[b"\0"].cause
    assert table.leaves(b"w0") == []


def test_an_actor_that_is_ending_can_be_killed() -> None:
    table = several(OWNER)
    table.job_ended(JOB)

    assert table.kill(b"\0", no_restart=True, reason="killed") == [
        EndWorker(b"w0", False, "killed"),
        Publish(b"\0"),
    ]


def test_no_actor_outlives_its_node() -> None:
    table = alive(detached=True)

    assert table.node_leaves("its node ends") == [EndTogether(((b"w", 1),))]
    table.leaves(b"w")
    assert "its node ends" in table.actors[X].cause


@pytest.mark.parametrize("make", [created, placed, alive])
def test_a_detached_actor_survives_its_owner_and_its_job(make: Any) -> None:
    table = make(detached=True)
    before = state(table)

    assert table.owner_gone(OWNER) == []
    assert table.job_ended(JOB) == []
    assert state(table) is before


def test_a_detached_actor_whose_arguments_will_never_come_ends_with_its_owner() -> None:
    table = registered(detached=True, name="n")
    assert table.job_ended(JOB) == []

    assert table.owner_gone(OWNER) == [Publish(X)]
    assert state(table) is State.DEAD
    assert table.find("space", "n") is None


# --- the dead ---------------------------------------------------------------------------------------------------------


def test_a_dead_actor_keeps_its_cause_whatever_is_heard_later() -> None:
    table = alive(max_restarts=3)
    table.exiting(b"w", "it left")
    dead = (table.actors[X].state, table.actors[X].cause)

    assert table.failed(X, b"late") == []
    assert table.started(X) == []
    assert table.worker_gone(b"w", "late") == []
    assert table.exiting(b"w", "late") == []
    assert table.unreachable(X) == []
    assert table.owner_gone(OWNER) == []
    assert table.job_ended(JOB) == []
    assert (table.actors[X].state, table.actors[X].cause, table.actors[X].error) == (*dead, b"")


def test_there_is_no_way_back_from_death() -> None:
    assert not any(before is State.DEAD for before, _ in TRANSITIONS)
    assert not any(after is State.PENDING for _, after in TRANSITIONS)


def test_a_supervised_actor_that_is_being_stopped_ends_with_its_owner() -> None:
    table = registered(supervised=True)
    table.create(X, b"spec", *NEEDS)
    table.placed(X, b"worker", "address")
    table.started(X)
    table.park(X, "its supervisor stops it")

    assert EndTogether(((b"worker", 1),)) in table.owner_gone(OWNER)


def test_one_that_was_stopped_has_no_process_that_could_end() -> None:
    table = registered(supervised=True)
    table.create(X, b"spec", *NEEDS)
    table.placed(X, b"worker", "address")
    table.started(X)
    table.park(X, "its supervisor stops it")
    table.worker_gone(b"worker", "it has left")

    assert not any(isinstance(action, EndTogether) for action in table.owner_gone(OWNER))
