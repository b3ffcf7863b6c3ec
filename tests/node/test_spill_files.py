import errno
import os
import pathlib
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.exceptions import OutOfDiskError
from trayray.model.spilling import FILESYSTEM, SpillConfig
from trayray.node import spill_files
from trayray.node.spill_files import SpillFiles, remove_left, used_share
from trayray.node.spill_storage import SpillStorage, folder_name, open_storage

ROOT = pathlib.Path(__file__).resolve().parents[2]
NODE = b"\x01\xab" * 14
MIB = 1024 * 1024


def config(*places: object, buffer_size: int | None = None, threshold: float = 1.0) -> SpillConfig:
    return SpillConfig(FILESYSTEM, tuple(map(str, places)), buffer_size, threshold)


def opened(*places: object, at: pathlib.Path, **more: float) -> SpillStorage:
    return open_storage(config(*places, **more), NODE, at, random.Random(0))


@pytest.fixture
def storage(tmp_path):
    storage = opened(at=tmp_path / "spilled")
    yield storage
    storage.close()


def parts_of(*contents: bytes) -> list[memoryview]:
    return [memoryview(content) for content in contents]


def content_of(storage: SpillStorage, name: str, offset: int, size: int) -> bytes:
    into = bytearray(size)
    storage.read(name, offset, memoryview(into))
    return bytes(into)


def files(directory: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


# ---------------------------------------------------------------- what is written is read


def test_parts_are_fused_into_one_file(storage, tmp_path):
    spilled = storage.write(parts_of(b"first", b"", b"second", b"3"))

    assert spilled.offsets == (0, 5, 5, 11)
    assert [path.read_bytes() for path in files(tmp_path)] == [b"firstsecond3"]
    assert content_of(storage, spilled.name, 5, 6) == b"second"
    assert content_of(storage, spilled.name, 11, 1) == b"3"
    assert content_of(storage, spilled.name, 5, 0) == b""


def test_its_name_and_place(storage, tmp_path):
    path = pathlib.Path(storage.write(parts_of(b"a", b"b")).name)

    assert path.parent == tmp_path / "spilled" / f"trayray_spilled_objects_{NODE.hex()}"
    assert path.name.endswith("-multi-2")
    assert storage.local_path(str(path)) == str(path)


def test_nothing_is_a_file_too(storage):
    spilled = storage.write([])

    assert spilled.offsets == ()
    assert os.path.getsize(spilled.name) == 0


def test_parts_of_other_items_than_bytes(storage):
    numbers = memoryview(bytearray(range(48))).cast("Q")

    spilled = storage.write([numbers, memoryview(b"after")])
    into = memoryview(bytearray(48)).cast("I")
    storage.read(spilled.name, 0, into)

    assert spilled.offsets == (0, 48)
    assert into.cast("B") == bytes(range(48))


contents = st.lists(st.binary(max_size=40), max_size=40)


@given(contents=contents, batch=st.none() | st.integers(1, 50), most_pieces=st.integers(1, 5), most=st.integers(1, 60))
def test_whatever_the_system_takes_at_once(tmp_path_factory, contents, batch, most_pieces, most):
    """Cut at any place, and with system calls that take less than they are given."""
    writev, preadv = os.writev, os.preadv

    def short_writev(descriptor, pieces):
        assert len(pieces) <= most_pieces
        assert sum(piece.nbytes for piece in pieces) <= (batch or 10**9)
        (first, *_) = [piece for piece in pieces if piece.nbytes]
        return writev(descriptor, [first[:most]])

    def short_preadv(descriptor, pieces, offset):
        return preadv(descriptor, [pieces[0][:most]], offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill_files, "_MOST_PIECES", most_pieces)
        patch.setattr(os, "writev", short_writev)
        patch.setattr(os, "preadv", short_preadv)
        storage = opened(at=tmp_path_factory.mktemp("spilled"), buffer_size=batch)
        spilled = storage.write(parts_of(*contents))
        read = [
            content_of(storage, spilled.name, offset, len(content))
            for offset, content in zip(spilled.offsets, contents, strict=True)
        ]
        storage.close()

    assert read == contents


def test_more_parts_than_one_call_takes(storage):
    count = os.sysconf("SC_IOV_MAX") + 1
    spilled = storage.write([memoryview(b"xy")] * count)

    assert os.path.getsize(spilled.name) == 2 * count
    assert spilled.offsets[-1] == 2 * count - 2


def test_threads(tmp_path):
    storage = opened(tmp_path / "a", tmp_path / "b", at=tmp_path / "spilled", buffer_size=1000)

    def there_and_back(number: int) -> bool:
        contents = [bytes([number, index]) * 2000 for index in range(5)]
        spilled = storage.write(parts_of(*contents))
        same = [content_of(storage, spilled.name, at, 4000) for at in spilled.offsets] == contents
        storage.delete(spilled.name)
        return same

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(64)))
    assert files(tmp_path) == []
    storage.close()


