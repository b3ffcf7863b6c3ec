import math
import pickle

import pytest

from trayray.model.resources import ResourceSet


def test_amounts_are_read_back_as_floats_without_zeros():
    amounts = ResourceSet.of({"CPU": 4, "GPU": 0.5, "memory": 2**40, "none": 0})
    assert amounts.to_dict() == {"CPU": 4.0, "GPU": 0.5, "memory": float(2**40)}
    assert all(type(amount) is float for amount in amounts.to_dict().values())
    assert "none" not in amounts
    assert amounts.get("none") == 0
    assert amounts.units("GPU") == 5000
    assert list(amounts) == ["CPU", "GPU", "memory"]
    assert len(amounts) == 3


def test_amounts_are_rounded_to_a_ten_thousandth():
    assert ResourceSet.of({"a": 1.00001}) == ResourceSet.of({"a": 1})
    assert ResourceSet.of({"a": 0.1}) + ResourceSet.of({"a": 0.2}) == ResourceSet.of({"a": 0.3})
    assert ResourceSet.of({"a": 0.0001}).units("a") == 1


@pytest.mark.parametrize(
    ("amount", "error", "says"),
    [
        (-1, ValueError, "The quantity of resource slot cannot be negative"),
        (0.00001, ValueError, "The precision of the fractional quantity of resource slot cannot go beyond 0.0001"),
        (math.nan, ValueError, "slot must be a finite number"),
        (math.inf, ValueError, "slot must be a finite number"),
        ("1", TypeError, "slot must be a number.*str"),
    ],
)
def test_impossible_amounts_are_refused(amount: float, error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        ResourceSet.of({"slot": amount})


def test_subtraction_below_zero_names_the_resource_and_both_amounts():
    with pytest.raises(ValueError, match=r"2\.0 of resource GPU out of 0\.5"):
        ResourceSet.of({"CPU": 1, "GPU": 0.5}) - ResourceSet.of({"GPU": 2})
    with pytest.raises(ValueError, match=r"1\.0 of resource GPU out of 0\.0"):
        ResourceSet() - ResourceSet.of({"GPU": 1})


def test_nothing_is_left_of_all():
    amounts = ResourceSet.of({"CPU": 1})
    assert (amounts - amounts).is_empty()
    assert amounts - amounts == ResourceSet()
    assert not amounts.is_empty()


def test_operands_are_not_changed():
    one, two = ResourceSet.of({"CPU": 1}), ResourceSet.of({"CPU": 2, "GPU": 1})
    _ = two + one, two - one
    two.to_dict()["CPU"] = 9
    two.to_units()["CPU"] = 9
    assert one.to_dict() == {"CPU": 1}
    assert two.to_dict() == {"CPU": 2, "GPU": 1}


def test_equal_sets_hash_alike_whatever_their_order():
    one, two = ResourceSet.of({"a": 1, "b": 2}), ResourceSet.of({"b": 2.0, "a": 1.0, "c": 0})
    assert one == two
    assert {one: "found"}[two] == "found"
    assert one != {"a": 1}


def test_units_and_pickles_rebuild_the_set():
    amounts = ResourceSet.of({"a": 1.25, "b": 2})
    assert ResourceSet.from_units(amounts.to_units()) == amounts
    assert pickle.loads(pickle.dumps(amounts)) == amounts
    assert ResourceSet.from_units({"a": 0}).is_empty()
    with pytest.raises(ValueError, match="a cannot be negative"):
        ResourceSet.from_units({"a": -1})


def test_repr_shows_the_amounts():
    assert repr(ResourceSet.of({"CPU": 1.5})) == "ResourceSet({'CPU': 1.5})"
