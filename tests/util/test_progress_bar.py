import errno
import io
import os
import pty

from hypothesis import given
from hypothesis import strategies as st

from trayray.util.progress_bar import Meter, _Bar, _Lines, open_display


def meter(done, total, desc="", failed=0):
    made = Meter(desc, total)
    made.done, made.failed, made.began = done, failed, 100.0
    return made


def read_until(text, terminal):
    """What was written, in however many pieces it comes, to the piece with the end of ``text``."""
    read = b""
    while text.encode() not in read:
        read += os.read(terminal, 100_000)
    return read.decode()


def read_to_the_end(terminal):
    """What was written to a terminal whose other side is closed."""
    read = b""
    while True:
        try:
            read += os.read(terminal, 100_000)
        except OSError as error:
            if error.errno != errno.EIO:  # so Linux says that nobody writes any more
                raise
            return read.decode()


def test_what_a_line_says():
    assert meter(0, 40).line(100.0) == "0/40, 0:00 gone"
    assert meter(12, 40, "squares").line(104.0) == "squares: 12/40, 3/s, 0:04 gone, 0:09 left"
    assert meter(40, 40, failed=2).line(3800.0) == "40/40, 92.5 s each, 1:01:40 gone, 2 failed"
    assert meter(7, None).line(102.0) == "7 done, 3.5/s, 0:02 gone"
    assert meter(0, 0).line(100.0) == "0/0, 0:00 gone"


@given(done=st.integers(0, 1000), total=st.none() | st.integers(0, 500), gone=st.floats(-1, 1e7))
def test_any_state_can_be_told(done, total, gone):
    made = meter(done, total)
    assert made.line(100.0 + gone).endswith(("gone", "left"))
    assert 0 <= made.fraction <= 1


def test_lines_are_rare_and_one_comes_at_the_end():
    file = io.StringIO()
    lines = open_display(file)
    assert isinstance(lines, _Lines)
    lines.draw(meter(0, 9), 100.0)
    lines.draw(meter(1, 9), 109.0)
    assert file.getvalue() == ""
    lines.draw(meter(2, 9), 110.0)
    lines.close(meter(9, 9), 118.0)
    assert file.getvalue() == "2/9, 0.2/s, 0:10 gone, 0:35 left\n9/9, 0.5/s, 0:18 gone\n"


def test_a_terminal_has_a_bar_that_is_erased():
    terminal, inside = pty.openpty()
    with os.fdopen(inside, "w") as file:
        bar = open_display(file)
        assert isinstance(bar, _Bar)
        bar.draw(meter(2, 8, "with [markup]"), 110.0)
        shown = read_until("0:30 left", terminal)
        bar.close(meter(8, 8), 140.0)
    erased = read_to_the_end(terminal)
    os.close(terminal)
    assert "with [markup]" in shown
    assert "2/8, 0.2/s, 0:10 gone, 0:30 left" in shown
    assert "\x1b[2K" in erased
    assert erased.rindex("\x1b[2K") > erased.rfind("2/8"), "nothing is drawn after it has been erased"