# ---------------------------------------------------------------- directories


def test_directories_take_turns(tmp_path):
    places = [tmp_path / name for name in "abc"]
    storage = opened(*places, at=tmp_path / "spilled")

    used = [pathlib.Path(storage.write(parts_of(b"x")).name).parent.parent for _ in range(6)]

    assert sorted(used[:3]) == places
    assert used[3:] == used[:3]
    storage.close()


def test_any_directory_may_be_the_first(tmp_path):
    firsts = set()
    for seed in range(20):
        storage = open_storage(config(tmp_path / "a", tmp_path / "b"), NODE, tmp_path, random.Random(seed))
        firsts.add(pathlib.Path(storage.write(parts_of(b"x")).name).parent.parent.name)
        storage.close()

    assert firsts == {"a", "b"}


def test_only_its_user_can_enter(storage, tmp_path):
    before = os.umask(0)
    try:
        spilled = storage.write(parts_of(b"x"))
        other = opened(tmp_path / "deep" / "er", at=tmp_path / "default")
    finally:
        os.umask(before)

    assert stat.S_IMODE(os.stat(spilled.name).st_mode) == 0o600
    assert stat.S_IMODE(pathlib.Path(spilled.name).parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "deep" / "er" / folder_name(NODE)).stat().st_mode) == 0o700
    other.close()


def test_a_folder_that_others_could_enter_is_closed_to_them(tmp_path):
    folder = tmp_path / folder_name(NODE)
    folder.mkdir()
    folder.chmod(0o777)

    storage = opened(at=tmp_path)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    storage.close()


@pytest.mark.parametrize("what", ["link", "file", "foreign"])
def test_something_else_in_the_folders_place(tmp_path, monkeypatch, what):
    folder, other = tmp_path / "place" / folder_name(NODE), tmp_path / "other"
    other.mkdir()
    folder.parent.mkdir()
    match what:
        case "link":
            folder.symlink_to(other)
        case "file":
            folder.touch()
        case _:
            folder.mkdir()
            monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)

    with pytest.raises(PermissionError, match=f"belongs to another user, is in its place.*{folder}"):
        opened(tmp_path / "good", folder.parent, at=tmp_path / "spilled")

    assert not (tmp_path / "good" / folder_name(NODE)).exists(), "nothing is left of a start that failed"
    assert list(other.iterdir()) == []


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError, match=str(tmp_path / "file" / "below")):
        opened(tmp_path / "file" / "below", at=tmp_path / "spilled")


def test_a_file_is_not_written_over(storage, tmp_path, monkeypatch):
    class Fixed:
        hex = "fixed"

    monkeypatch.setattr(spill_files.uuid, "uuid4", lambda: Fixed)
    spilled = storage.write(parts_of(b"mine"))

    with pytest.raises(FileExistsError):
        storage.write(parts_of(b"more"))
    assert pathlib.Path(spilled.name).read_bytes() == b"mine"


def test_a_link_in_a_files_place_is_not_followed(storage, tmp_path):
    spilled = storage.write(parts_of(b"mine"))
    (tmp_path / "secret").write_bytes(b"data")
    os.unlink(spilled.name)
    os.symlink(tmp_path / "secret", spilled.name)

    with pytest.raises(OSError, match="cannot be read") as caught:
        content_of(storage, spilled.name, 0, 4)
    assert caught.value.errno == errno.ELOOP


def test_a_folder_that_was_tidied_away_is_made_anew(storage):
    first = pathlib.Path(storage.write(parts_of(b"x")).name)
    first.unlink()
    first.parent.rmdir()

    second = storage.write(parts_of(b"y"))

    assert content_of(storage, second.name, 0, 1) == b"y"


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("name", ["/etc/passwd", "", "x", "{folder}/../x", "{folder}/..", "{folder}"])
@pytest.mark.parametrize("use", ["read", "delete", "local_path"])
def test_names_of_others(storage, tmp_path, name, use):
    name = name.format(folder=tmp_path / "spilled" / folder_name(NODE))
    arguments = (0, memoryview(bytearray(1))) if use == "read" else ()

    with pytest.raises(ValueError, match="no file of spilled objects of this node"):
        getattr(storage, use)(name, *arguments)


