"""What a test leaves behind on this machine: processes, shared memory, sockets and the files of sockets.

Read from /proc and the file system. Covers what belongs to this test run, whoever else runs trayray on the machine at
the same time; does not cover threads, memory, ordinary files and logs, which may stay.
"""

import contextlib
import os
import pathlib
import re
import tempfile
import time
from collections.abc import Iterator

import attrs
import pytest

SHARED_MEMORY = pathlib.Path("/dev/shm")
#: How long a teardown may take to become visible: the kernel and init finish what an exiting process began.
GRACE_SECONDS = 2.0
POLL_SECONDS = 0.02
#: Children that an interpreter starts once and keeps until it ends.
INTERPRETERS_OWN = (b"multiprocessing.resource_tracker",)

_shared_watches = 0


def session_root() -> pathlib.Path:
    """Where the sessions of clusters started from here have their directories."""
    return pathlib.Path(os.environ.get("TMPDIR") or "/tmp") / f"trayray-{os.getuid()}"


@attrs.frozen
class Surroundings:
    """What exists at one moment. All process ids, so that only new ones ever have to be looked at closely: an id that
    the kernel hands out again within one test would go unnoticed."""

    pids: frozenset[int]
    files: frozenset[str]
    bound_sockets: frozenset[str]
    own_sockets: frozenset[str]

    @classmethod
    def now(cls) -> "Surroundings":
        return cls(
            pids=frozenset(int(name) for name in os.listdir("/proc") if name.isdigit()),
            files=frozenset(_shared_memory_files() + _socket_files()),
            bound_sockets=frozenset(_bound_sockets()),
            own_sockets=frozenset(link for link in _links("self") if link.startswith("socket:")),
        )


def left_since(before: Surroundings) -> list[str]:
    """One line for each thing of this test run that exists now and did not `before`."""
    now = Surroundings.now()
    if now.files <= before.files and now.bound_sockets <= before.bound_sockets and now.pids <= before.pids:
        return [f"open {link} of the test process" for link in sorted(now.own_sockets - before.own_sockets)]
    ours = {pid for pid in now.pids - before.pids if _is_ours(pid)}
    found = [f"process {pid}: {_describe(pid)}" for pid in sorted(ours)]
    others = now.pids - ours - {os.getpid()}
    for path in sorted(now.files - before.files):
        if path.startswith(str(SHARED_MEMORY)) and _is_used_by(path, others):
            continue  # of a cluster that somebody else runs
        found.append(f"file {path}")
    found += [f"bound socket {path}" for path in sorted(now.bound_sockets - before.bound_sockets)]
    found += [f"open {link} of the test process" for link in sorted(now.own_sockets - before.own_sockets)]
    return found


@contextlib.contextmanager
def nothing_left_behind(*, shared: bool = False) -> Iterator[None]:
    """Fails the test whose block leaves something behind that is not gone within `GRACE_SECONDS`.

    `shared`: the block lasts for several tests (a fixture of a module, say). What they do to the cluster in it, such as
    starting workers, is then judged at its end and not after each of them.
    """
    global _shared_watches
    before = Surroundings.now()
    _shared_watches += shared
    try:
        yield
    finally:
        _shared_watches -= shared
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := left_since(before)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if left:
        pytest.fail(f"left behind for {GRACE_SECONDS:g} s:\n  " + "\n  ".join(left), pytrace=False)


def inside_shared_watch() -> bool:
    """Whether a block that lasts for several tests is open."""
    return _shared_watches > 0


# ---------------------------------------------------------------- /proc and the file system


def _shared_memory_files() -> list[str]:
    return [str(SHARED_MEMORY / name) for name in os.listdir(SHARED_MEMORY) if name.startswith("trayray")]


def _socket_files() -> list[str]:
    return [str(path) for path in session_root().glob("session_*/sockets/*")]


def _bound_sockets() -> list[str]:
    """Paths of Unix sockets below the session root, whether their files are still there or not."""
    root = str(session_root())
    lines = pathlib.Path("/proc/net/unix").read_text().splitlines()
    return [path for line in lines if root in line and (path := line.split(maxsplit=7)[-1])]


def _read(pid: int, name: str) -> bytes:
    """Empty when the process is gone or belongs to somebody else: either way it is none of ours."""
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _links(pid: int | str) -> list[str]:
    """What the descriptors and the working directory of a process refer to."""
    found: list[str] = []
    try:
        paths = [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")] + [f"/proc/{pid}/cwd"]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return found
    for path in paths:
        # The one that listed the directory, for instance, is closed by now.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            found.append(os.readlink(path))
    return found


def _parent(pid: int) -> int | None:
    # The second field is the name in brackets, in which anything may stand; the parent is the second after it.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else None


def _is_ours(pid: int) -> bool:
    """Whether a process descends from this one or serves a session of this test run.

    An orphan is known by its session: in its environment or command line, unless it has changed its title, which
    overwrites both; then by the files that it has open, such as its log.
    """
    command = _read(pid, "cmdline")
    if any(name in command for name in INTERPRETERS_OWN):
        return False
    ancestor: int | None = pid
    while ancestor:
        ancestor = _parent(ancestor)
        if ancestor == os.getpid():
            return True
    root = str(session_root())
    if root.encode() in command or os.environ["TMPDIR"].encode() in _read(pid, "environ"):
        return True
    return any(link.startswith(root) for link in _links(pid))


def _is_used_by(path: str, pids: frozenset[int]) -> bool:
    return any(path.encode() in _read(pid, "maps") or path in _links(pid) for pid in pids)


def _describe(pid: int) -> str:
    status = _read(pid, "status").decode(errors="replace")
    fields = dict(re.findall(r"^(Name|State|PPid):\s*(.*)$", status, re.MULTILINE))
    command = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return f"{command or fields.get('Name', '?')} ({fields.get('State', 'gone')}, parent {fields.get('PPid', '?')})"


# ---------------------------------------------------------------- a temporary directory of the test run's own


def own_temporary_directory() -> pathlib.Path:
    """Makes this process and what it starts keep sessions in a new directory of their own, and returns it.

    So every session below it belongs to this test run, and no test finds a cluster of somebody else. Its name is short:
    the path of a Unix socket may have 107 characters.
    """
    usual = tempfile.gettempdir()
    # pytest's tmp_path stays where it always is and is kept as long as always.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", usual)
    own = tempfile.mkdtemp(prefix="t", dir=usual)
    os.environ["TMPDIR"] = tempfile.tempdir = own
    return pathlib.Path(own)
