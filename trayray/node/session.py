"""Where a cluster's files are: the session directory, its token, and the address that others find it by.

Everything lies in ``<temp dir>/trayray-<uid>/session_<time>_<pid>/``, which only this user can enter. Logs stay when
the session ends; sockets, the token and the address are removed. A session in a temporary directory of its own is
linked from the usual one, so that its address is all that one has to know.
"""

import json
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import attrs

from trayray.node.process_control import has_ended
from trayray.node.process_marks import end_marked

#: What is killed ends within so long, unless the kernel holds it (seconds).
_END_SECONDS = 1.0


def root_dir(temp_dir: str | None = None) -> Path:
    """The directory that holds this user's sessions.

    Raises:
        PermissionError: somebody else owns a directory of that name.
    """
    base = Path(temp_dir or os.environ.get("TRAYRAY_TMPDIR") or os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    root = base.absolute() / f"trayray-{os.getuid()}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.stat()
    if status.st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to user {status.st_uid}; set TRAYRAY_TMPDIR to a directory of your own")
    if stat.S_IMODE(status.st_mode) & 0o077:
        root.chmod(0o700)
    return root


@attrs.frozen
class Session:
    """One cluster's directory on this machine."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def sockets(self) -> Path:
        return self.path / "sockets"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def spilled(self) -> Path:
        """Objects that the store has no room for, and links to where they are elsewhere."""
        return self.path / "spilled"

    @classmethod
    def new(cls, root: Path) -> "Session":
        """A new session, whose directory nobody has made."""
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        return cls(root / f"session_{stamp}_{time.time_ns() % 1_000_000_000:09d}_{os.getpid()}")

    @classmethod
    def create(cls, root: Path, token: str) -> "Session":
        """A new session directory with its token."""
        session = cls.new(root)
        path = session.path
        path.mkdir(mode=0o700)
        session.sockets.mkdir(mode=0o700)
        session.logs.mkdir(mode=0o700)
        _write_private(path / "token", token)
        return session

    def publish(self, address: str, pid: int, *, private: bool) -> None:
        """Make the session findable by its address; a private one belongs to the driver that started it."""
        _write_private(self.path / "address.json", json.dumps({"address": address, "pid": pid, "private": private}))
        entry = self._entry()
        if not entry.exists():
            entry.symlink_to(self.path)

    def token(self) -> str:
        return (self.path / "token").read_text()

    def address(self) -> str:
        return json.loads((self.path / "address.json").read_text())["address"]

    def pid(self) -> int:
        return json.loads((self.path / "address.json").read_text())["pid"]

    def private(self) -> bool:
        return json.loads((self.path / "address.json").read_text())["private"]

    def _ephemeral(self) -> list[Path]:
        """What ends with the session: all that is not a log."""
        try:
            return [path for path in self.path.iterdir() if path != self.logs]
        except FileNotFoundError:
            return []

    def _entry(self) -> Path:
        """Where others look for the session: one that lies elsewhere is linked from the usual place."""
        return root_dir() / self.name

    def _is_abandoned(self) -> bool:
        """Whether its node died before it had an address, and nobody was left to clean."""
        number = self.name.rpartition("_")[2]
        return number.isdigit() and has_ended(int(number)) and bool(self._ephemeral())

    def remove(self) -> None:
        """As `clean`, for a session whose node is dead: what its workers have started is killed if nobody has."""
        end_marked(self.name, _END_SECONDS)
        self.clean()

    def clean(self) -> None:
        """Remove everything but the logs. Idempotent; safe for any process of the session to do, at any time."""
        if self.spilled.is_dir():
            from trayray.node.spill_files import remove_left  # most sessions have spilled nothing

            remove_left(self.spilled)
        for path in self._ephemeral():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)  # another process may be removing it too
            else:
                path.unlink(missing_ok=True)
        entry = self._entry()
        if entry.is_symlink():
            entry.unlink(missing_ok=True)


def find_session(address: str, root: Path, *, started_by_hand: bool = False) -> Session | None:
    """The session that is served at ``address`` ("host:port"), or the latest started one for "auto".

    With ``started_by_hand`` only sessions that no driver owns.
    """
    sessions = [
        session
        for session in live_sessions(root)
        if address in ("auto", session.address()) and not (started_by_hand and session.private())
    ]
    return sessions[-1] if sessions else None


def live_sessions(root: Path) -> list[Session]:
    """Sessions whose node process runs, oldest first; what dead ones left is removed."""
    live: list[Session] = []
    for path in sorted(root.glob("session_*")):
        session = Session(path.readlink() if path.is_symlink() else path)
        try:
            pid = session.pid()
        except (FileNotFoundError, ValueError):
            if path.is_symlink():  # it was linked after its address was written: its directory has been removed
                path.unlink(missing_ok=True)
            elif session._is_abandoned():
                session.clean()
            continue
        if not has_ended(pid):
            live.append(session)
        else:
            session.remove()
    return live


def clean_sessions_of(pid: int, root: Path) -> None:
    """Remove what a node process that has ended left, wherever in its life it did."""
    for path in root.glob(f"session_*_{pid}"):
        Session(path).remove()


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
