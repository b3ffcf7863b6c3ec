"""What users of `trayray.util.metrics` meet without a cluster; what reaches Prometheus is in tests/processes."""

import pickle

import pytest

from trayray.util.metrics import Counter, Gauge, Histogram
from trayray.worker.metrics import recorder

KINDS = [
    pytest.param(Counter, id="counter"),
    pytest.param(Gauge, id="gauge"),
    pytest.param(lambda name, **more: Histogram(name, boundaries=[1, 2], **more), id="histogram"),
]


@pytest.fixture(autouse=True)
def recorded():
    """What was recorded: by name, the points of the next report."""
    recorder.take()

    def take():
        return {update.name: dict(update.points) for report in recorder.take() for update in report.updates}

    yield take
    recorder.take()


@pytest.mark.parametrize("make", KINDS)
def test_info(make):
    metric = make("info", description="what it is", tag_keys=("a", "b"))

    assert metric.set_default_tags({"a": "1"}) is metric
    assert metric.info.items() >= {
        ("name", "info"),
        ("description", "what it is"),
        ("tag_keys", ("a", "b")),
    }
    assert metric.info["default_tags"] == {"a": "1"}
    assert metric.info.get("boundaries") == ([1, 2] if isinstance(metric, Histogram) else None)


def test_what_is_recorded_is_told_apart_by_tags(recorded):
    counter = Counter("apart", tag_keys=("route", "method")).set_default_tags({"method": "GET"})

    counter.inc(tags={"route": "/"})
    counter.inc(2, tags={"route": "/", "method": "POST"})
    counter.inc(0.5, {"route": "/"})

    assert recorded()["apart"] == {
        (("route", "/"), ("method", "GET")): (1.5,),
        (("route", "/"), ("method", "POST")): (2.0,),
    }


def test_a_gauge_has_its_latest_value(recorded):
    gauge = Gauge("latest")

    for value in (3, -4.5, None):
        gauge.set(value)

    assert recorded()["latest"] == {(): (-4.5,)}


def test_a_histogram_counts_what_is_at_most_a_boundary(recorded):
    histogram = Histogram("sizes", boundaries=[10, 1])

    for value in (0.5, 1, 1.5, 10, 11):
        histogram.observe(value)

    assert recorded()["sizes"] == {(): (24.0, 2, 2, 1)}


def test_all_metrics_of_a_name_are_one(recorded):
    for _ in range(3):
        Counter("shared").inc()

    assert recorded()["shared"] == {(): (3.0,)}


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_counter_only_goes_up(value, recorded):
    with pytest.raises(ValueError, match="value must be >0"):
        Counter("up").inc(value)
    assert recorded() == {}


@pytest.mark.parametrize("value", ["1", [1], None, 1j])
def test_values_are_numbers(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        Counter("number").inc(value)
    with pytest.raises(TypeError, match=type(value).__name__):
        Histogram("number_too", boundaries=[1]).observe(value)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(("keys", "text"), [("route", "tuple"), (["route"], "tuple"), ((1,), "int")])
def test_tag_keys_are_a_tuple_of_strings(make, keys, text):
    with pytest.raises(TypeError, match=text):
        make("keys", tag_keys=keys)


def test_tags_are_checked(recorded):
    counter = Counter("checked", tag_keys=("a", "b"))

    with pytest.raises(ValueError, match="Unrecognized tag key c"):
        counter.set_default_tags({"c": "1"})
    with pytest.raises(TypeError, match="int"):
        counter.set_default_tags({"a": 1})
    for tags in ("ab", ["a"]):
        with pytest.raises(TypeError, match="must be a dictionary"):
            counter.set_default_tags(tags)
        with pytest.raises(TypeError, match="must be a dictionary"):
            counter.inc(tags=tags)
        with pytest.raises(TypeError, match="must be a dictionary"):
            Counter("without_keys").inc(tags=tags)
    with pytest.raises(ValueError, match=r"Missing value for tag key\(s\): b"):
        counter.inc(tags={"a": "1"})
    with pytest.raises(TypeError, match="int"):
        counter.inc(tags={"a": "1", "b": 2})
    assert recorded() == {}


def test_tags_that_were_not_declared_are_left_out(recorded):
    Counter("undeclared", tag_keys=("a",)).inc(tags={"a": "1", "z": "2"})

    assert recorded()["undeclared"] == {(("a", "1"),): (1.0,)}


@pytest.mark.parametrize("boundaries", [None, [], ()])
def test_a_histogram_needs_boundaries(boundaries):
    with pytest.raises(ValueError, match="boundaries"):
        Histogram("unbounded", boundaries=boundaries)


@pytest.mark.parametrize("boundaries", [[0], [-1, 1], [1, float("nan")]])
def test_boundaries_are_positive(boundaries):
    with pytest.raises(ValueError, match="positive"):
        Histogram("below", boundaries=boundaries)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", ["with space", "1st", "a-b", "é", "newline\n"])
def test_a_metric_with_an_invalid_name_is_discarded(make, name, recorded):
    with pytest.warns(UserWarning, match="Invalid metric name"):
        metric = make(name)

    {Counter: Counter.inc, Gauge: Gauge.set, Histogram: Histogram.observe}[type(metric)](metric, 1)
    assert recorded() == {}


def test_no_name_is_an_error():
    with pytest.raises(ValueError, match="name"):
        Counter("")


def test_a_colon_is_warned_about_and_kept(recorded):
    with pytest.warns(FutureWarning, match="':'"):
        Counter("a:b").inc()

    assert "a:b" in recorded()


def test_a_name_cannot_be_of_two_kinds(recorded):
    counter = Counter("kind")
    with pytest.warns(UserWarning, match="'kind' is discarded"):
        Gauge("kind").set(9)
    counter.inc()

    assert recorded()["kind"] == {(): (1.0,)}


@pytest.mark.parametrize("make", KINDS)
def test_metrics_travel(make):
    metric = make("travel", description="d", tag_keys=("a",)).set_default_tags({"a": "1"})

    copy = pickle.loads(pickle.dumps(metric))

    assert type(copy) is type(metric)
    assert copy.info == metric.info
