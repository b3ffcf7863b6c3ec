"""`trayray.core.leases`, one promise at a time; arbitrary histories are in tests/property."""

import pytest

from trayray.core.leases import Action, Contention, Granted, LeaseTable, NeedWorkers, Resumed
from trayray.model.resources import ResourceSet

A, B = b"job a", b"job b"
ONE_CPU = ResourceSet.of({"CPU": 1})


def table_of(workers: int = 0, **total: float) -> LeaseTable:
    """A node with one CPU if nothing else is said, and workers "w0", "w1"... that have no job yet."""
    table = LeaseTable(ResourceSet.of(total or {"CPU": 1}))
    for number in range(workers):
        table.worker_started(b"w%d" % number)
    return table


def want(table: LeaseTable, client: bytes, total: int = 1, key: int = 1, job: bytes = A, **resources: float) -> None:
    """The client declares a class (one CPU if nothing else is said) and wants leases of it."""
    table.define(client, key, ResourceSet.of(resources or {"CPU": 1}), job, "f")
    table.want(client, key, total)


def grants(actions: list[Action]) -> list[Granted]:
    return [action for action in actions if isinstance(action, Granted)]


def clients(actions: list[Action]) -> list[bytes]:
    return [granted.client for granted in grants(actions)]


def needed(actions: list[Action]) -> list[NeedWorkers]:
    return [action for action in actions if isinstance(action, NeedWorkers)]


def contention(actions: list[Action]) -> set[Contention]:
    return {action for action in actions if isinstance(action, Contention)}


def available(table: LeaseTable) -> dict[str, float]:
    table.check_invariants()
    return table.available.to_dict()


# --- demands and grants -----------------------------------------------------------------------------------------------


def test_a_lease_is_granted_with_what_it_holds() -> None:
    table = table_of(1, CPU=2, GPU=1)
    want(table, b"c", CPU=1, GPU=1)

    assert table.schedule() == [Granted(b"c", 1, 1, b"w0")]
    assert available(table) == {"CPU": 1}


def test_demands_are_totals_from_the_beginning() -> None:
    table = table_of(3, CPU=3)
    want(table, b"c", 2)
    assert len(grants(table.schedule())) == 2

    table.want(b"c", 1, 2)
    assert grants(table.schedule()) == []
    table.want(b"c", 1, 3)
    assert len(grants(table.schedule())) == 1


def test_a_demand_may_be_taken_back() -> None:
    table = table_of(1)
    want(table, b"c", 1)
    table.want(b"c", 1, 0)

    assert table.schedule() == []


def test_a_class_must_be_defined_before_it_is_wanted() -> None:
    with pytest.raises(KeyError):
        table_of().want(b"c", 1, 1)


def test_nothing_is_oversubscribed() -> None:
    table = table_of(5, CPU=3)
    want(table, b"c", 5)

    assert len(grants(table.schedule())) == 3
    assert available(table) == {}


def test_equal_demands_are_served_in_the_order_in_which_they_began_to_wait() -> None:
    table = table_of(1)
    for client in (b"first", b"second"):
        want(table, client)
    want(table, b"third")
    table.want(b"second", 1, 0)
    table.want(b"second", 1, 1)

    served: list[bytes] = []
    for _ in range(3):
        (granted,) = grants(table.schedule())
        served.append(granted.client)
        table.returned(granted.lease)
    assert served == [b"first", b"third", b"second"]


def test_who_gives_a_lease_back_though_it_waits_for_more_has_had_its_turn() -> None:
    table = table_of(1)
    want(table, b"first", 2)
    want(table, b"second")
    (granted,) = grants(table.schedule())
    table.returned(granted.lease)

    assert (granted.client, clients(table.schedule())) == (b"first", [b"second"])


def test_who_wants_more_while_waiting_keeps_its_place() -> None:
    table = table_of(1)
    want(table, b"first", 1)
    want(table, b"second", 1)
    table.want(b"first", 1, 2)

    assert clients(table.schedule()) == [b"first"]


def test_resources_are_kept_for_whoever_waits_longest_while_a_worker_starts() -> None:
    table = table_of()
    want(table, b"first", job=A)
    assert needed(table.schedule()) == [NeedWorkers(A, 1)]
    table.idle[B] = [b"w of b"]
    want(table, b"second", job=B)

    assert grants(table.schedule()) == []
    table.worker_started(b"w")
    assert clients(table.schedule()) == [b"first"]


def test_what_the_node_does_not_have_is_neither_granted_nor_in_anybody_s_way() -> None:
    table = table_of(1)
    want(table, b"big", CPU=2)
    want(table, b"odd", GPU=1)
    want(table, b"small")

    assert clients(table.schedule()) == [b"small"]
    assert not table.feasible(ResourceSet.of({"CPU": 2}))
    assert table.feasible(ONE_CPU)


