"""Arithmetic with resources is exact."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.model.resources import UNITS_PER_ONE, ResourceSet

units = st.dictionaries(st.sampled_from(["CPU", "GPU", "memory", "slot"]), st.integers(0, 10**15))
sets = units.map(ResourceSet.from_units)


@given(sets, sets)
def test_subtraction_undoes_addition(a: ResourceSet, b: ResourceSet):
    assert a + b - b == a
    assert hash(a + b - b) == hash(a)


@given(sets, sets, sets)
def test_addition_commutes_and_associates(a: ResourceSet, b: ResourceSet, c: ResourceSet):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + ResourceSet() == a


@given(sets, sets)
def test_subtraction_is_possible_exactly_if_covered(a: ResourceSet, b: ResourceSet):
    if a.covers(b):
        assert a - b + b == a
    else:
        with pytest.raises(ValueError, match="Cannot take"):
            a - b
    assert (a + b).covers(b)


@given(sets, sets)
def test_covering_each_other_is_equality(a: ResourceSet, b: ResourceSet):
    assert (a.covers(b) and b.covers(a)) == (a == b)


@given(units)
def test_amounts_match_a_plain_mapping_of_fractions(amounts: dict[str, int]):
    made = ResourceSet.from_units(amounts)
    assert {name: Fraction(made.units(name), UNITS_PER_ONE) for name in made} == {
        name: Fraction(value, UNITS_PER_ONE) for name, value in amounts.items() if value
    }
    assert made.is_empty() == (not any(amounts.values()))


@given(st.lists(st.integers(1, 10 * UNITS_PER_ONE), min_size=1, max_size=50))
def test_fractional_sums_are_exact(parts: list[int]):
    total = ResourceSet()
    for part in parts:
        total += ResourceSet.of({"GPU": part / UNITS_PER_ONE})
    assert total.units("GPU") == sum(parts)
    for part in parts:
        total -= ResourceSet.of({"GPU": part / UNITS_PER_ONE})
    assert total.is_empty()


@given(units)
def test_floats_rebuild_the_set(amounts: dict[str, int]):
    # 10**15 units still fit a float's 53 bits.
    made = ResourceSet.from_units(amounts)
    assert ResourceSet.of(made.to_dict()) == made
