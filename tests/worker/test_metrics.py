import os
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.wire.report_messages import COUNTER, GAUGE, HISTOGRAM, MetricReport
from trayray.worker.metrics import Recorder


def points(recorder):
    return {update.name: dict(update.points) for report in recorder.take() for update in report.updates}


def test_a_report_has_what_came_since_the_last_one():
    recorder = Recorder()
    counter = recorder.recording("c", COUNTER, "")

    assert recorder.take() == []
    counter.record(1, ())
    counter.record(2, ())
    assert points(recorder) == {"c": {(): (3.0,)}}
    assert recorder.take() == []
    counter.record(1, ())
    assert points(recorder) == {"c": {(): (1.0,)}}


def test_the_first_description_that_says_something_counts():
    recorder = Recorder()
    first = recorder.recording("c", COUNTER, "")
    recorder.recording("c", COUNTER, "said later").record(1, ())
    first.record(1, ())

    ((update,),) = (report.updates for report in recorder.take())
    assert update.description == "said later"


@pytest.mark.parametrize(("kind", "boundaries"), [(GAUGE, ()), (HISTOGRAM, (1.0,)), (HISTOGRAM, (1.0, 2.0))])
def test_one_name_is_one_metric(kind, boundaries):
    recorder = Recorder()
    first = recorder.recording("c", HISTOGRAM, "", (2.0,))

    with pytest.raises(ValueError, match="same name"):
        recorder.recording("c", kind, "", boundaries)
    assert recorder.recording("c", HISTOGRAM, "", (2.0,)) is first


def test_a_metric_that_nobody_has_is_reported_and_forgotten():
    recorder = Recorder()
    recorder.recording("c", COUNTER, "").record(1, ())

    assert points(recorder) == {"c": {(): (1.0,)}}
    recorder.recording("c", GAUGE, "").record(2, ())
    assert points(recorder) == {"c": {(): (2.0,)}}


@given(st.text(), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_whatever_text_is_recorded_can_be_sent(description, tags):
    recorder = Recorder()
    recorder.recording("c", COUNTER, description).record(1, tuple(tags.items()))

    sent = msgspec.msgpack.encode(recorder.take())
    assert msgspec.msgpack.decode(sent, type=list[MetricReport])


def test_half_a_surrogate_pair_can_be_sent():
    recorder = Recorder()
    recorder.recording("c", COUNTER, "\udcff").record(1, (("a", "\ud800"),))

    assert msgspec.msgpack.encode(recorder.take())


def test_nothing_is_lost_between_threads():
    recorder = Recorder()
    counter = recorder.recording("c", COUNTER, "")
    taken = []
    done = threading.Event()

    def record():
        for _ in range(2000):
            counter.record(1, ())

    def take():
        while not done.is_set():
            taken.append(points(recorder))

    threads = [threading.Thread(target=record) for _ in range(4)]
    reader = threading.Thread(target=take)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    taken.append(points(recorder))

    assert sum(report["c"][()][0] for report in taken if report) == 8000


def test_a_finalizer_may_record_while_its_thread_records():
    recorder = Recorder()
    counter = recorder.recording("c", COUNTER, "")

    with recorder.lock:
        counter.record(1, ())

    assert points(recorder) == {"c": {(): (1.0,)}}


def test_a_forked_child_starts_anew_whoever_held_the_lock():
    recorder = Recorder()
    counter = recorder.recording("c", COUNTER, "")
    counter.record(1, ())
    held, release = threading.Event(), threading.Event()

    def hold():
        with recorder.lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # as the hook does for the recorder of a process
        recorder.start_over()
        counter.record(5, ())
        os.write(write, repr(points(recorder)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    release.set()
    thread.join()

    assert said == repr({"c": {(): (5.0,)}})
    assert points(recorder) == {"c": {(): (1.0,)}}
