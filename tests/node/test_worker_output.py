import os
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.node.worker_output import LAST_LINES, OutputReader, RotatedFile
from trayray.worker.output import MARKER


class Taken:
    """What an `OutputReader` made of the bytes of a pipe."""

    def __init__(self, path):
        self.path = path
        self.published = []
        self.last = deque(maxlen=LAST_LINES)

    async def read(self, *chunks):
        reading, writing = os.pipe()
        reader = OutputReader(reading, self.path, self.last, lambda name, lines: self.published.append((name, lines)))
        for chunk in chunks:
            reader._take(chunk)
        os.close(writing)
        await reader.run()
        return self

    @property
    def lines(self):
        return [(name, line) for name, lines in self.published for line in lines]


@pytest.fixture
def taken(tmp_path):
    return Taken(tmp_path / "worker.out")


async def test_lines_and_names(taken):
    mark = MARKER.encode()
    await taken.read(b"early\n" + mark + b"one\na\nb\n", mark + b"two\nc\n")
    assert taken.published == [("", ["early"]), ("one", ["a", "b"]), ("two", ["c"])]
    assert taken.path.read_bytes() == b"early\na\nb\nc\n"
    assert list(taken.last) == ["early", "a", "b", "c"]


async def test_a_marker_in_an_open_line(taken):
    mark = MARKER.encode()
    await taken.read(mark + b"one\nopen" + mark + b"two\nnext\n")
    assert taken.lines == [("one", "open"), ("two", "next")]
    assert taken.path.read_bytes() == b"open\nnext\n"


async def test_a_line_without_an_end(taken):
    await taken.read(b"whole\nno end")
    assert taken.lines == [("", "whole"), ("", "no end")]


async def test_bytes_that_are_no_text(taken):
    await taken.read(b"\xff\xfe \xc3\xa9\n", MARKER.encode() + b"\xf0\nx\n")
    assert taken.lines == [("", r"\xff\xfe é"), (r"\xf0", "x")]
    assert taken.path.read_bytes() == b"\xff\xfe \xc3\xa9\nx\n"


async def test_only_the_last_lines_are_kept_for_reports(taken):
    await taken.read(b"".join(b"%d\n" % number for number in range(100)))
    assert list(taken.last) == [str(number) for number in range(100 - LAST_LINES, 100)]


async def test_silence_makes_no_file(taken):
    await taken.read()
    assert not taken.path.exists()


pieces = st.lists(st.sampled_from(["", "word", "ä", "\n", "\n", MARKER + "name\n", MARKER + "other\n"]), max_size=30)


@given(pieces=pieces, data=st.data())
def test_any_split_of_the_bytes_gives_the_same_lines(tmp_path_factory, pieces, data):
    stream = "".join(pieces).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    import trio

    def read(*parts):
        taken = Taken(tmp_path_factory.mktemp("output") / "file")
        trio.run(taken.read, *parts)
        return taken.lines, taken.path.read_bytes() if taken.path.exists() else b""

    assert read(*chunks) == read(stream)


# ---------------------------------------------------------------- rotation


def kept(path):
    return {entry.name: entry.read_bytes() for entry in path.parent.iterdir()}


def test_rotation(tmp_path):
    file = RotatedFile(tmp_path / "log", max_bytes=10, backups=2)
    for number in range(8):
        file.write(b"line %d\n" % number)
    file.close()
    assert kept(tmp_path / "log") == {"log": b"line 7\n", "log.1": b"line 6\n", "log.2": b"line 5\n"}


def test_lines_are_never_cut_by_rotation(tmp_path):
    file = RotatedFile(tmp_path / "log", max_bytes=10, backups=1)
    file.write(b"x" * 100 + b"\n")
    file.write(b"short\n")
    file.close()
    assert kept(tmp_path / "log") == {"log": b"short\n", "log.1": b"x" * 100 + b"\n"}


def test_an_existing_file_is_continued(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    file = RotatedFile(path, max_bytes=10, backups=1)
    file.write(b"x\n")
    file.write(b"after\n")
    file.close()
    assert kept(path) == {"log": b"after\n", "log.1": b"before\nx\n"}


def test_without_backups_nothing_is_kept(tmp_path):
    file = RotatedFile(tmp_path / "log", max_bytes=10, backups=0)
    for number in range(5):
        file.write(b"line %d\n" % number)
    file.close()
    assert kept(tmp_path / "log") == {"log": b"line 4\n"}
