"""Spilled objects in directories of this machine: several objects in one file, directories in turn.

Each node has a folder of its own in each directory, which only its user can enter. Folders outside of the session
directory are linked from there, so that whoever cleans up after a node that was killed finds them. Not here: what is
spilled when (``core``), URIs (``spill_uris``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import stat
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from trayray.exceptions import OutOfDiskError
from trayray.model.spilling import SpillConfig
from trayray.node.spill_storage import FOLDER_PREFIX, SpilledFile, folder_name

#: Most pieces, and most bytes, that one call of the system takes.
_MOST_PIECES = os.sysconf("SC_IOV_MAX")
_MOST_BYTES = 0x7FFFF000
#: What a system says when there is no room: the disk's, or the user's share of it.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


#: Bytes that are copied into memory at once, and that the disk is asked for before they are needed.
_READ_AT_ONCE, _READ_AHEAD = 4 * 1024 * 1024, 24 * 1024 * 1024


class SpillFiles:
    """`SpillStorage` in directories.

    Args:
        config: directories, how much is written at once, how full their disks may become.
        node_id: names the folder in each.
        default_directory: used when the config names none; folders elsewhere are linked from it.
        rng: chooses the directory that comes first.

    Raises:
        OSError: a folder cannot be made, or somebody else's is in its place.
    """

    def __init__(self, config: SpillConfig, node_id: bytes, default_directory: Path, rng: random.Random) -> None:
        self._batch = min(config.buffer_size or _MOST_BYTES, _MOST_BYTES)
        self._threshold = config.capacity_threshold
        self._lock = threading.Lock()
        self._closed = False
        self._links: list[Path] = []
        self._folders: list[Path] = []
        name = folder_name(node_id)
        try:
            # A directory that is named twice has one turn: it is one folder.
            for directory in dict.fromkeys(map(Path, config.places)) or [default_directory]:
                make_folder(directory / name)
                self._folders.append(directory / name)
                if config.places:
                    self._links.append(_link(directory / name, default_directory))
        except OSError:
            self.close()
            raise
        self._turn = rng.randrange(len(self._folders))

    def write(self, parts: Sequence[memoryview]) -> SpilledFile:
        """See `SpillStorage.write`."""
        pieces = [part.cast("B") for part in parts]
        offsets, size = [0], 0
        for piece in pieces:
            size += piece.nbytes
            offsets.append(size)
        folder = self._next()
        self._check_room(folder, size)
        descriptor, path = self._create(folder, len(pieces))
        try:
            try:
                _write_all(descriptor, pieces, self._batch)
            finally:
                os.close(descriptor)  # some file systems say only now that the disk is full
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "the node has removed its spilled objects meanwhile")
        except OSError as error:
            path.unlink(missing_ok=True)
            raise _explained(error, path.parent, size) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return SpilledFile(str(path), tuple(offsets[:-1]))

    def read(self, name: str, offset: int, into: memoryview) -> None:
        """See `SpillStorage.read`."""
        self._check_name(name)
        rest = into.cast("B")
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                # The disk works while bytes are copied. Objects that were put together lie in one file, and are often
                # read together: the beginning of the next one is fetched while this one is looked at.
                ahead = offset
                while rest.nbytes:
                    while ahead < offset + _READ_AHEAD:
                        os.posix_fadvise(descriptor, ahead, _READ_AT_ONCE, os.POSIX_FADV_WILLNEED)
                        ahead += _READ_AT_ONCE
                    count = os.preadv(descriptor, [rest[: min(self._batch, _READ_AT_ONCE)]], offset)
                    if not count:
                        raise OSError(errno.EIO, f"the file of spilled objects ends {rest.nbytes} bytes too early")
                    offset += count
                    rest = rest[count:]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OSError(error.errno, f"a spilled object cannot be read: {error.strerror}", name) from error

    def delete(self, name: str) -> None:
        """See `SpillStorage.delete`."""
        self._check_name(name)
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass  # repeated, or the storage has been closed
        except OSError as error:
            raise OSError(
                error.errno, f"a file of spilled objects cannot be removed: {error.strerror}", name
            ) from error

    def local_path(self, name: str) -> str | None:
        """See `SpillStorage.local_path`."""
        self._check_name(name)
        return name

    def close(self) -> None:
        """See `SpillStorage.close`."""
        with self._lock:  # from now on nothing new is made in the folders
            self._closed = True
        failures: list[OSError] = []
        for folder in self._folders:
            failures.extend(remove_folder(folder))
        for link in self._links:
            link.unlink(missing_ok=True)
        if failures:
            raise OSError(
                failures[0].errno,
                f"{len(failures)} spilled files or folders could not be removed, the first because: "
                f"{failures[0].strerror}",
                failures[0].filename,
            )

    def _next(self) -> Path:
        """The folder whose turn it is."""
        with self._lock:
            self._turn = (self._turn + 1) % len(self._folders)
            return self._folders[self._turn]

    def _check_room(self, folder: Path, size: int) -> None:
        """Raise OutOfDiskError if any of the disks is too full, the folder's with ``size`` more bytes."""
        if self._threshold >= 1:
            return
        for other in self._folders:
            used = used_share(other, size if other == folder else 0)
            if used > self._threshold:
                raise OutOfDiskError(
                    f"{size} bytes cannot be spilled: the disk of {other} would be {used:.1%} full, and "
                    f"local_fs_capacity_threshold is {self._threshold:.1%}. Free space there, or spill to another disk "
                    "with object_spilling_directory."
                )

    def _create(self, folder: Path, count: int) -> tuple[int, Path]:
        """A new file in the folder."""
        path = folder / f"{uuid.uuid4().hex}-multi-{count}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with self._lock:
                if self._closed:
                    raise OSError(errno.ESHUTDOWN, "nothing is spilled any more, the node is ending")
                try:
                    return os.open(path, flags, 0o600), path
                except FileNotFoundError:  # what is empty for days is tidied away on some systems
                    make_folder(folder)
                    return os.open(path, flags, 0o600), path
        except OSError as error:
            raise _explained(error, folder, 0) from error

    def _check_name(self, name: str) -> None:
        path = Path(name)
        if path.parent not in self._folders or path.name in ("", ".", ".."):
            raise ValueError(
                f"{name!r} is no file of spilled objects of this node ({', '.join(map(str, self._folders))})"
            )