def test_a_missing_file(storage):
    name = storage.write(parts_of(b"x")).name
    os.unlink(name)

    with pytest.raises(FileNotFoundError, match=f"cannot be read.*{name}"):
        content_of(storage, name, 0, 1)


@pytest.mark.parametrize(("offset", "size", "short"), [(0, 6, 1), (4, 3, 2), (5, 1, 1), (9, 1, 1)])
def test_a_short_file(storage, offset, size, short):
    name = storage.write(parts_of(b"12345")).name

    with pytest.raises(OSError, match=f"ends {short} bytes too early.*{name}"):
        content_of(storage, name, offset, size)


def test_deleting_twice(storage, tmp_path):
    name = storage.write(parts_of(b"x")).name

    storage.delete(name)
    storage.delete(name)

    assert files(tmp_path) == []


def test_what_cannot_be_deleted(storage):
    name = storage.write(parts_of(b"x")).name
    os.unlink(name)
    os.mkdir(name)

    with pytest.raises(OSError, match=f"cannot be removed.*{name}"):
        storage.delete(name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["writev", "close", "open"])
def test_a_failure_leaves_nothing_and_names_the_directory(tmp_path, monkeypatch, number, call):
    storage = opened(tmp_path / "a", at=tmp_path / "spilled", buffer_size=2)
    real = getattr(os, call)
    calls = 0

    def failing(*arguments, **more):
        nonlocal calls
        calls += 1
        if call == "writev" and calls == 1:
            return real(*arguments, **more)
        if call == "close":
            real(*arguments)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, failing)
    with pytest.raises((OutOfDiskError, OSError)) as caught:
        storage.write(parts_of(b"abc", b"def"))
    monkeypatch.undo()

    assert isinstance(caught.value, OSError if number == errno.EIO else OutOfDiskError)
    assert str(tmp_path / "a") in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert files(tmp_path) == []
    assert content_of(storage, storage.write(parts_of(b"after")).name, 0, 5) == b"after"
    storage.close()


