import math
import struct
from enum import IntEnum

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.wire.message_pack import pack, unpack

atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)
shared = st.recursive(atoms, lambda inner: st.lists(inner, max_size=4), max_leaves=20)


def same(a, b):
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(value=shared)
def test_what_the_table_has_comes_back_as_it_was(value):
    assert same(value, unpack(pack(value)))


@given(data=st.binary(max_size=40))
def test_any_bytes_are_a_value_of_the_table_or_a_value_error(data):
    try:
        value = unpack(data)
    except ValueError:
        return
    assert same(unpack(pack(value)), value) or value != value or "nan" in repr(value)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, b"\xc0"),
        (True, b"\xc3"),
        (7, b"\x07"),
        (-1, b"\xff"),
        (2**64 - 1, b"\xcf" + b"\xff" * 8),
        (-(2**63), b"\xd3\x80" + bytes(7)),
        (1.5, b"\xcb" + struct.pack(">d", 1.5)),
        ("é", b"\xa2\xc3\xa9"),
        (b"\x00\x01", b"\xc4\x02\x00\x01"),
        ([1, [None]], b"\x92\x01\x91\xc0"),
    ],
)
def test_the_encoding_is_messagepack(value, encoded):
    assert pack(value) == encoded


def test_floats_of_half_the_size_are_read():
    assert unpack(b"\xca" + struct.pack(">f", 0.5)) == 0.5


def test_nan_and_infinities():
    assert math.isnan(unpack(pack(math.nan)))
    assert unpack(pack([math.inf, -math.inf])) == [math.inf, -math.inf]


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ((1, 2), "the value, a tuple"),
        ({"a": 1}, "the value, a dict"),
        ([0, [1, {2}]], r"the value\[1\]\[1\], a set"),
        (Colour.RED, "the value, a Colour"),
        (np.float64(1), "the value, a float64"),
        (bytearray(b"x"), "the value, a bytearray"),
        (1j, "the value, a complex"),
    ],
)
def test_other_types_are_refused_and_not_changed(value, where):
    with pytest.raises(TypeError, match=f"^{where}, cannot be sent to another language"):
        pack(value)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, [1, 2**70]])
def test_ints_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match="an int must be in"):
        pack(value)


def test_text_that_is_not_unicode_is_refused():
    with pytest.raises(ValueError, match="cannot be sent to another language"):
        pack("\ud800")


def test_lists_inside_themselves_are_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested too deep"):
        pack(loop)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no value"),
        (b"\x92\x01", "no value"),
        (b"\x01\x01", "no value"),
        (msgspec.msgpack.encode({"a": 1}), "a dict is none of the types"),
        (msgspec.msgpack.encode(msgspec.msgpack.Ext(-1, b"\x00\x00\x00\x01")), "none of the types"),
        (msgspec.msgpack.encode([msgspec.msgpack.Ext(1, b"")]), "extension 1 is none of the types"),
    ],
)
def test_what_languages_do_not_share_is_refused(data, why):
    with pytest.raises(ValueError, match=why):
        unpack(data)


def test_one_type_of_the_callers_own():
    packed = pack([Colour.RED, 2], lambda value: b"red" if value is Colour.RED else None)

    assert unpack(packed, lambda body: {b"red": Colour.RED}[body]) == [Colour.RED, 2]
    with pytest.raises(TypeError, match="a set"):
        pack([set()], lambda value: None)