def used_share(directory: Path, more: int) -> float:
    """Used share of a directory's disk as `df` tells it, with ``more`` bytes.

    Raises:
        OSError: the directory's file system does not answer.
    """
    try:
        status = os.statvfs(directory)
    except FileNotFoundError:  # it is made anew when it is written to
        status = os.statvfs(directory.parent)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    total = used + status.f_bavail * status.f_frsize  # what is reserved for root is not there for this user
    if not status.f_blocks:  # a file system without a size
        return 0.0
    return (used + more) / total if total else 1.0


def remove_left(directory: Path) -> None:
    """Remove folders elsewhere that are linked from a dead node's ``default_directory``. Repeating it is fine."""
    try:
        links = [path for path in directory.iterdir() if path.is_symlink()]
    except FileNotFoundError:
        return
    for link in links:
        with contextlib.suppress(FileNotFoundError):  # another process cleans up too
            folder = link.readlink()
            # The link lies where only this user can have made it, what is at its end may be anybody's by now.
            if folder.name.startswith(FOLDER_PREFIX) and _is_own_folder(folder):
                shutil.rmtree(folder, ignore_errors=True)
            link.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder that only this user can enter, or take one that is there.

    Raises:
        OSError: it cannot be made, or something of another kind or owner is in its place.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            if not _is_own_folder(folder):
                raise PermissionError(
                    errno.EPERM, "something that is no directory, or belongs to another user, is in its place"
                ) from None
            folder.chmod(0o700)
    except OSError as error:
        raise OSError(
            error.errno, f"the folder for spilled objects cannot be used: {error.strerror}", str(folder)
        ) from error


def _is_own_folder(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _link(folder: Path, directory: Path) -> Path:
    """A link to a folder from ``directory``."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = directory / uuid.uuid4().hex
    link.symlink_to(folder)
    return link


def _write_all(descriptor: int, pieces: Sequence[memoryview], batch: int) -> None:
    """Write the pieces one after the other, at most ``batch`` bytes at once."""
    for together in _batches(pieces, batch):
        rest = together
        while rest:
            rest = _without(rest, os.writev(descriptor, rest))


def _batches(pieces: Sequence[memoryview], size: int) -> Iterator[list[memoryview]]:
    """The pieces cut and put together so that each list has at most ``size`` bytes, and not too many pieces."""
    together: list[memoryview] = []
    room = size
    for piece in pieces:
        rest = piece
        while rest.nbytes:
            together.append(rest[:room])
            rest = rest[room:]
            room -= together[-1].nbytes
            if not room or len(together) == _MOST_PIECES:
                yield together
                together, room = [], size
    if together:
        yield together


def _without(pieces: list[memoryview], count: int) -> list[memoryview]:
    """What is left when ``count`` bytes are written: the system may take fewer than it was given."""
    for index, piece in enumerate(pieces):
        if count < piece.nbytes:
            return [piece[count:], *pieces[index + 1 :]]
        count -= piece.nbytes
    return []


def _explained(error: OSError, folder: Path, size: int) -> OSError | OutOfDiskError:
    if error.errno in DISK_FULL:
        return OutOfDiskError(f"{size} bytes could not be spilled to {folder}: {error.strerror}")
    return OSError(error.errno, f"objects cannot be spilled: {error.strerror}", str(folder))


def remove_folder(folder: Path) -> list[OSError]:
    """Remove a folder with its files; what could not be removed."""
    failures: list[OSError] = []

    def note(_function: object, _path: str, raised: tuple[type, BaseException, object]) -> None:
        error = raised[1]
        if not isinstance(error, OSError):
            raise error
        if not isinstance(error, FileNotFoundError):  # removed by a thread that was writing it, or with the session
            failures.append(error)

    shutil.rmtree(folder, onerror=note)
    return failures
