"""``OMP_NUM_THREADS`` follows the CPUs of what a worker runs, so that numerical libraries do not take every core."""

import os


class OmpThreads:
    """The variable in this process's environment."""

    def __init__(self) -> None:
        #: What the driver set itself, which wins over any number of CPUs; empty when it did not.
        self.driver_setting = ""
        self._shown = ""

    def follow(self, resources: dict[str, float]) -> None:
        """Whole CPUs of what runs next, at least 1."""
        wanted = self.driver_setting or str(max(1, int(resources.get("CPU", 1))))
        if wanted != self._shown:
            self._shown = os.environ["OMP_NUM_THREADS"] = wanted


class SharedEnvironment(OmpThreads):
    """The environment is not the worker's alone: the variable stays as it is."""

    def follow(self, resources: dict[str, float]) -> None:
        """See `OmpThreads.follow`."""
