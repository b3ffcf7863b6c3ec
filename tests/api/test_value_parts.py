import functools
import threading

import pytest

from trayray.api.value_parts import parts, pickling_error


def named(value):
    """Kinds and names of the parts, and the parts by their steps."""
    found = list(parts(value))
    return [(part.kind, part.name) for part in found], {part.step: part.value for part in found}


class Base:
    __slots__ = ("left", "right")


class Derived(Base):
    @property
    def size(self):
        return 1

    @staticmethod
    def make():
        return Derived()


def test_containers():
    assert named({"a": 1}) == ([("keys", "key 'a'"), ("values", "['a']")], {" -> key 'a'": "a", "['a']": 1})
    assert named([5, (6,)]) == ([("elements", "[0]"), ("elements", "[1]")], {"[0]": 5, "[1]": (6,)})


@pytest.mark.parametrize("value", [1, "text", b"bytes", None, threading.Lock(), [], {}, ()])
def test_what_is_one_piece(value):
    assert list(parts(value)) == []


def test_slots_that_are_set():
    value = Derived()
    value.right = 2
    assert named(value) == ([("attributes", "right")], {".right": 2})


def test_a_class_has_its_functions_and_its_bases():
    kinds, values = named(Derived)
    assert ("bases", "Base") in kinds
    assert values[".size"] is Derived.__dict__["size"].fget
    assert values[".make"] is Derived.make
    assert ".__module__" not in values


def test_a_function_has_what_it_uses():
    assigned, late = 1, 2

    def function(x, y=3, *, z=4):
        def inner():
            return late, threading

        return assigned, inner, len

    kinds, values = named(function)
    assert kinds == [
        ("nonlocal variables", "assigned"),
        ("nonlocal variables", "late"),
        ("global variables", "threading"),
        ("default values", "y"),
        ("default values", "z"),
    ]
    assert values[" -> variable 'late'"] == 2
    assert values[" -> default of 'y'"] == 3


def test_a_variable_that_is_not_assigned_yet():
    def function():
        return late

    assert list(parts(function)) == []
    late = 1
    assert [part.value for part in parts(function)] == [late]


def test_bound_methods_and_partial_functions():
    value = Derived()
    assert named(value.__init__.__self__)[1] == {}
    assert named(functools.partial(max, 1, key=abs))[1] == {".func": max, ".args": (1,), ".keywords": {"key": abs}}


def test_errors_of_pickling():
    assert pickling_error({"fine": lambda: 1}) is None
    assert isinstance(pickling_error([threading.Lock()]), TypeError)