def test_what_is_placed_by_more_than_it_holds_needs_a_node_that_has_it() -> None:
    table = table_of(2)
    table.define(b"c", 1, ResourceSet(), A, "Actor", placement=ONE_CPU)
    table.define(b"c", 2, ResourceSet(), A, "Actor", placement=ResourceSet.of({"CPU": 2}))
    table.want(b"c", 1, 1)
    table.want(b"c", 2, 1)

    assert [granted.key for granted in grants(table.schedule())] == [1]
    assert available(table) == {"CPU": 1}


# --- workers ----------------------------------------------------------------------------------------------------------


def test_missing_workers_are_asked_for_once() -> None:
    table = table_of(CPU=2)
    want(table, b"c", 2)

    assert table.schedule() == [NeedWorkers(A, 2)]
    assert table.schedule() == []


def test_no_more_workers_are_asked_for_than_resources_allow() -> None:
    table = table_of(CPU=2)
    want(table, b"c", 5)

    assert table.schedule() == [NeedWorkers(A, 2)]


def test_workers_of_two_jobs_start_at_the_same_time() -> None:
    table = table_of(CPU=2)
    want(table, b"a", job=A)
    want(table, b"b", job=B)

    assert table.schedule() == [NeedWorkers(A, 1), NeedWorkers(B, 1)]
    assert table.starting == 2


def test_workers_on_their_way_are_counted_once() -> None:
    table = table_of(CPU=2)
    table.starting = 1
    want(table, b"a", job=A)
    want(table, b"b", job=B)

    assert table.schedule() == [NeedWorkers(B, 1)]


def test_a_started_worker_serves_and_is_awaited_no_longer() -> None:
    table = table_of()
    want(table, b"c")
    table.schedule()
    table.worker_started(b"w")

    assert table.starting == 0
    assert clients(table.schedule()) == [b"c"]


def test_a_worker_that_could_not_start_is_replaced() -> None:
    table = table_of()
    want(table, b"c")
    table.schedule()
    table.worker_failed_to_start()

    assert table.schedule() == [NeedWorkers(A, 1)]


def test_a_worker_serves_one_lease_at_a_time() -> None:
    table = table_of(1, CPU=2)
    want(table, b"c", 2)

    assert table.schedule() == [Granted(b"c", 1, 1, b"w0"), NeedWorkers(A, 1)]


def test_a_returned_worker_is_used_again_by_its_job() -> None:
    table = table_of(1)
    want(table, b"c", 2)
    (first,) = grants(table.schedule())
    table.returned(first.lease)

    assert [granted.worker for granted in grants(table.schedule())] == [b"w0"]


def test_a_worker_never_serves_a_second_job() -> None:
    table = table_of(1)
    want(table, b"a", job=A)
    (first,) = grants(table.schedule())
    table.returned(first.lease)
    want(table, b"b", job=B)

    assert table.schedule() == [NeedWorkers(B, 1)]
    table.worker_started(b"w1")
    assert [granted.worker for granted in grants(table.schedule())] == [b"w1"]


def test_a_worker_that_is_not_reusable_is_forgotten() -> None:
    table = table_of(1)
    want(table, b"c", 2)
    (first,) = grants(table.schedule())
    table.returned(first.lease, reusable=False)

    assert table.schedule() == [NeedWorkers(A, 1)]


def test_a_lease_comes_back_once() -> None:
    table = table_of(1)
    want(table, b"c")
    (granted,) = grants(table.schedule())

    held = table.returned(granted.lease)
    assert held is not None
    assert held.worker == b"w0"
    assert table.returned(granted.lease) is None
    assert available(table) == {"CPU": 1}


def test_a_dead_worker_s_lease_ends_with_it() -> None:
    table = table_of(1)
    want(table, b"c")
    (granted,) = grants(table.schedule())

    held = table.worker_gone(b"w0")
    assert held is not None
    assert held.lease == granted.lease
    assert available(table) == {"CPU": 1}
    assert table.returned(granted.lease) is None, "the owner's own return crosses the news"


def test_a_dead_idle_worker_is_not_granted() -> None:
    table = table_of(1)
    assert table.worker_gone(b"w0") is None
    want(table, b"c")

    assert table.schedule() == [NeedWorkers(A, 1)]


def test_a_gone_client_s_leases_are_held_until_their_workers_have_ended() -> None:
    table = table_of(3, CPU=3)
    want(table, b"gone", 2)
    want(table, b"other")
    table.schedule()
    table.want(b"gone", 1, 5)

    assert {held.worker for held in table.client_gone(b"gone")} == {b"w2", b"w1"}
    assert available(table) == {}, "they may still be cleaning up"
    assert {client for client, _ in table.demands} == {b"other"}
    assert table.client_gone(b"gone") == []
    for worker in (b"w2", b"w1"):
        table.worker_gone(worker)
    assert available(table) == {"CPU": 2}
    assert table.idle.get(A, []) == [], "their workers may still run its tasks"


