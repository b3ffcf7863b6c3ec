from hypothesis import given
from hypothesis import strategies as st

from trayray.util.collective.meetings import Meetings, Offer

PAIR = range(2)


def test_all_who_came_get_what_was_brought_for_them():
    meetings = Meetings()
    first = meetings.arrive(("call", 0), PAIR, 1, "barrier()", Offer(to_all="from 1"))
    assert not first.settled
    meeting = meetings.arrive(("call", 0), PAIR, 0, "barrier()", Offer(to_each={1: "for 1"}))

    assert meeting is first
    assert meeting.settled
    assert not meeting.failure
    assert meeting.answer(0) == {0: None, 1: "from 1"}
    assert meeting.answer(1) == {0: "for 1", 1: "from 1"}


def test_meetings_are_forgotten_when_all_know_how_they_ended():
    meetings = Meetings()
    for rank in PAIR:
        meetings.arrive(("call", 0), PAIR, rank, "barrier()", Offer())
    meetings.depart(("call", 0), 0)
    assert meetings.under_way == 1
    meetings.depart(("call", 0), 1)
    meetings.depart(("call", 0), 1)
    assert meetings.under_way == 0


def test_different_wishes_fail_for_all_at_once_also_for_those_who_come_later():
    meetings = Meetings()
    group = range(3)
    first = meetings.arrive(("call", 0), group, 0, "allreduce(SUM) of float64 (3,)", Offer())
    meetings.arrive(("call", 0), group, 2, "barrier()", Offer())
    assert (
        first.failure == "the ranks do not agree: rank 0 wants allreduce(SUM) of float64 (3,), rank 2 wants barrier()"
    )
    assert meetings.arrive(("call", 0), group, 1, "barrier()", Offer()).failure == first.failure


def test_one_rank_cannot_come_twice_and_strangers_cannot_come():
    meetings = Meetings()
    meetings.arrive(("call", 0), PAIR, 0, "barrier()", Offer())
    assert "two processes take part as rank 0" in meetings.arrive(("call", 0), PAIR, 0, "barrier()", Offer()).failure
    assert "rank 2 is none of the ranks 0 and 1" in meetings.arrive(("call", 1), PAIR, 2, "barrier()", Offer()).failure


def test_a_rank_that_is_lost_fails_what_waits_for_it_and_what_will():
    meetings = Meetings()
    waiting = meetings.arrive(("call", 0), PAIR, 0, "barrier()", Offer())
    complete = Meetings().arrive(("call", 0), [0], 0, "barrier()", Offer())
    meetings.lose(1, "rank 1 has died")
    meetings.lose(1, "rank 1 has left")

    assert waiting.failure == "rank 1 has died"
    assert meetings.arrive(("call", 1), PAIR, 0, "barrier()", Offer()).failure == "rank 1 has died"
    assert complete.settled
    meetings.depart(("call", 0), 0)
    meetings.depart(("call", 1), 0)
    assert meetings.under_way == 0


def test_what_a_lost_rank_had_brought_is_still_there():
    meetings = Meetings()
    meetings.arrive(("call", 0), PAIR, 1, "barrier()", Offer(to_all="last words"))
    meetings.lose(1, "rank 1 has died")
    meeting = meetings.arrive(("call", 0), PAIR, 0, "barrier()", Offer())
    assert not meeting.failure
    assert meeting.answer(0) == {0: None, 1: "last words"}


def test_a_rank_that_cannot_do_its_part():
    meetings = Meetings()
    waiting = meetings.arrive(("call", 0), PAIR, 0, "barrier()", Offer())
    meetings.refuse(("call", 0), PAIR, 1, "TypeError: a list")
    assert waiting.failure == "rank 1 could not take part: TypeError: a list"
    meetings.depart(("call", 0), 0)
    assert meetings.under_way == 0


def test_waiting_ends_with_the_names_of_those_who_did_not_come():
    meetings = Meetings()
    meeting = meetings.arrive(("call", 0), range(4), 2, "barrier()", Offer())
    meetings.arrive(("call", 0), range(4), 0, "barrier()", Offer())
    meetings.expire(meeting, 1.5)
    assert meeting.failure == "no rank 1 or 3 within 1.5 s for barrier(), which rank 0 and 2 waited for"
    assert meeting.timed_out
    assert meetings.arrive(("call", 0), range(4), 1, "barrier()", Offer()) is meeting


@given(
    size=st.integers(1, 4),
    steps=st.lists(
        st.tuples(st.sampled_from(["arrive", "arrive", "arrive", "refuse", "lose", "expire"]), st.integers(0, 3)),
        max_size=12,
    ),
    wishes=st.lists(st.sampled_from(["a", "a", "a", "b"]), min_size=4, max_size=4),
)
def test_a_meeting_ends_in_one_way_for_all_and_nothing_is_kept(size, steps, wishes):
    meetings, key = Meetings(), ("call", 0)
    came = {}
    for step, rank in steps:
        if rank >= size:
            continue
        if step == "lose":
            meetings.lose(rank, f"{rank} is lost")
        elif rank in came or rank in meetings.lost:
            continue
        elif step == "arrive":
            came[rank] = meetings.arrive(key, range(size), rank, wishes[rank], Offer(rank))
        elif step == "refuse":
            meetings.refuse(key, range(size), rank, "no")
            came[rank] = None
        elif came.get(rank) is not None:
            meetings.expire(came[rank], 1.0)
    for rank in range(size):
        if rank not in came and rank not in meetings.lost:
            came[rank] = meetings.arrive(key, range(size), rank, wishes[rank], Offer(rank))

    waited = {rank: meeting for rank, meeting in came.items() if meeting is not None}
    ends = {(meeting.settled, meeting.failure) for meeting in waited.values()}
    assert len({id(meeting) for meeting in waited.values()}) <= 1
    assert all(settled for settled, _ in ends)
    for meeting in waited.values():
        if not meeting.failure:
            assert {wishes[rank] for rank in meeting.arrived} == {wishes[0]}
            assert meeting.answer(0) == {rank: rank for rank in range(size)}
    for rank in waited:
        meetings.depart(key, rank)
    assert meetings.under_way == 0
