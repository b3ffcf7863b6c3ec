import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from trayray.node.metrics_text import Family, Sample, exposition, label_name, number

# Whatever UTF-8 can hold, but for ends of lines that only Python knows: the parser splits at them.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))
numbers = st.floats() | st.integers(-(10**12), 10**12).map(float)


def same(first, second):
    return first == second or (math.isnan(first) and math.isnan(second))


@given(texts, st.lists(st.tuples(texts, numbers), max_size=4, unique_by=lambda pair: pair[0]))
def test_prometheus_reads_what_was_written(help_text, values):
    family = Family("ray_g", "gauge", help_text)
    for tag, value in values:
        family.add(value, tag=tag)

    (read,) = text_string_to_metric_families(exposition([family], (("node", "n"),)))

    assert (read.name, read.type) == ("ray_g", "gauge")
    assert [(sample.name, sample.labels) for sample in read.samples] == [
        ("ray_g", {"node": "n", "tag": tag}) for tag, _ in values
    ]
    assert all(same(sample.value, value) for sample, (_, value) in zip(read.samples, values, strict=True))


def test_histograms_and_counters():
    counter = Family("ray_c_total", "counter", "c", [Sample((), 3)])
    buckets = [Sample((("le", "1.0"),), 1, "_bucket"), Sample((("le", "+Inf"),), 2, "_bucket")]
    histogram = Family("ray_h", "histogram", "h", [*buckets, Sample((), 2, "_count"), Sample((), 9, "_sum")])

    read = {family.name: family for family in text_string_to_metric_families(exposition([counter, histogram], ()))}

    assert read["ray_c"].type == "counter"
    assert [(s.name, s.labels, s.value) for s in read["ray_h"].samples] == [
        ("ray_h_bucket", {"le": "1.0"}, 1),
        ("ray_h_bucket", {"le": "+Inf"}, 2),
        ("ray_h_count", {}, 2),
        ("ray_h_sum", {}, 9),
    ]


def test_a_name_has_one_block_of_one_kind():
    families = [
        Family("a", "gauge", "first", [Sample((("x", "1"),), 1)]),
        Family("b", "gauge", "", [Sample((), 2)]),
        Family("a", "gauge", "second", [Sample((("x", "2"),), 3)]),
        Family("a", "histogram", "another kind", [Sample((), 4, "_sum")]),
    ]

    text = exposition(families, ())

    assert text == (
        "# HELP a first\n# TYPE a gauge\n"
        'a{x="1"} 1.0\na{x="2"} 3.0\n'
        "# HELP b \n# TYPE b gauge\n"
        "b{} 2.0\n"
    )  # fmt: skip


def test_labels_of_a_sample_come_before_common_ones():
    assert 'a{ip="own"} 1.0' in exposition([Family("a", "gauge", "", [Sample((("ip", "own"),), 1)])], (("ip", "all"),))


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1.0"), (0.1, "0.1"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")]
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("text", "name"), [("a", "a"), ("a-b.c", "a_b_c"), ("1a", "_1a"), ("", "_"), ("é", "_")])
def test_label_names(text, name):
    assert label_name(text) == name