def test_idle_workers_beyond_the_limit_are_taken_those_without_a_job_last() -> None:
    table = table_of(2, CPU=4)
    table.idle[A] = [b"a0", b"a1"]

    assert table.take_idle(3) == [b"a0"]
    assert table.take_idle(3) == []
    assert table.take_idle(1) == [b"a1", b"w0"]


def test_a_taken_worker_that_others_depend_on_serves_its_job_again() -> None:
    table = table_of()
    table.idle[A] = [b"a0"]
    table.take_idle(0)
    table.stays_idle(b"a0", A)
    want(table, b"c", job=A)

    assert [granted.worker for granted in grants(table.schedule())] == [b"a0"]


def test_only_a_taken_worker_that_has_not_ended_stays_idle() -> None:
    table = table_of(2)
    table.stays_idle(b"w0", A)
    table.take_idle(1)
    table.worker_gone(b"w0")
    table.stays_idle(b"w0", A)

    assert table.idle == {b"": [b"w1"]}


def test_an_ended_job_s_idle_workers_are_taken() -> None:
    table = table_of(1)
    table.idle[A] = [b"a0"]

    assert table.take_idle_of(A) == [b"a0"]
    assert table.take_idle_of(A) == []
    assert table.take_idle(0) == [b"w0"]


# --- lending ----------------------------------------------------------------------------------------------------------


def lender_and_guest() -> LeaseTable:
    """Worker w0 serves "lender" and has lent its CPU; the node's one CPU serves "guest" on w1."""
    table = table_of(2, CPU=1, GPU=1)
    table.idle[b""].reverse()  # the last one is taken first
    want(table, b"lender", CPU=1, GPU=1)
    assert [granted.worker for granted in grants(table.schedule())] == [b"w0"]
    table.lend(b"w0")
    want(table, b"guest")
    assert [granted.worker for granted in grants(table.schedule())] == [b"w1"]
    return table


def test_a_waiting_task_lends_its_cpus_and_nothing_else() -> None:
    table = table_of(1, CPU=2, GPU=1)
    want(table, b"c", CPU=2, GPU=1)
    table.schedule()
    table.lend(b"w0")

    assert available(table) == {"CPU": 2}


def test_lending_twice_lends_once() -> None:
    table = table_of(1, CPU=2)
    want(table, b"c", CPU=1)
    table.schedule()
    table.lend(b"w0")
    table.lend(b"w0")

    assert available(table) == {"CPU": 2}
    assert table.resume(b"w0")
    assert table.schedule() == [Resumed(b"w0")]
    assert available(table) == {"CPU": 1}


def test_lent_cpus_are_taken_back_when_they_are_free() -> None:
    table = table_of(1)
    want(table, b"c")
    table.schedule()
    table.lend(b"w0")

    assert table.resume(b"w0")
    assert table.schedule() == [Resumed(b"w0")]
    assert available(table) == {}
    assert not table.resume(b"w0"), "it has its CPUs"


def test_whoever_lent_cpus_gets_them_before_anybody_new() -> None:
    table = lender_and_guest()
    want(table, b"new")
    assert table.resume(b"w0")
    assert table.schedule() == [Contention(b"lender", True), Contention(b"guest", True)]

    table.returned(2)
    actions = table.schedule()

    assert Resumed(b"w0") in actions
    assert grants(actions) == []


def test_nobody_new_gets_a_part_of_the_cpus_that_are_waited_for() -> None:
    table = table_of(3, CPU=2)
    want(table, b"lender", CPU=2)
    table.schedule()
    table.lend(b"w2")
    want(table, b"guest", 2)
    assert clients(table.schedule()) == [b"guest", b"guest"]
    table.resume(b"w2")
    table.returned(2)
    want(table, b"new")

    assert grants(table.schedule()) == []
    table.returned(3)
    assert Resumed(b"w2") in table.schedule()


def test_who_needs_no_cpu_is_served_while_others_wait_for_theirs() -> None:
    table = lender_and_guest()
    table.resume(b"w0")
    table.worker_started(b"w2")
    table.define(b"gcs", 1, ResourceSet(), A, "Actor", placement=ONE_CPU)
    table.want(b"gcs", 1, 1)

    assert clients(table.schedule()) == [b"gcs"]


def test_resuming_without_having_lent_is_refused() -> None:
    table = table_of(1)
    assert not table.resume(b"w0")
    want(table, b"c")
    table.schedule()

    assert not table.resume(b"w0")


