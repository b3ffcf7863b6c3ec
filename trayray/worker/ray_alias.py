"""The name ``ray`` for this package: ``import ray.x`` gives the very module object that ``import trayray.x`` gives.

Not here: who asks for it (``trayray run``, ``api.install``, workers of a job that did).
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ALIAS, _REAL = "ray", "trayray"


class _AliasLoader(Loader):
    """Hands out a module that exists already, or is imported under its own name."""

    def __init__(self, real: str) -> None:
        self._real = real
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the alias's spec into the module that it was given.
        module.__spec__ = self._spec


class AliasFinder(MetaPathFinder):
    """Finds ``ray`` and ``ray.*``. It has to be asked first: the path finder would load second copies of submodules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _ALIAS and not fullname.startswith(f"{_ALIAS}."):
            return None
        real = _REAL + fullname.removeprefix(_ALIAS)
        if importlib.util.find_spec(real) is None:
            return None
        return ModuleSpec(fullname, _AliasLoader(real))


def is_installed() -> bool:
    """Whether ``import ray`` gives this package in this process."""
    return any(isinstance(finder, AliasFinder) for finder in sys.meta_path)


def install_alias() -> None:
    """Make ``import ray`` give this package from now on. Idempotent.

    Raises:
        RuntimeError: another module of that name has been imported already.
    """
    present = sys.modules.get(_ALIAS)
    if present is not None and present is not sys.modules.get(_REAL):
        where = getattr(present, "__file__", None) or "an unknown place"
        raise RuntimeError(
            f"the module 'ray' of {where} has been imported already; have trayray take its name before anything "
            "imports it: call trayray.install_as_ray() first, or start the program with `trayray run`"
        )
    if not is_installed():
        sys.meta_path.insert(0, AliasFinder())
