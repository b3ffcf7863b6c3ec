"""joblib on a cluster: ``register_ray()``, then ``with joblib.parallel_backend("ray"): ...``.

scikit-learn and others that use joblib run on the cluster's processes then, unchanged. Not here: the processes
(``multiprocessing``).
"""

from importlib import import_module
from typing import Any


def register_ray() -> None:
    """Make joblib know the backend "ray". Idempotent.

    Raises:
        ImportError: joblib is not installed.
    """
    _register("ray")


def register_trayray() -> None:
    """Make joblib know the same backend as "trayray". Idempotent.

    Raises:
        ImportError: joblib is not installed.
    """
    _register("trayray")


def _register(name: str) -> None:
    try:
        joblib: Any = import_module("joblib")
    except ImportError as error:
        raise ImportError(
            f"the joblib backend {name!r} needs joblib 1.4 or later, which cannot be imported here: pip install joblib"
        ) from error
    from trayray.util.joblib.backend import ClusterBackend

    joblib.register_parallel_backend(name, ClusterBackend)


__all__ = ("register_ray", "register_trayray")