def test_a_task_without_cpus_has_none_to_lend() -> None:
    table = table_of(1, CPU=1, GPU=1)
    want(table, b"c", GPU=1)
    table.schedule()
    table.lend(b"w0")

    assert not table.resume(b"w0")
    assert available(table) == {"CPU": 1}


def test_lending_and_resuming_of_unknown_workers_is_ignored() -> None:
    table = table_of(1)
    table.lend(b"x")

    assert not table.resume(b"x")
    assert available(table) == {"CPU": 1}


def test_a_lender_that_dies_leaves_nothing_behind() -> None:
    table = lender_and_guest()
    table.resume(b"w0")
    table.worker_gone(b"w0")

    assert available(table) == {"GPU": 1}
    table.returned(2)
    assert not any(isinstance(action, Resumed) for action in table.schedule())
    assert available(table) == {"CPU": 1, "GPU": 1}


# --- contention -------------------------------------------------------------------------------------------------------


def test_holders_are_told_when_others_begin_and_cease_to_wait() -> None:
    table = table_of(1)
    want(table, b"holder")
    assert contention(table.schedule()) == set()

    want(table, b"other")
    assert contention(table.schedule()) == {Contention(b"holder", True)}
    assert contention(table.schedule()) == set(), "once"

    table.want(b"other", 1, 0)
    assert contention(table.schedule()) == {Contention(b"holder", False)}


def test_one_s_own_demand_is_no_contention() -> None:
    table = table_of(1)
    want(table, b"holder", 2)

    assert contention(table.schedule()) == set()


def test_all_holders_are_told_of_a_task_that_waits_for_its_cpus() -> None:
    table = lender_and_guest()
    table.resume(b"w0")

    assert contention(table.schedule()) == {Contention(b"guest", True), Contention(b"lender", True)}


def test_a_client_that_goes_and_comes_again_is_told_anew() -> None:
    table = table_of(2, CPU=1)
    want(table, b"other", 2)
    for _ in range(2):
        for held in table.client_gone(b"holder"):
            table.worker_gone(held.worker)
        table.want(b"other", 1, 0)
        want(table, b"holder")
        assert clients(table.schedule()) == [b"holder"]
        table.want(b"other", 1, 1)
        assert contention(table.schedule()) == {Contention(b"holder", True)}


def test_what_can_never_be_served_is_no_contention() -> None:
    table = table_of(1)
    want(table, b"holder")
    table.schedule()
    want(table, b"big", CPU=2)
    table.define(b"gcs", 1, ResourceSet(), A, "Actor", placement=ResourceSet.of({"CPU": 2}))
    table.want(b"gcs", 1, 1)

    assert contention(table.schedule()) == set()


def test_a_task_whose_cpu_went_to_its_own_actor_goes_on_without_it():
    table = LeaseTable(ResourceSet.of({"CPU": 1}))
    table.define(b"driver", 1, ResourceSet.of({"CPU": 1}), b"job", "task")
    table.define(b"gcs", 1, ResourceSet.of({"CPU": 1}), b"job", "Actor", lasting=True)
    table.want(b"driver", 1, 1)
    for worker in (b"task worker", b"actor worker"):
        table.starting += 1
        table.worker_started(worker)
    granted = [action for action in table.schedule() if isinstance(action, Granted)]
    assert [action.client for action in granted] == [b"driver"]
    worker = granted[0].worker
    table.lend(worker)
    table.want(b"gcs", 1, 1)
    assert [action.client for action in table.schedule() if isinstance(action, Granted)] == [b"gcs"]

    table.resume(worker)

    assert Resumed(worker) in table.schedule()
    assert table.available.is_empty()
    table.check_invariants()


def test_what_a_task_got_on_credit_is_taken_as_soon_as_it_is_free():
    table = LeaseTable(ResourceSet.of({"CPU": 1}))
    table.define(b"driver", 1, ResourceSet.of({"CPU": 1}), b"job", "task")
    table.define(b"gcs", 1, ResourceSet.of({"CPU": 1}), b"job", "Actor", lasting=True)
    table.want(b"driver", 1, 1)
    for worker in (b"one", b"two"):
        table.starting += 1
        table.worker_started(worker)
    (task,) = (action for action in table.schedule() if isinstance(action, Granted))
    table.lend(task.worker)
    table.want(b"gcs", 1, 1)
    (actor,) = (action for action in table.schedule() if isinstance(action, Granted))
    table.resume(task.worker)
    table.schedule()

    table.worker_gone(actor.worker)
    table.schedule()

    assert table.available.is_empty()
    assert table.leases[task.lease].held == ResourceSet.of({"CPU": 1})
    table.check_invariants()
