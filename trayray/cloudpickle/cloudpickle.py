"""Ray's ``ray.cloudpickle.cloudpickle``: the functions that pickles made by Ray name, which are cloudpickle's.

Not here: pickling (``trayray.cloudpickle``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudpickle import cloudpickle as _its_module

if not TYPE_CHECKING:  # to checkers a module with __getattr__ has every name, misspelt ones included

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module 'trayray.cloudpickle.cloudpickle' has no attribute {name!r}")
        return getattr(_its_module, name)
