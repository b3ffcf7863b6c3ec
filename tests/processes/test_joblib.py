"""The joblib backends on real processes."""

import os
import sys

import pytest

from trayray.util.joblib import register_ray, register_trayray

joblib = pytest.importorskip("joblib")


@pytest.fixture(params=["ray", "trayray"])
def backend(ray, request):
    register_ray()
    register_trayray()
    return request.param


def test_calls_run_in_the_cluster(backend):
    with joblib.parallel_backend(backend, n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(50)) == [i * i for i in range(50)]
        assert os.getpid() not in joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(4))


def test_an_error_has_its_own_type_and_the_backend_goes_on(backend):
    with joblib.parallel_backend(backend, n_jobs=2):
        with pytest.raises(ZeroDivisionError):
            joblib.Parallel()(joblib.delayed(divmod)(1, x) for x in (1, 0, 2))
        with joblib.Parallel() as parallel:
            with pytest.raises(ZeroDivisionError):
                parallel(joblib.delayed(divmod)(1, x) for x in (1, 0, 2))
            assert parallel(joblib.delayed(divmod)(1, x) for x in (1, 2)) == [(1, 0), (0, 1)]


def test_how_many_processes(ray, backend):
    with joblib.parallel_backend(backend) as (used, _):
        assert [used.effective_n_jobs(n) for n in (1, 2, 4, 100, -1, -2, -100, None)] == [1, 2, 4, 4, 4, 3, 1, 1]
        with pytest.raises(ValueError, match="no meaning"):
            used.effective_n_jobs(0)
    with joblib.parallel_backend(backend, n_jobs=1):
        assert joblib.Parallel()([joblib.delayed(os.getpid)()]) == [os.getpid()]


def test_options_of_the_processes(ray, backend):
    with joblib.parallel_backend(backend, n_jobs=2, ray_remote_args={"num_cpus": 1}):
        free = joblib.Parallel()(joblib.delayed(ray.available_resources)() for _ in range(2))

    assert [each["CPU"] for each in free] == [2, 2]


@pytest.mark.parametrize("register", [register_ray, register_trayray])
def test_without_joblib_it_is_said_what_to_install(register, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)

    with pytest.raises(ImportError, match="pip install joblib"):
        register()
