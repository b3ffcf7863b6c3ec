"""The process title shows what a worker runs (``ray::name``), and ``ray::IDLE`` before the first call."""

import setproctitle

_shown = ""


def set_title(name: str) -> None:
    """Show that ``name`` runs here; cheap when it is shown already."""
    global _shown
    if name != _shown:
        _shown = name
        setproctitle.setproctitle(f"ray::{name}")
