"""Workers' standard output and error: read from pipes, kept in rotated files, passed on as whole lines.

A line belongs to the name in the last marker before it (``worker.output``). Not here: who receives lines.
"""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

import trio

from trayray.worker.output import MARKER

#: Rotation of one worker's log file (RAY_ROTATION_MAX_BYTES, RAY_ROTATION_BACKUP_COUNT).
MAX_BYTES, BACKUPS = 100 * 1024 * 1024, 5
#: How many last lines a crash report shows.
LAST_LINES = 40
_CHUNK = 65536
_MARKER = MARKER.encode()


class RotatedFile:
    """An append-only file that is renamed to ``name.1`` and begun anew when it grows too large."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, backups: int = BACKUPS) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._file: IO[bytes] | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append ``data``, whole."""
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
            self._size = self._file.tell()
        elif self._size + len(data) > self._max_bytes:
            self._rotate()
        self._file.write(data)
        self._size += len(data)

    def _rotate(self) -> None:
        assert self._file is not None
        self._file.close()
        for number in range(self._backups, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("wb", buffering=0)
        self._size = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class OutputReader:
    """One stream of one worker, read to its end."""

    def __init__(
        self, descriptor: int, path: Path, last_lines: deque[str], publish: Callable[[str, list[str]], None]
    ) -> None:
        self._stream = trio.lowlevel.FdStream(descriptor)
        self._file = RotatedFile(path)
        self._last_lines = last_lines
        self._publish = publish
        self._name = ""
        #: The pieces of a line whose end has not come.
        self._partial: list[bytes] = []

    async def run(self) -> None:
        """Until every process that holds the other end has closed it."""
        try:
            async with self._stream:
                while data := await self._stream.receive_some(_CHUNK):
                    self._take(data)
            if any(self._partial):
                self._take(b"\n")
        finally:
            self._file.close()

    def _take(self, data: bytes) -> None:
        head, *rest = data.split(b"\n")
        self._partial.append(head)
        if not rest:
            return
        lines = [b"".join(self._partial), *rest[:-1]]
        self._partial = [rest[-1]]
        batch: list[str] = []
        for line in lines:
            # A marker follows text in its line when what printed the text left the line open.
            text, marker, name = line.partition(_MARKER)
            if text or not marker:
                self._file.write(text + b"\n")
                batch.append(text.decode(errors="backslashreplace"))
            if marker:
                self._pass_on(batch)
                batch = []
                self._name = name.decode(errors="backslashreplace")
        self._pass_on(batch)

    def _pass_on(self, batch: list[str]) -> None:
        if batch:
            self._last_lines.extend(batch)
            self._publish(self._name, batch)
