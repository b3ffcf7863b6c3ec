import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.util.collective import arrays
from trayray.util.collective.types import Backend, ReduceOp


@given(count=st.integers(0, 50), limit=st.integers(1, 100), dtype=st.sampled_from(["u1", "f4", "f8"]))
def test_pieces_are_views_of_everything_in_order_and_none_too_large(count, limit, dtype):
    row = np.arange(count, dtype=dtype)
    pieces = arrays.pieces(row, limit)
    assert [x for piece in pieces for x in piece] == list(row)
    assert all(0 < piece.nbytes <= max(limit, row.itemsize) for piece in pieces)
    for piece in pieces:
        piece[...] = piece + 1
    assert list(row) == [x + 1 for x in range(count)]


@pytest.mark.parametrize(
    ("op", "expected"),
    [(ReduceOp.SUM, [9, 3]), (ReduceOp.PRODUCT, [24, -2]), (ReduceOp.MIN, [2, -1]), (ReduceOp.MAX, [4, 2])],
)
def test_reducing(op, expected):
    given = [np.array([2, 2]), np.array([3, -1]), np.array([4, 2])]
    if op is ReduceOp.PRODUCT:
        given[2] = np.array([4, 1])
    before = [array.copy() for array in given]
    result = arrays.reduced(given, op)
    np.testing.assert_array_equal(result, expected)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_reducing_keeps_the_type_and_the_order():
    small, large = np.float32(1), np.float32(2**24)
    contributions = [np.array([x], np.float32) for x in (large, small, small)]
    assert arrays.reduced(contributions, ReduceOp.SUM)[0] == large
    assert arrays.reduced(contributions[::-1], ReduceOp.SUM)[0] == large + 2
    assert arrays.reduced([np.array([200], np.uint8)] * 2, ReduceOp.SUM) == np.array([144], np.uint8)
    assert arrays.reduced([np.array([True]), np.array([False])], ReduceOp.MIN).dtype == bool


def test_views_are_written_through_and_copies_are_written_back():
    whole = np.zeros((4, 6))
    for array in (whole[1:3], whole[:, ::2], whole.T):
        row = arrays.flat(array)
        row[:] = np.arange(row.size)
        arrays.write_back(array, row)
        np.testing.assert_array_equal(array, np.arange(array.size).reshape(array.shape))


def read_only():
    array = np.zeros(3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("value", "error", "why"),
    [
        ([1, 2], TypeError, "the tensor must be a numpy array, not list"),
        (np.array([None]), TypeError, "the tensor holds Python objects"),
        (read_only(), ValueError, "the tensor is read-only"),
    ],
)
def test_what_is_no_tensor(value, error, why):
    with pytest.raises(error, match=why):
        arrays.array_of(value, "the tensor", written=True)


def test_read_only_arrays_may_be_read():
    assert arrays.array_of(read_only(), "the tensor", written=False).shape == (3,)


@pytest.mark.parametrize(
    ("values", "error", "why"),
    [
        (np.zeros((2, 3)), TypeError, "must be a list of arrays"),
        ([np.zeros(3)], ValueError, "has 1 arrays; the group has 2 ranks"),
        (
            [np.zeros(3), np.zeros(4)],
            ValueError,
            r"tensor_list\[1\] is float64 \(4,\) and the tensor is float64 \(3,\)",
        ),
        ([np.zeros(3), np.zeros(3, "f4")], ValueError, r"tensor_list\[1\] is float32 \(3,\)"),
        ([np.zeros(3), 3], TypeError, r"tensor_list\[1\] must be a numpy array"),
    ],
)
def test_what_is_no_list_of_tensors(values, error, why):
    with pytest.raises(error, match=why):
        arrays.arrays_of(values, "tensor_list", 2, np.zeros(3), written=True)


def test_what_cannot_be_reduced():
    for dtype in ("U3", "M8[s]", "V4"):
        with pytest.raises(TypeError, match="cannot be reduced"):
            arrays.check_reducible(np.zeros(2, dtype))


def test_backends():
    assert {Backend(name) for name in ("gloo", "GLOO", "cpu", "trayray")} == {"gloo", "cpu", "trayray"}
    with pytest.raises(ValueError, match="NCCL backend moves arrays between GPUs"):
        Backend("NCCL")
    with pytest.raises(ValueError, match="no collective backend 'mpi'"):
        Backend("mpi")


def test_numpy_is_needed_only_where_it_is_used():
    program = "import sys; sys.modules['numpy'] = None; import trayray.util.collective"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
