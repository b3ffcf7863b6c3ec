from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.node.metrics_table import GAUGE_SECONDS, MetricTable, exported_name
from trayray.wire.report_messages import COUNTER, GAUGE, HISTOGRAM, MetricUpdate


def update(name="m", kind=COUNTER, points=(((), (1.0,)),), boundaries=(), description=""):
    return MetricUpdate(name, kind, description, boundaries, list(points))


def samples(table, now=0.0):
    """Values by (name with suffix, labels but those that all have)."""
    return {
        (family.name + sample.suffix, frozenset(sample.labels) - {("Component", "core_worker")}): sample.value
        for family in table.families(now)
        for sample in family.samples
    }


def labels(**pairs):
    return frozenset(pairs.items())


def test_counters_are_summed_over_processes_and_stay():
    table = MetricTable()

    assert table.merge([update()], "w1", "01") == []
    assert table.merge([update(points=[((), (2.0,))])], "w2", "01") == []
    table.merge([update(points=[((), (8.0,))])], "w3", "02")
    table.process_gone("w1", 0.0)

    assert samples(table, 1e9) == {
        ("ray_m_total", labels(JobId="01")): 3,
        ("ray_m_total", labels(JobId="02")): 8,
    }


def test_gauges_belong_to_their_process():
    table = MetricTable()

    table.merge([update(kind=GAUGE, points=[((), (1.0,))])], "w1", "01")
    table.merge([update(kind=GAUGE, points=[((), (5.0,))])], "w2", "01")
    table.merge([update(kind=GAUGE, points=[((), (2.0,))])], "w1", "01")

    assert samples(table) == {
        ("ray_m", labels(JobId="01", WorkerId="w1")): 2,
        ("ray_m", labels(JobId="01", WorkerId="w2")): 5,
    }


def test_gauges_of_a_process_go_a_while_after_it():
    table = MetricTable()
    table.merge([update(kind=GAUGE)], "w1", "01")
    table.merge([update(kind=GAUGE)], "w2", "01")

    table.process_gone("w1", 100.0)

    assert len(samples(table, 100.0 + GAUGE_SECONDS)) == 2
    assert samples(table, 100.1 + GAUGE_SECONDS) == {("ray_m", labels(JobId="01", WorkerId="w2")): 1}


def test_histograms_are_summed_by_bucket():
    table = MetricTable()
    boundaries = (1.0, 2.5)

    table.merge([update("h", HISTOGRAM, [((), (5.0, 1.0, 2.0, 0.0))], boundaries)], "w1", "01")
    table.merge([update("h", HISTOGRAM, [((), (9.0, 0.0, 0.0, 1.0))], boundaries)], "w2", "01")

    assert samples(table) == {
        ("ray_h_bucket", labels(JobId="01", le="1.0")): 1,
        ("ray_h_bucket", labels(JobId="01", le="2.5")): 3,
        ("ray_h_bucket", labels(JobId="01", le="+Inf")): 4,
        ("ray_h_count", labels(JobId="01")): 4,
        ("ray_h_sum", labels(JobId="01")): 14,
    }


@pytest.mark.parametrize(
    ("name", "exported"), [("a", "ray_a_total"), ("a_total", "ray_a_total"), ("_total", "ray__total")]
)
def test_counters_end_in_total_once(name, exported):
    assert exported_name(name, COUNTER) == exported


def test_tags_become_labels():
    table = MetricTable()
    tags = (("a-b", "1"), ("2nd", "2"), ("JobId", "mine"), ("le", "3"))

    table.merge([update("h", HISTOGRAM, [(tags, (1.0, 1.0, 0.0))], (1.0,))], "w", "01")

    found = labels(a_b="1", _2nd="2", JobId="mine", _le="3")
    assert samples(table)["ray_h_count", found] == 1


def test_a_metric_of_two_kinds_is_told_once_and_the_first_counts():
    table = MetricTable()
    table.merge([update("a", GAUGE)], "w1", "01")

    (complaint,) = table.merge([update("a", HISTOGRAM, [((), (1.0, 1.0, 0.0))], (1.0,))], "w2", "01")
    assert "'a'" in complaint
    assert table.merge([update("a", HISTOGRAM, [((), (1.0, 1.0, 0.0))], (1.0,))], "w2", "01") == []

    assert samples(table) == {("ray_a", labels(JobId="01", WorkerId="w1")): 1}


def test_series_are_limited_and_room_comes_back():
    table = MetricTable(max_series=2)
    many = [((("id", str(number)),), (1.0,)) for number in range(5)]

    (complaint,) = table.merge([update("g", GAUGE, many)], "w1", "01")

    assert "2 series" in complaint
    assert (len(samples(table)), table.dropped) == (2, 3)
    table.process_gone("w1", 0.0)
    assert samples(table, GAUGE_SECONDS + 1) == {}
    assert table.merge([update("c")], "w2", "01") == []
    assert len(samples(table)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(update(kind=7), id="unknown kind"),
        pytest.param(update(points=[((), (1.0, 2.0))]), id="a counter of two numbers"),
        pytest.param(
            update(kind=HISTOGRAM, points=[((), (1.0, 2.0))], boundaries=(1.0, 2.0)), id="a bucket is missing"
        ),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(wrong):
    with pytest.raises(ValueError, match="metric 'm'"):
        MetricTable().merge([wrong], "w", "01")


workers = st.sampled_from(["w1", "w2", "w3"])
events = st.lists(
    st.one_of(
        st.tuples(st.just(COUNTER), workers, st.sampled_from("ab"), st.integers(1, 9)),
        st.tuples(st.just(GAUGE), workers, st.sampled_from("ab"), st.integers(-9, 9)),
        st.tuples(st.just(None), workers, st.just(""), st.integers(1, 40)),
    ),
    max_size=40,
)


@given(events)
def test_it_agrees_with_a_plain_sum(events):
    """A process that ends comes back as another one with the same place in the model."""
    table, now = MetricTable(), 0.0
    sums, gauges, gone = Counter(), {}, {}
    lives = defaultdict(int)
    for kind, place, tag, number in events:
        worker = f"{place}.{lives[place]}"
        point = [((("tag", tag),), (float(number),))]
        if kind is None:
            now += number
            table.process_gone(worker, now)
            gone[worker] = now
            lives[place] += 1
        else:
            table.merge([update("c" if kind == COUNTER else "g", kind, point)], worker, "01")
            if kind == COUNTER:
                sums[tag] += number
            else:
                gauges[worker, tag] = number
    expected = {("ray_c_total", labels(JobId="01", tag=tag)): value for tag, value in sums.items()} | {
        ("ray_g", labels(JobId="01", WorkerId=worker, tag=tag)): value
        for (worker, tag), value in gauges.items()
        if now - gone.get(worker, now) <= GAUGE_SECONDS
    }

    assert samples(table, now) == expected
