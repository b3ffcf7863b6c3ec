"""Settings from the environment: ``TRAYRAY_<name>``, else ``RAY_<name>``: what is written for Ray holds here."""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment(name: str, default: str = "") -> str:
    """``TRAYRAY_<name>``, else ``RAY_<name>``, else ``default``."""
    value = os.environ.get(f"TRAYRAY_{name}")
    return value if value is not None else os.environ.get(f"RAY_{name}", default)


def number(name: str, default: float, *, at_least: float = 0.0) -> float:
    """`environment` as a number.

    Raises:
        ValueError: it is not a number, or below ``at_least``; the text names the variable.
    """
    text = environment(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or not value >= at_least:
        raise ValueError(f"TRAYRAY_{name} must be a number of at least {at_least:g}, not {text!r}")
    return value


def switch(name: str, default: bool) -> bool:
    """`environment` as yes or no: 1, true, yes, on, or 0, false, no, off.

    Raises:
        ValueError: it is something else; the text names the variable.
    """
    text = environment(name).lower()
    if not text:
        return default
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"TRAYRAY_{name} must be 1 or 0, not {text!r}")


#: Of the object store; ``model.spilling`` reads them.
_OF_THE_STORE = (
    "object_spilling_config",
    "object_spilling_directory",
    "object_spilling_threshold",
    "automatic_object_spilling_enabled",
    "min_spilling_size",
    "max_fused_object_count",
    "max_io_workers",
    "local_fs_capacity_threshold",
    "object_store_full_seconds",
)


def says_of_the_store(system_config: Mapping[str, object]) -> bool:
    """Whether ``system_config`` or the environment has a setting of the object store."""
    return any(name in system_config or environment(name) for name in _OF_THE_STORE)


def infeasible_is_error() -> bool:
    """Whether a request that no node can meet shall fail instead of waiting.

    ``TRAYRAY_INFEASIBLE=error`` says so, and so does Ray's ``enable_infeasible_task_early_exit``.
    """
    early_exit = environment("enable_infeasible_task_early_exit").lower() in ("1", "true")
    return early_exit or environment("INFEASIBLE").lower() == "error"


def shutdown_seconds() -> float:
    """How long a worker may take to clean up when it ends (``SHUTDOWN_SECONDS``, 5 by default).

    Raises:
        ValueError: it is not a number, or negative.
    """
    return number("SHUTDOWN_SECONDS", 5.0)
