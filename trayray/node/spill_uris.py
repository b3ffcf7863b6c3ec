"""Spilled objects at URIs, with smart_open: several objects in one file, URIs in turn.

Files at ``s3://`` and ``file://`` URIs are removed with their objects; smart_open itself cannot remove anything, so
elsewhere they stay. Not here: directories (``spill_files``), what is spilled when (``core``).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import itertools
import logging
import random
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trayray.exceptions import OutOfDiskError
from trayray.model.spilling import SpillConfig
from trayray.node.spill_files import DISK_FULL, make_folder, remove_folder
from trayray.node.spill_storage import S3_SCHEMES, SpilledFile, check_packages, folder_name

logger = logging.getLogger(__name__)

#: Smaller parts are not accepted by S3 (bytes).
_S3_LEAST_PART = 5 * 1024 * 1024
#: What one request to S3 may remove.
_S3_MOST_REMOVED = 1000
#: How often something is requested whose connection breaks while it is read.
_S3_ATTEMPTS = 3
_BUFFER = 1024 * 1024


class SpillUris:
    """`SpillStorage` at URIs.

    Args:
        config: URIs, how much is collected before it travels, parameters for smart_open.
        node_id: names the files' common prefix.
        rng: chooses the URI that comes first.

    Raises:
        ImportError: smart_open, or boto3 for S3, is not installed.
        OSError: a directory of a ``file://`` URI cannot be used.
    """

    def __init__(self, config: SpillConfig, node_id: bytes, rng: random.Random) -> None:
        check_packages(config)
        smart_open = importlib.import_module("smart_open").open
        self._buffer_size = config.buffer_size or _BUFFER
        self._lock = threading.Lock()
        self._closed = False
        self._places: dict[str, _Place] = {}
        self._client: Any = None
        for uri in config.places:
            prefix = f"{uri}/{folder_name(node_id)}"
            scheme = uri.partition("://")[0].lower()
            if scheme in S3_SCHEMES:
                self._client = self._client or importlib.import_module("boto3").client("s3")
                self._places[prefix] = _S3Place(prefix, self._client, smart_open, config)
            elif scheme == "file":
                self._places[prefix] = _FilePlace(prefix, smart_open, config)
            else:
                logger.warning("what is spilled to %s is not removed: nothing here can do so", uri)
                self._places[prefix] = _Place(smart_open, self._buffer_size, config.transport)
        self._prefixes = tuple(self._places)
        self._turns = itertools.cycle(range(len(self._prefixes)))
        for _ in range(rng.randrange(len(self._prefixes))):
            next(self._turns)

    def write(self, parts: Sequence[memoryview]) -> SpilledFile:
        """See `SpillStorage.write`."""
        pieces = [part.cast("B") for part in parts]
        offsets = list(itertools.accumulate((piece.nbytes for piece in pieces), initial=0))
        with self._lock:
            prefix = self._prefixes[next(self._turns)]
        place, name = self._places[prefix], f"{prefix}/{uuid.uuid4().hex}-multi-{len(pieces)}"
        try:
            self._write(place, name, pieces)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise OutOfDiskError(f"{offsets[-1]} bytes could not be spilled to {name}: {error.strerror}") from error
            raise _failure("objects cannot be spilled", error, name) from error
        return SpilledFile(name, tuple(offsets[:-1]))

    def read(self, name: str, offset: int, into: memoryview) -> None:
        """See `SpillStorage.read`."""
        place, rest = self._place_of(name), into.cast("B")
        if not rest.nbytes:
            return
        try:
            place.read(name, offset, rest)
        except Exception as error:
            raise _failure("a spilled object cannot be read", error, name) from error

    def delete(self, name: str) -> None:
        """See `SpillStorage.delete`."""
        place = self._place_of(name)
        try:
            place.remove(name)
        except Exception as error:
            raise _failure("a file of spilled objects cannot be removed", error, name) from error

    def local_path(self, name: str) -> str | None:
        """See `SpillStorage.local_path`."""
        self._place_of(name)
        return None

    def close(self) -> None:
        """See `SpillStorage.close`."""
        with self._lock:  # who still writes removes by itself what it has written
            self._closed = True
        failures: list[OSError] = []
        for prefix, place in self._places.items():
            try:
                place.remove_all()
            except Exception as error:
                failures.append(_failure("spilled objects could not be removed", error, prefix))
                logger.warning("%s", failures[-1])
        if self._client is not None:
            self._client.close()
        if failures:
            raise failures[0]

    def _write(self, place: _Place, name: str, pieces: Sequence[memoryview]) -> None:
        """Write one file, or leave nothing of it."""
        self._check_open()
        file = place.create(name)
        try:
            for piece in pieces:
                for start in range(0, piece.nbytes, self._buffer_size):
                    file.write(piece[start : start + self._buffer_size])
                    self._check_open()
            file.close()
            self._check_open()
        except BaseException as error:
            # An upload that is not terminated would be completed when the file object is collected.
            give_up = getattr(file, "terminate", file.close)
            for step in (give_up, lambda: place.remove(name)):
                try:
                    step()
                except Exception as another:
                    error.add_note(f"and what was written of {name} could not be removed: {another}")
                    logger.warning("what was written of %s could not be removed: %s", name, another)
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.ESHUTDOWN, "nothing is spilled any more, the node is ending")

    def _place_of(self, name: str) -> _Place:
        place = self._places.get(name.rpartition("/")[0])
        if place is None:
            raise ValueError(f"{name!r} is no file of spilled objects of this node ({', '.join(self._prefixes)})")
        return place


class _Place:
    """One URI, where smart_open can write and read; nothing can be removed.

    Args:
        smart_open: the package's ``open``.
        buffer_size: bytes that are read at once.
        transport: smart_open's parameters.
    """

    def __init__(self, smart_open: Callable[..., Any], buffer_size: int, transport: Mapping[str, Any]) -> None:
        self._open = smart_open
        self._buffer_size = buffer_size
        self._transport = transport

    def create(self, name: str) -> Any:
        """A file to write to."""
        return self._open(name, "wb", compression="disable", transport_params=self._transport)

    def read(self, name: str, offset: int, into: memoryview) -> None:
        """Fill ``into`` from ``offset`` on."""
        with self._open(name, "rb", compression="disable", transport_params=self._transport) as file:
            file.seek(offset)
            _fill(file, into, self._buffer_size)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        logger.debug("%s stays: nothing here can remove it", name)

    def remove_all(self) -> None:
        """Remove all files of this node."""


class _S3Place(_Place):
    """A bucket, with one client for all threads."""

    def __init__(self, prefix: str, client: Any, smart_open: Callable[..., Any], config: SpillConfig) -> None:
        size = config.buffer_size or _BUFFER
        writing = {"client": client, "min_part_size": max(size, _S3_LEAST_PART), **config.transport}
        super().__init__(smart_open, size, writing)
        self._client = client
        self._bucket, self._prefix = _bucket_and_key(prefix)
        self._reading: Mapping[str, Any] = config.transport.get("client_kwargs", {}).get("S3.Client.get_object", {})
        exceptions = importlib.import_module("botocore.exceptions")
        self._broken = (exceptions.HTTPClientError, exceptions.IncompleteReadError)

    def read(self, name: str, offset: int, into: memoryview) -> None:
        """Just what is asked for: a fused file is larger than the object that is read, and smart_open would request it
        to its end.
        """
        bucket, key = _bucket_and_key(name)
        done = 0
        for left in reversed(range(_S3_ATTEMPTS)):
            wanted = f"bytes={offset + done}-{offset + into.nbytes - 1}"
            answer = self._client.get_object(Bucket=bucket, Key=key, Range=wanted, **self._reading)
            with contextlib.closing(answer["Body"]) as body:
                try:
                    while done < into.nbytes and (count := body.readinto(into[done : done + self._buffer_size])):
                        done += count
                except self._broken as error:  # boto3 repeats requests by itself, but not what is streamed
                    if not left:
                        raise
                    logger.info("%s at byte %d: %s; %d more attempts", name, offset + done, error, left)
                    continue
            break
        _check_end(into.nbytes - done)

    def remove(self, name: str) -> None:
        bucket, key = _bucket_and_key(name)
        self._client.delete_object(Bucket=bucket, Key=key)

    def remove_all(self) -> None:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}/", PaginationConfig={"PageSize": _S3_MOST_REMOVED}
        )
        for page in pages:
            keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
            if keys:
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
                for error in answer.get("Errors", ()):
                    raise OSError(errno.EIO, f"{error['Code']}: {error['Message']}", error["Key"])


class _FilePlace(_Place):
    """A directory, as a URI."""

    def __init__(self, prefix: str, smart_open: Callable[..., Any], config: SpillConfig) -> None:
        super().__init__(smart_open, config.buffer_size or _BUFFER, config.transport)
        self._folder = Path(prefix.partition("://")[2])
        make_folder(self._folder)

    def remove(self, name: str) -> None:
        (self._folder / name.rpartition("/")[2]).unlink(missing_ok=True)

    def remove_all(self) -> None:
        failures = remove_folder(self._folder)
        if failures:
            raise failures[0]


def _fill(file: Any, into: memoryview, at_once: int) -> None:
    """Fill ``into`` from a file object."""
    done = 0
    while done < into.nbytes and (count := file.readinto(into[done : done + at_once])):
        done += count
    _check_end(into.nbytes - done)


def _check_end(missing: int) -> None:
    if missing:
        raise OSError(errno.EIO, f"the file of spilled objects ends {missing} bytes too early")


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def _failure(what: str, error: Exception, name: str) -> OSError:
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
    return OSError(number, f"{what}: {reason}", name)