def test_a_process_that_may_not_write_so_much(tmp_path):
    """A real failure in the middle of a file."""
    done = run(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            storage.write([memoryview(bytes(60_000))] * 2)
        except OSError as error:
            assert "File too large" in str(error) and str(directory) in str(error), error
        else:
            raise AssertionError("it was written")
        assert not [path for path in directory.rglob("*") if path.is_file()]
        storage.write([memoryview(bytes(60_000))])
        """,
        tmp_path,
    )

    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- full disks


def test_above_the_threshold_nothing_is_written(tmp_path):
    used = used_share(tmp_path, 0)
    storage = opened(tmp_path / "a", tmp_path / "b", at=tmp_path, threshold=used / 2)

    with pytest.raises(OutOfDiskError, match=f"the disk of {tmp_path}/[ab]/.* full.*local_fs_capacity_threshold is"):
        storage.write(parts_of(b"x"))

    assert files(tmp_path) == []
    storage.close()


def test_what_is_being_written_counts(tmp_path):
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    storage = SpillFiles(config(tmp_path, threshold=0.999999), NODE, tmp_path, random.Random(0))

    storage._check_room(storage._folders[0], 1)
    with pytest.raises(OutOfDiskError, match=f"^{free} bytes cannot be spilled"):
        storage._check_room(storage._folders[0], free)
    storage.close()


def test_a_threshold_of_1_is_none(tmp_path):
    storage = SpillFiles(config(tmp_path, threshold=1.0), NODE, tmp_path, random.Random(0))

    storage._check_room(storage._folders[0], 1 << 60)
    storage.close()


def test_used_share_is_what_df_says(tmp_path):
    said = subprocess.run(["df", "--output=pcent", tmp_path], capture_output=True, text=True, check=True).stdout

    assert abs(used_share(tmp_path, 0) * 100 - float(said.split()[-1].rstrip("%"))) <= 1.5


def may_mount() -> bool:
    return subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode == 0


#: Run in a mount namespace of its own, where the directory is a disk of 8 MiB.
SMALL_DISK = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=8m none "$0" && exec "$@"')


def run(
    program: str, directory: pathlib.Path, *before: str, threshold: float = 1.0
) -> subprocess.CompletedProcess[str]:
    """Run a program that has a ``storage`` in ``directory``."""
    opening = f"""
import os, pathlib, random, sys
from trayray.exceptions import OutOfDiskError
from trayray.model.spilling import SpillConfig
from trayray.node.spill_storage import open_storage
directory = pathlib.Path({str(directory)!r})
config = SpillConfig("filesystem", (str(directory),), None, {threshold})
storage = open_storage(config, {NODE!r}, directory.parent / "session", random.Random(0))
"""
    return subprocess.run(
        [*before, sys.executable, "-c", opening + textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not may_mount(), reason="mounting a small disk needs user namespaces, which this system refuses")
def test_a_disk_that_is_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = run(
        """
        kept = [storage.write([memoryview(b"small")]) for _ in range(3)]
        piece = memoryview(bytes(3 << 20))
        kept.append(storage.write([piece, piece]))
        try:
            storage.write([piece])
        except OutOfDiskError as error:
            assert "No space left on device" in str(error) and str(directory) in str(error), error
        else:
            raise AssertionError("it was written")
        assert {str(path) for path in directory.rglob("*") if path.is_file()} == {file.name for file in kept}
        storage.delete(kept.pop().name)
        storage.write([piece, piece])
        """,
        disk,
        *SMALL_DISK,
        str(disk),
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not may_mount(), reason="mounting a small disk needs user namespaces, which this system refuses")
def test_a_disk_at_its_threshold(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = run(
        """
        piece = memoryview(bytes(3 << 20))
        first = storage.write([piece])
        try:
            storage.write([piece])
        except OutOfDiskError as error:
            assert "would be 75." in str(error) and "local_fs_capacity_threshold is 50.0%" in str(error), error
        else:
            raise AssertionError("it was written")
        storage.delete(first.name)
        storage.write([piece])
        """,
        disk,
        *SMALL_DISK,
        str(disk),
        threshold=0.5,
    )

    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- the end


def test_closing_removes_everything_of_this_node(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "of others").touch()
    storage = opened(tmp_path / "a", tmp_path / "b", at=tmp_path / "spilled")
    for _ in range(4):
        storage.write(parts_of(b"x"))

    storage.close()
    storage.close()

    assert [path.name for path in files(tmp_path)] == ["of others"]
    assert [list((tmp_path / name).iterdir()) for name in ("b", "spilled")] == [[], []]
    with pytest.raises(OSError, match="the node is ending"):
        storage.write(parts_of(b"x"))


def test_closing_while_threads_write(tmp_path):
    storage = opened(tmp_path / "a", at=tmp_path / "spilled")
    started = threading.Semaphore(0)

    def write() -> str:
        try:
            while True:
                storage.write([memoryview(b"x" * 1000)] * 50)
                started.release()
        except OSError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write) for _ in range(4)]
        for _ in range(20):
            started.acquire()
        storage.close()
        said = [writer.result() for writer in writers]

    assert files(tmp_path) == []
    assert all("node is ending" in text or "removed its spilled objects" in text for text in said)


def test_what_cannot_be_removed_is_told_and_the_rest_removed(tmp_path, monkeypatch):
    storage = opened(tmp_path / "a", tmp_path / "b", at=tmp_path / "spilled")
    names = [storage.write(parts_of(b"x")).name for _ in range(2)]
    unlink = os.unlink

    def refusing(path, **more):
        if os.path.basename(names[0]) == os.path.basename(path):
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", refusing)
    with pytest.raises(PermissionError, match="could not be removed"):
        storage.close()
    monkeypatch.undo()

    assert [str(path) for path in files(tmp_path)] == [names[0]]


def test_folders_of_a_node_that_was_killed(tmp_path):
    done = run('storage.write([memoryview(b"x")]); os.kill(os.getpid(), 9)', tmp_path / "place")
    assert done.returncode == -signal.SIGKILL
    assert len(files(tmp_path / "place")) == 1

    for _ in range(2):
        remove_left(tmp_path / "session")

    assert list((tmp_path / "place").iterdir()) == []
    assert list((tmp_path / "session").iterdir()) == []


def test_nothing_else_that_is_linked_is_removed(tmp_path):
    session, kept = tmp_path / "session", tmp_path / "kept"
    for directory in (session, kept, kept / folder_name(NODE)):
        directory.mkdir()
    (session / "1").symlink_to(kept)
    (session / "2").symlink_to(tmp_path / folder_name(b"gone"))
    (tmp_path / folder_name(b"link")).symlink_to(kept)
    (session / "3").symlink_to(tmp_path / folder_name(b"link"))
    (session / "file").touch()

    remove_left(session)
    remove_left(tmp_path / "no session")

    assert (kept / folder_name(NODE)).is_dir()
    assert [path.name for path in session.iterdir()] == ["file"]
