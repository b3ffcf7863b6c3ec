"""``install_as_ray``: programs and libraries that say ``import ray`` get trayray.

Not here: how the name is taken (``worker.ray_alias``), running a script so (``cli.run``).
"""

from trayray.api.session import session
from trayray.worker.ray_alias import install_alias, is_installed


def install_as_ray() -> None:
    """Make ``import ray``, ``import ray.util`` and so on give trayray's own modules, here and in this job's workers.

    Call it before ``init`` and before anything imports ``ray``; further calls do nothing. Both names stand for the same
    module objects, so ``ray.__version__`` is trayray's version; ``ray.RAY_VERSION`` is the release of Ray whose
    behaviour is offered, which is what a program that compares versions wants to know.

    Raises:
        RuntimeError: Ray itself (or another module called ``ray``) has been imported already, or this process is
            connected, and its job's workers have been told that ``ray`` is not ours.
    """
    if session.connection is not None and not is_installed():
        raise RuntimeError("call install_as_ray() before init(): workers learn of it when the job starts")
    install_alias()
