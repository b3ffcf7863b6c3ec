import gc
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from trayray.wire import serialization
from trayray.wire.serialization import (
    ALIGNMENT,
    ArgumentSlot,
    deserialize,
    noted,
    serialize,
    serialize_arguments,
    serialize_definition,
)

plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=200),
    st.complex_numbers(allow_nan=False),
)
arrays = npst.arrays(
    dtype=st.sampled_from(["u1", "i4", "f8", "c16", "?", "U3", "M8[s]"]),
    shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    elements={"allow_nan": False},
)
buffers = st.builds(bytearray, st.binary(max_size=100))
values = st.recursive(
    plain | arrays | buffers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.sets(st.integers(), max_size=4),
    ),
    max_leaves=12,
)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


@given(value=values)
def test_any_nested_value_comes_back(value):
    serialized = serialize(value)
    payload = serialized.to_bytes()
    assert len(payload) == serialized.size
    assert same(value, deserialize(payload))
    assert same(value, deserialize(memoryview(payload)))


@given(value=values, before=st.integers(0, 3))
def test_both_layouts_are_equal(value, before):
    serialized = serialize(value)
    room = bytearray(b"\xaa" * (before * ALIGNMENT + serialized.size + 5))
    target = memoryview(room)[before * ALIGNMENT :]
    serialized.write_into(target)
    payload = serialized.to_bytes()
    assert bytes(target[: serialized.size]).replace(b"\xaa", b"\0") == payload.replace(b"\xaa", b"\0")
    assert bytes(room[-5:]) == b"\xaa" * 5, "written past the end"


@given(args=st.lists(values, max_size=3), kwargs=st.dictionaries(st.text(max_size=3), values, max_size=3))
def test_arguments_come_back(args, kwargs):
    got_args, got_kwargs = deserialize(serialize_arguments(tuple(args), kwargs).to_bytes())
    assert same((tuple(args), kwargs), (got_args, got_kwargs))


def aligned_copy(payload):
    """The payload where the arena would have it: at an address that is a multiple of 64."""
    room = np.zeros(len(payload) + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    place = memoryview(room)[start : start + len(payload)]
    place[:] = payload
    return place


def test_buffers_are_aligned_read_only_views():
    arrays = [np.arange(n, dtype="u1") for n in (1, 63, 64, 65, 1000)]
    place = aligned_copy(serialize(arrays).to_bytes())
    for array, original in zip(deserialize(place), arrays, strict=True):
        np.testing.assert_array_equal(array, original)
        assert array.ctypes.data % ALIGNMENT == 0
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            array.flags.writeable = True


def test_views_keep_the_payload_alive():
    array = deserialize(aligned_copy(serialize(np.arange(1000)).to_bytes()))[10:20]
    gc.collect()
    assert array.tolist() == list(range(10, 20))


def test_arrays_travel_beside_the_pickle_and_not_in_it():
    serialized = serialize({"array": np.zeros(100_000, np.uint8), "another": np.zeros(50_000)})
    assert len(serialized.pickled) < 1000
    assert 500_000 < serialized.size < 501_000


@pytest.mark.parametrize(
    "array",
    [
        np.arange(1000).reshape(10, 100)[::2, ::3],
        np.arange(100)[::-1],
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.zeros((0, 3)),
        np.array(5),
        np.array([None, "x", {"a": 1}], dtype=object),
        np.zeros(3, dtype=[("a", "i4"), ("b", "f8", (2,))]),
        np.broadcast_to(np.arange(3), (4, 3)),
    ],
    ids=["strided", "reversed", "fortran", "empty", "scalar", "objects", "structured", "broadcast"],
)
def test_odd_arrays(array):
    result = deserialize(serialize(array).to_bytes())
    assert (result.dtype, result.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(result, array)


def test_one_object_met_twice_stays_one():
    array, inner = np.arange(10), [1]
    first, second, *lists = deserialize(serialize([array, array, inner, inner]).to_bytes())
    assert first is second
    assert lists[0] is lists[1]


def test_plain_values_have_no_header():
    for value in (1, "text", b"bytes", None, True, 1.5):
        assert serialize(value).to_bytes() == pickle.dumps(value, 5)


def test_what_is_no_payload_is_refused():
    with pytest.raises(ValueError, match="not a payload"):
        deserialize(b"\x07" + bytes(100))


def test_argument_slots_come_back():
    args, kwargs = deserialize(serialize_arguments((ArgumentSlot(0), 1), {"x": ArgumentSlot(1)}).to_bytes())
    assert [type(args[0]), args[0].index, args[1]] == [ArgumentSlot, 0, 1]
    assert kwargs["x"].index == 1


class Reference:
    """Says that it was pickled, as references do."""

    def __reduce__(self):
        if noted.refs is not None:
            noted.refs.append(self)
        return int, (7,)


def test_references_inside_are_noted():
    first, second = Reference(), Reference()
    serialized = serialize({"a": [first], "b": (second, np.arange(3))})
    assert serialized.refs == [first, second]
    assert serialize([1]).refs == []
    assert noted.refs is None


class PicklesWithin:
    """A class whose pickling pickles something else on its own."""

    def __init__(self, inner):
        self.inner = inner

    def __reduce__(self):
        return bytes, (serialize(self.inner).to_bytes(),)


def test_a_nested_serialization_keeps_its_own_notes():
    outer, inner = Reference(), Reference()
    assert serialize([outer, PicklesWithin(inner)]).refs == [outer]


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not me")


def test_a_failure_leaves_no_notes_behind():
    with pytest.raises(RuntimeError, match="not me"):
        serialize([Reference(), Unpicklable()])
    assert noted.refs is None
    assert serialize(["fine"]).refs == []


def test_notes_belong_to_a_thread():
    seen = []

    class Meets:
        def __reduce__(self):
            thread = threading.Thread(target=lambda: seen.append(noted.refs))
            thread.start()
            thread.join()
            return int, ()

    serialize([Meets()])
    assert seen == [None]


def test_definitions_travel_without_their_module():
    offset = 10

    def shift(x):
        return x + offset

    assert deserialize(serialize_definition(shift).to_bytes())(1) == 11


@given(position=st.integers(0, 10_000))
def test_alignment(position):
    aligned = serialization._aligned(position)
    assert aligned % ALIGNMENT == 0
    assert 0 <= aligned - position < ALIGNMENT
