"""What commands print: plain text where nobody looks, headings in bold on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def open_console() -> Console:
    """A console that prints what it is given as it is: no wrapping, no markup, no guessed colours."""
    from rich.console import Console

    return Console(soft_wrap=True, markup=False, highlight=False, emoji=False)
