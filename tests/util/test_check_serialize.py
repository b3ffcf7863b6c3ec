import functools
import io
import threading

import pytest

from trayray.util.check_serialize import inspect_serializability

LOCK = threading.Lock()


def inspected(value, **arguments):
    """Paths of the culprits, by culprit, and the report."""
    report = io.StringIO()
    good, failures = inspect_serializability(value, print_file=report, **arguments)
    assert good == (not failures)
    return {(failure.path, id(failure.obj)) for failure in failures}, report.getvalue()


class Holder:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def uses_a_global():
    return LOCK


def local_holder():
    class Local:
        shared = LOCK

    return Local


def test_a_good_value_is_said_to_be_good(capsys):
    assert inspect_serializability([1, {"a": (2,)}]) == (True, set())
    assert "Checking Serializability of [1, {'a': (2,)}]" in capsys.readouterr().out


def test_the_culprit_itself():
    report = io.StringIO()
    good, (failure,) = inspect_serializability(LOCK, name="the lock", print_file=report)
    assert not good
    assert (failure.obj, failure.name, failure.parent, failure.path) == (LOCK, "the lock", None, ())
    assert "FailTuple(the lock [path=, obj=<unlocked" in report.getvalue()
    assert f"WARNING: Did not find non-serializable object in {LOCK}." in report.getvalue()
    assert "was found to be non-serializable. There may be multiple other undetected variables" in report.getvalue()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (type(uses_a_global)(uses_a_global.__code__, {"LOCK": LOCK}), ("LOCK",)),
        ((lambda x=LOCK: x), ("x",)),
        ((lambda *, x=LOCK: x), ("x",)),
        (functools.partial(print, LOCK), ("args", "[0]")),
        (Holder(a=1, b=LOCK), ("b",)),
        (Holder(b=LOCK).__init__, ("__self__", "b")),
        (local_holder(), ("shared",)),
        (local_holder()(), ("__class__", "shared")),
        ({"k": LOCK}, ("['k']",)),
        ([1, (2, {3: LOCK})], ("[1]", "[1]", "[3]")),
        ({"deep": [Holder(h=Holder(h=Holder(b=LOCK)))]}, ("['deep']", "[0]", "h", "h", "b")),
    ],
)
def test_culprits_inside(value, path):
    found, report = inspected(value)
    assert found == {(path, id(LOCK))}
    for name in path:
        assert f"Serializing '{name}'" in report
    assert "!!! FAIL serialization: cannot pickle '_thread.lock' object" in report
    assert "was found to be non-serializable" in report


def test_globals_of_a_function_inside_the_function():
    def outer():
        def inner():
            return LOCK

        return inner

    copy = type(outer)(outer.__code__, {"LOCK": LOCK})
    assert inspected(copy)[0] == {(("LOCK",), id(LOCK))}


def test_all_culprits_are_found_once_each():
    other = threading.Lock()
    found, report = inspected([LOCK, Holder(a=other, b=LOCK), 5])
    assert found == {(("[0]",), id(LOCK)), (("[1]", "a"), id(other))}
    assert "were found to be non-serializable" in report


def test_depth_counts_objects_and_not_containers():
    inner = Holder(b=LOCK)
    found, report = inspected([[[Holder(inner=inner)]]], depth=1)
    assert found == {(("[0]", "[0]", "[0]", "inner"), id(inner))}
    assert "a larger depth= goes on there" in report
    assert inspected([[[Holder(inner=inner)]]], depth=2)[0] == {(("[0]", "[0]", "[0]", "inner", "b"), id(LOCK))}


def test_an_object_in_itself():
    holder = Holder(lock=LOCK)
    holder.me = holder
    assert inspected(holder)[0] == {(("lock",), id(LOCK))}


class Refuses:
    """All of its parts pickle, but it does not."""

    def __init__(self):
        self.me = self
        self.fine = 1

    def __reduce__(self):
        raise ValueError("not today")


def test_a_value_whose_parts_are_all_good():
    value = Refuses()
    found, report = inspected({"v": value})
    assert found == {(("['v']",), id(value))}
    assert "!!! FAIL serialization: not today" in report
    assert "WARNING: Did not find non-serializable object in" in report


class Unprintable(Refuses):
    def __repr__(self):
        raise RuntimeError("no")


def test_values_that_cannot_be_printed():
    value = Unprintable()
    found, report = inspected([value])
    assert found == {(("[0]",), id(value))}
    assert "Unprintable" in report
