"""Ray's ``ray.util``, built on the public API. Names are loaded at their first use, as in ``trayray``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trayray.api.blocking import list_named_actors as list_named_actors

#: Where each lazily loaded name lives.
_HOME_OF = {
    "list_named_actors": "trayray.api.blocking",
}
_SUBMODULES: frozenset[str] = frozenset()


if not TYPE_CHECKING:  # to checkers a module with __getattr__ has every name, misspelt ones included

    def __getattr__(name: str) -> Any:
        if name in _HOME_OF:
            value = getattr(importlib.import_module(_HOME_OF[name]), name)
        elif name in _SUBMODULES:
            value = importlib.import_module(f"trayray.util.{name}")
        else:
            raise AttributeError(f"module 'trayray.util' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_SUBMODULES})


__all__ = ("list_named_actors",)
