"""Workers' output: every line, once, whole, in order, with the right name; also the very last ones."""

# ruff: noqa: T201 -- printing is what is tested

import os
import pathlib
import re
import signal
import sys

import pytest

from tests.conftest import init_arguments
from tests.processes.waiting import eventually

LINE = re.compile(r"^\((?P<name>.*) pid=(?P<pid>\d+)\) (?P<text>.*)$")


class Shown:
    """What the driver has shown so far."""

    def __init__(self, capture):
        self._capture = capture
        self.out = self.err = ""

    def more(self):
        captured = self._capture.readouterr()
        self.out += captured.out
        self.err += captured.err
        return self

    def lines(self, stream="out"):
        return [match.groupdict() for line in getattr(self, stream).splitlines() if (match := LINE.match(line))]

    def texts(self, stream="out"):
        return [line["text"] for line in self.lines(stream)]


@pytest.fixture
def shown(capfd):
    return Shown(capfd)


@pytest.fixture
def loud(fresh_ray):
    """A cluster whose workers' output the driver shows."""

    def start(**overrides):
        fresh_ray.init(**init_arguments(log_to_driver=True, **overrides))
        return fresh_ray

    return start


def test_two_thousand_lines_of_four_workers_each(loud, shown):
    ray = loud()

    @ray.remote
    class Printer:
        def work(self, number):
            for line in range(2000):
                print(f"{number} {line} {'x' * 60}")
            return os.getpid()

    printers = [Printer.remote() for _ in range(4)]
    pids = ray.get([printer.work.remote(number) for number, printer in enumerate(printers)], timeout=60)
    ray.shutdown()
    shown.more()
    by_number = {number: [] for number in range(4)}
    for line in shown.lines():
        number, index, rest = line["text"].split(" ")
        assert (line["name"], int(line["pid"]), rest) == ("Printer", pids[int(number)], "x" * 60)
        by_number[int(number)].append(int(index))
    assert by_number == {number: list(range(2000)) for number in range(4)}


def test_lines_printed_right_before_the_end(loud, shown):
    for _ in range(3):
        ray = loud()

        @ray.remote
        def last(number):
            print(f"last words {number}")
            print(f"last error {number}", file=sys.stderr)

        ray.get([last.remote(number) for number in range(4)], timeout=30)
        ray.shutdown()
        shown.more()
        assert sorted(shown.texts()) == [f"last words {number}" for number in range(4)]
        assert sorted(shown.texts("err")) == [f"last error {number}" for number in range(4)]
        shown.out = shown.err = ""


def test_lines_of_a_worker_that_is_killed(loud, shown):
    ray = loud()

    @ray.remote(max_retries=0)
    def suicide():
        for number in range(100):
            print("before", number)
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ray.exceptions.WorkerCrashedError) as caught:
        ray.get(suicide.remote(), timeout=30)
    ray.shutdown()
    assert shown.more().texts() == [f"before {number}" for number in range(100)]
    assert "before 99" in str(caught.value), "a crash report shows the last lines"


def test_names_follow_what_prints(loud, shown):
    ray = loud(num_cpus=1)

    @ray.remote
    def named(text, end="\n"):
        print(text, end=end, flush=True)

    @ray.remote
    class Actor:
        def speak(self):
            print("from the actor")

    ray.get(named.remote("plain"), timeout=30)
    ray.get(named.options(name="renamed").remote("with options"), timeout=30)
    ray.get(named.options(name="open line").remote("no newline", end=""), timeout=30)
    ray.get(named.options(name="next").remote("after it"), timeout=30)
    ray.get(Actor.remote().speak.remote(), timeout=30)
    ray.shutdown()
    assert [(line["name"], line["text"]) for line in shown.more().lines()] == [
        ("named", "plain"),
        ("renamed", "with options"),
        ("open line", "no newline"),
        ("next", "after it"),
        ("Actor", "from the actor"),
    ]


def test_streams_are_kept_apart_and_odd_bytes_do_no_harm(loud, shown):
    ray = loud()

    @ray.remote
    def odd():
        print("é 日本 \x1b[31mred\x1b[0m")
        print("to stderr", file=sys.stderr)
        os.write(1, b"raw \xff\xfe bytes\n")
        print()
        sys.stdout.write("one\ntwo\n")

    ray.get(odd.remote(), timeout=30)
    ray.shutdown()
    shown.more()
    assert shown.texts() == ["é 日本 \x1b[31mred\x1b[0m", r"raw \xff\xfe bytes", "", "one", "two"]
    assert shown.texts("err") == ["to stderr"]


def test_a_very_long_line_arrives_whole(loud, shown):
    ray = loud()

    @ray.remote
    def long():
        print("x" * 20_000_000)

    ray.get(long.remote(), timeout=30)
    ray.shutdown()
    assert [len(text) for text in shown.more().texts()] == [20_000_000]


def test_output_of_child_processes(loud, shown):
    ray = loud()

    @ray.remote
    def parent():
        import subprocess

        subprocess.run(["echo", "from a child"], check=True)

    ray.get(parent.remote(), timeout=30)
    ray.shutdown()
    assert "from a child" in shown.more().texts()


def test_output_after_the_driver_has_stopped_listening_kills_nothing(loud, monkeypatch):
    ray = loud()
    monkeypatch.setattr(sys, "stdout", open(os.devnull, "w"))  # noqa: SIM115 -- closed on purpose
    sys.stdout.close()

    @ray.remote
    def speak():
        print("to nobody é")
        return "spoke"

    @ray.remote
    class Marker:
        def after(self):
            return "after"

    assert ray.get(speak.remote(), timeout=30) == "spoke"
    assert ray.get(Marker.remote().after.remote(), timeout=30) == "after"


def test_a_terminal_that_cannot_show_a_character(loud, monkeypatch):
    import io

    ray = loud()
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)

    @ray.remote
    def speak():
        print("naïve")

    ray.get(speak.remote(), timeout=30)
    ray.shutdown()
    assert b") na\\xefve\n" in terminal.buffer.getvalue()


def test_log_to_driver_false_is_silent_but_files_are_kept(fresh_ray, shown):
    ray = fresh_ray
    context = ray.init(**init_arguments(log_to_driver=False))

    @ray.remote
    def speak():
        print("quiet words")
        print("quiet error", file=sys.stderr)

    ray.get(speak.remote(), timeout=30)
    ray.shutdown()
    shown.more()
    assert (shown.lines(), shown.lines("err")) == ([], [])
    logs = pathlib.Path(context["session_dir"], "logs")

    def kept(suffix):
        return [text for path in logs.glob(f"worker-*{suffix}") for text in path.read_text().splitlines()]

    assert eventually(lambda: kept(".out")) == ["quiet words"]
    assert eventually(lambda: kept(".err")) == ["quiet error"]
