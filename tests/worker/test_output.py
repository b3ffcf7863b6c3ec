import io
import os
import threading

import pytest

from trayray.worker import output
from trayray.worker.output import MARKER, set_output_name


@pytest.fixture
def stream(monkeypatch):
    """A worker's standard output, and what has arrived at the other end of its pipe."""
    monkeypatch.setattr(output, "_name", "")
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    stream = output._open(writing)
    os.close(writing)

    def arrived():
        try:
            return os.read(reading, 1 << 20).decode()
        except BlockingIOError:
            return ""

    yield stream, arrived
    stream.close()
    os.close(reading)


def test_no_name_no_marker(stream):
    out, arrived = stream
    print("plain", file=out)
    assert arrived() == "plain\n"


def test_a_marker_precedes_the_first_line_of_a_name_only(stream):
    out, arrived = stream
    set_output_name("one")
    print("a", file=out)
    print("b", file=out)
    set_output_name("two")
    set_output_name("one")
    print("c", file=out)
    set_output_name("two")
    print("d", file=out)
    assert arrived() == f"{MARKER}one\na\nb\nc\n{MARKER}two\nd\n"


def test_silent_names_cost_nothing(stream):
    _, arrived = stream
    for number in range(10):
        set_output_name(str(number))
    assert arrived() == ""


def test_lines_leave_at_once(stream):
    out, arrived = stream
    out.write("no end yet")
    assert arrived() == ""
    out.write(" now\n")
    assert arrived() == "no end yet now\n"


def test_what_cannot_be_encoded_is_shown_escaped(stream):
    out, arrived = stream
    print("a\udcffb", file=out)
    assert arrived() == "a\\udcffb\n"


def test_writelines_and_flush(stream):
    out, arrived = stream
    set_output_name("lines")
    out.writelines(["x\n", "y"])
    out.flush()
    assert arrived() == f"{MARKER}lines\nx\ny"


def test_it_is_a_text_stream(stream):
    out, _ = stream
    assert isinstance(out, io.TextIOBase)
    assert out.encoding == "utf-8"
    assert not out.isatty()
    with pytest.raises(TypeError):
        out.write(b"bytes")


def test_threads_lose_nothing(stream):
    out, arrived = stream
    set_output_name("threads")

    def write(number):
        for index in range(200):
            out.write(f"{number} {index}\n")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for line in arrived().splitlines() if not line.startswith(MARKER)]
    for number in range(4):
        assert [line for line in lines if line.startswith(f"{number} ")] == [f"{number} {i}" for i in range(200)]
