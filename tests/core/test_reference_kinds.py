"""What a process's uses of an object make of it, and which references a report lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.core.reference_kinds import Kind, Total, Uses, is_actor_handle, kind_of, largest
from trayray.model.ids import creation_task_id, driver_task_id, object_id

JOB = b"\1\0\0\0"
ACTOR = b"a" * 12 + JOB
HANDLE = object_id(creation_task_id(ACTOR), 1)
OBJECT = object_id(b"t" * 8 + b"\xff" * 12 + JOB, 1)


@pytest.mark.parametrize(
    ("held", "uses", "kind"),
    [
        (1, Uses(), Kind.LOCAL_REFERENCE),
        (2, Uses(views=1), Kind.PINNED_IN_MEMORY),
        (4, Uses(views=1, pending=1, captured=1), Kind.PINNED_IN_MEMORY),
        (3, Uses(pending=1, captured=1), Kind.USED_BY_PENDING_TASK),
        (1, Uses(pending=1), Kind.USED_BY_PENDING_TASK),
        (2, Uses(captured=1), Kind.LOCAL_REFERENCE),
        (1, Uses(captured=1), Kind.CAPTURED_IN_OBJECT),
        (2, Uses(captured=1, tables=1), Kind.CAPTURED_IN_OBJECT),
        (1, Uses(tables=1), None),
        (2, Uses(tables=1), Kind.LOCAL_REFERENCE),
    ],
)
def test_the_kind_that_says_most(held: int, uses: Uses, kind: Kind | None):
    assert kind_of(OBJECT, held, uses) is kind


@pytest.mark.parametrize(
    ("held", "uses", "kind"),
    [
        (1, Uses(), Kind.ACTOR_HANDLE),
        (1, Uses(pending=1), Kind.ACTOR_HANDLE),
        (1, Uses(captured=1), Kind.ACTOR_HANDLE),
        (1, Uses(tables=1), None),
    ],
)
def test_handles(held: int, uses: Uses, kind: Kind | None):
    assert kind_of(HANDLE, held, uses) is kind


def test_ids_of_handles():
    assert is_actor_handle(HANDLE)
    assert not is_actor_handle(OBJECT)
    assert not is_actor_handle(object_id(driver_task_id(JOB), 1))
    assert not is_actor_handle(object_id(creation_task_id(ACTOR), (1 << 24) + 1))  # put by its constructor
    assert not is_actor_handle(object_id(b"t" * 8 + ACTOR, 1))  # the result of a method


@given(st.lists(st.tuples(st.integers(-1, 100), st.sampled_from(Kind))), st.integers(1, 20))
def test_what_is_not_listed_is_counted(found: list[tuple[int, Kind]], most: int):
    references = [(size, kind, number) for number, (size, kind) in enumerate(found)]

    listed, omitted = largest(references, most)

    assert len(listed) == min(most, len(found))
    rest = set(references) - set(listed)
    assert max((size for size, _, _ in rest), default=-1) <= min((size for size, _, _ in listed), default=100)
    expected: dict[Kind, Total] = {}
    for size, kind, _ in rest:
        expected.setdefault(kind, Total()).add(max(0, size))
    assert omitted == expected
