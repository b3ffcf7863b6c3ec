"""A worker's standard output and error: lines marked with the name of the task or actor that printed them.

The node reads both streams from pipes (``node.worker_output``). A marker line names the source of what follows; it is
written only when output follows and the name has changed, so silent tasks cost nothing.
"""

import io
import os
import sys
from typing import TextIO

#: Starts a marker line; the name follows up to the end of the line.
MARKER = "\x1e\x02trayray:"

_name = ""


def set_output_name(name: str) -> None:
    """What is printed from now on comes from ``name``."""
    global _name
    _name = name


class MarkedStream(io.TextIOWrapper):
    """Text written here is preceded by a marker when its source is another than before."""

    _marked = ""

    def write(self, text: str, /) -> int:
        if _name != self._marked:
            self._marked = _name
            super().write(f"{MARKER}{_name}\n")
        return super().write(text)


def redirect_output() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``, whose descriptors are pipes to the node."""
    sys.stdout = _open(1)
    sys.stderr = _open(2)


def _open(descriptor: int) -> TextIO:
    raw = io.FileIO(os.dup(descriptor), "wb")
    return MarkedStream(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)
