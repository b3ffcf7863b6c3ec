"""`trayray.core.retries`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.core.retries import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, after_failure, retry_delay


def test_the_first_retry_comes_at_once_and_later_ones_wait_twice_as_long_each() -> None:
    assert [retry_delay(n, 0.1) for n in range(1, 6)] == [0.0, 0.1, 0.2, 0.4, 0.8]


def test_waits_start_at_the_default() -> None:
    assert retry_delay(2) == FIRST_DELAY_SECONDS


def test_no_wait_at_all_when_the_setting_is_zero() -> None:
    assert {retry_delay(n, 0.0) for n in range(1, 100)} == {0.0}


@given(st.integers(1, 10_000), st.floats(0, 100))
def test_waits_never_shrink_and_never_exceed_the_limit(failures: int, first: float) -> None:
    delay = retry_delay(failures, first)

    assert 0 <= delay <= retry_delay(failures + 1, first) <= max(first, LONGEST_DELAY_SECONDS)


@pytest.mark.parametrize(("left", "then"), [(3, 2), (1, 0), (0, None), (-1, -1)])
def test_a_failure_takes_one_retry_unless_they_are_unlimited(left: int, then: int | None) -> None:
    assert after_failure(left) == then
