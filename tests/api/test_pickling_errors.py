import threading
from collections import OrderedDict

import attrs
import pytest

from trayray.api.pickling_errors import describe_failure
from trayray.wire.serialization import serialize


def path_to_culprit(value):
    """What the message says between the name of the value and the reason."""
    with pytest.raises(Exception) as caught:
        serialize(value)
    text = str(describe_failure(value, "IT", caught.value))
    assert text.startswith("Could not serialize IT")
    assert str(caught.value) in text
    assert "must be picklable" in text
    return text.removeprefix("Could not serialize IT").partition(": ")[0].removeprefix(" at ")


class Holder:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class LockKey:
    """Hashable, and does not pickle."""

    def __init__(self):
        self.lock = threading.Lock()

    def __repr__(self):
        return "<key>"


@attrs.define
class Slotted:
    name: str
    lock: object


def test_a_value_that_is_the_culprit_itself():
    assert path_to_culprit(threading.Lock()) == ""


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": 1, "b": threading.Lock()}, "['b']"),
        (OrderedDict(x=[threading.Lock()]), "['x'][0]"),
        ([1, (2, threading.Lock())], "[1][1]"),
        ({LockKey(): 1}, "-> key <key>.lock"),
        (Holder(fine=1, bad=threading.Lock()), ".bad"),
        (Holder(inner=Holder(things={"key": [threading.Lock()]})), ".inner.things['key'][0]"),
        (Slotted("n", threading.Lock()), ".lock"),
    ],
    ids=["dict value", "ordered dict", "tuple", "dict key", "attribute", "deep", "slots"],
)
def test_parts_of_values(value, path):
    assert path_to_culprit(value) == path


def test_closure_variables():
    fine, lock = 1, threading.Lock()

    def function():
        return fine, lock

    assert path_to_culprit(function) == "-> variable 'lock'"


def test_functions_called_by_functions():
    lock = threading.Lock()

    def inner():
        return lock

    def outer():
        return inner()

    assert path_to_culprit(outer) == "-> variable 'inner' -> variable 'lock'"


def test_class_attributes_and_methods():
    lock = threading.Lock()

    class WithAttribute:
        shared = threading.Lock()

    class WithMethod:
        def method(self):
            return lock

    assert path_to_culprit(WithAttribute) == ".shared"
    assert path_to_culprit(WithMethod) == ".method -> variable 'lock'"


def test_the_search_ends_in_the_depths():
    value = threading.Lock()
    for _ in range(100):
        value = [value]
    path = path_to_culprit(value)
    assert path
    assert set(path) <= set("[0]")
    assert len(path) < 100


def test_the_search_ends_in_a_cycle():
    loop = [threading.Lock()]
    loop.insert(0, loop)
    assert path_to_culprit(loop).startswith("[")


class RaisesOwn:
    def __reduce__(self):
        raise ValueError("a reason of its own")


def test_whatever_reduce_raises_is_told():
    assert path_to_culprit({"odd": RaisesOwn()}) == "['odd']"
