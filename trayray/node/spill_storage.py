"""Storage of spilled objects: what the node's store sees of it, and how it is opened.

Everything here blocks, and may be called from several threads at a time. Not here: directories (``spill_files``), URIs
(``spill_uris``), what is spilled when (``core``).
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import attrs

from trayray.model.spilling import FILESYSTEM, SMART_OPEN, SpillConfig

#: How the names of all nodes' folders begin.
FOLDER_PREFIX = "trayray_spilled_objects_"
#: Schemes of URIs that are S3.
S3_SCHEMES = ("s3", "s3a", "s3n")


@attrs.frozen
class SpilledFile:
    """What one write has made."""

    #: Path or URI.
    name: str
    #: Where each part begins, in bytes.
    offsets: tuple[int, ...]


class SpillStorage(Protocol):
    """Places that take turns in holding one node's spilled objects. Safe to use from several threads."""

    def write(self, parts: Sequence[memoryview]) -> SpilledFile:
        """Put all parts, one after the other, into a new file at the next place. After an error nothing is left of it.

        Args:
            parts: contiguous bytes; they are not copied, and must stay as they are until this returns.

        Raises:
            OutOfDiskError: a disk is full, or fuller than it may become.
            OSError: the place did not take it; the text names it.
        """
        ...

    def read(self, name: str, offset: int, into: memoryview) -> None:
        """Fill ``into`` (writable, contiguous) with what the file has from ``offset`` on, in bytes.

        Raises:
            OSError: there is no such file, it ends too early, or cannot be read; the text names it.
            ValueError: ``name`` is not of this storage.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a file. Repeating it changes nothing.

        Raises:
            OSError: it is there and cannot be removed; the text names it.
            ValueError: ``name`` is not of this storage.
        """
        ...

    def local_path(self, name: str) -> str | None:
        """The file's path if this user's processes on this machine can open it, None for URIs."""
        ...

    def close(self) -> None:
        """Remove everything that this storage holds; writing is an error from now on. Repeating it changes nothing.

        Raises:
            OSError: something could not be removed; the text names the places. All others have been.
        """
        ...


def folder_name(node_id: bytes) -> str:
    """What a node's folder is called at each of its places."""
    return f"{FOLDER_PREFIX}{node_id.hex()}"


def check_packages(config: SpillConfig) -> None:
    """See that what the places need is installed, without importing it.

    Raises:
        ImportError: something is missing; the text says how to get it.
    """
    needed = ["smart_open"] if config.kind == SMART_OPEN else []
    if needed and any(place.partition("://")[0].lower() in S3_SCHEMES for place in config.places):
        needed.append("boto3")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'object_spilling_config of the type "{SMART_OPEN}" needs {" and ".join(missing)}, not installed here: '
            "pip install 'trayray[spill]'"
        )


def open_storage(
    config: SpillConfig, node_id: bytes, default_directory: Path, rng: random.Random | None = None
) -> SpillStorage:
    """Open the places of ``config`` for one node.

    Args:
        config: where to; without places it is ``default_directory``.
        node_id: the node's id; its files lie in a folder of this name at each place.
        default_directory: of the session. It is made when it is needed.
        rng: chooses the place that comes first.

    Raises:
        ImportError: a package that the URIs need is not installed.
        OSError: a place cannot be used; the text names it.
    """
    rng = rng or random.Random()
    if config.kind == FILESYSTEM:
        from trayray.node.spill_files import SpillFiles

        return SpillFiles(config, node_id, default_directory, rng)
    from trayray.node.spill_uris import SpillUris

    return SpillUris(config, node_id, rng)
