"""The joblib backend: batches of calls go to a `Pool` in the cluster, made anew for each ``Parallel``.

Imported once joblib is there. Not here: registering it (``trayray.util.joblib``).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from trayray.api.blocking import cluster_resources
from trayray.api.initialize import init, is_initialized
from trayray.util.multiprocessing import Pool
from trayray.util.multiprocessing.results import AsyncResult

#: Without types: joblib has none, and what checkers infer of its methods (``-> None`` where they are to be overridden)
#: is not what it means.
_joblib: Any = import_module("joblib.parallel")


class ClusterBackend(_joblib.AutoBatchingMixin, _joblib.ParallelBackendBase):
    """Runs joblib's batches in a pool of processes.

    Args:
        ray_remote_args: options of the processes, as of `Pool`.
        options: joblib's own (``nesting_level`` and so on).
    """

    supports_retrieve_callback = True
    supports_return_generator = False
    supports_timeout = True

    def __init__(self, *args: Any, ray_remote_args: dict[str, Any] | None = None, **options: Any) -> None:
        base: Any = super()
        base.__init__(*args, **options)
        self._ray_remote_args = ray_remote_args
        self._pool: Pool | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many processes: ``n_jobs``; counted down from the cluster's CPUs if negative, which -1 means all of.

        Raises:
            ValueError: 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if not is_initialized():
            init()
        cpus = int(cluster_resources().get("CPU", 0))
        return max(cpus + 1 + n_jobs, 1) if n_jobs < 0 else min(n_jobs, max(cpus, 1))

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **options: Any
    ) -> int:
        """Start the processes, as joblib asks for; how many there are."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise _joblib.FallbackToBackend(_joblib.SequentialBackend(nesting_level=self.nesting_level))
        self._pool = Pool(n_jobs, ray_remote_args=self._ray_remote_args)
        self.parallel = parallel
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> AsyncResult[Any]:
        """Have a batch done; ``callback`` gets its result or its exception."""
        assert self._pool is not None, "joblib configures a backend before it submits"
        return self._pool.apply_async(func, callback=callback, error_callback=callback)

    #: Its name before joblib 1.5.
    apply_async = submit

    def retrieve_result_callback(self, out: Any) -> Any:
        """What a callback was given, raised if it is an exception."""
        if isinstance(out, BaseException):
            raise out
        return out

    def terminate(self) -> None:
        """End the processes."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
            pool.join()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A call has failed: end the processes with what they are doing, and start others if joblib goes on."""
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)
