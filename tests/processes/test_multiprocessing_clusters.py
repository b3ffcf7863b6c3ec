"""Pools that come and go with their clusters, and with programs."""

import subprocess
import sys
import textwrap
import time

import pytest

from tests.conftest import init_arguments
from trayray.exceptions import ActorDiedError, RaySystemError
from trayray.util.multiprocessing import Pool


def test_a_program_that_forgets_its_pool_ends():
    program = textwrap.dedent("""
        import time
        from trayray.util.multiprocessing import Pool

        pool = Pool(2)
        print(pool.map(abs, [-1, -2]))
        running = pool.apply_async(time.sleep, (1000,))
    """)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\n", "")


def test_a_pool_starts_a_cluster_and_fails_when_that_is_left(fresh_ray):
    started = Pool(3, ray_address="local")
    assert fresh_ray.cluster_resources()["CPU"] == 3
    running = started.apply_async(time.sleep, (1000,))
    started.apply(abs, (1,))

    fresh_ray.shutdown()

    with pytest.raises((ActorDiedError, RaySystemError)):
        running.get(10)
    with pytest.raises(RaySystemError, match="make a new Pool"):
        started.apply(abs, (1,))
    fresh_ray.init(**init_arguments())
    with pytest.raises(RaySystemError, match="make a new Pool"):
        started.map(abs, [1])
    started.terminate()
    started.join()
