import subprocess
import sys
import textwrap


def run(source: str) -> str:
    """What a program prints, which has to succeed; the name `ray` belongs to the process."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_names_stand_for_the_same_modules():
    run(
        """
        import trayray
        trayray.install_as_ray()
        trayray.install_as_ray()
        import ray
        import ray.util, trayray.util
        import ray.model.ids, trayray.model.ids
        from ray.exceptions import RayTaskError
        from ray import runtime_context
        import trayray.exceptions, trayray.runtime_context

        assert ray is trayray
        assert ray.util is trayray.util
        assert ray.model.ids is trayray.model.ids
        assert RayTaskError is trayray.exceptions.RayTaskError
        assert runtime_context is trayray.runtime_context
        """
    )


def test_modules_keep_their_own_names_and_specs():
    said = run(
        """
        import trayray
        trayray.install_as_ray()
        import ray.util
        print(ray.__name__, ray.__spec__.name, ray.util.__name__, ray.util.__spec__.name, ray.__version__)
        print(trayray.RAY_VERSION == ray.RAY_VERSION, ray.__version__ == trayray.__version__)
        """
    )

    assert said.splitlines()[0].startswith("trayray trayray trayray.util trayray.util ")
    assert said.splitlines()[1] == "True True"


def test_missing_submodule_is_missing_under_both_names():
    said = run(
        """
        import trayray
        trayray.install_as_ray()
        for name in ("ray.no_such_module", "trayray.no_such_module"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                print(error)
        """
    )

    assert said == "No module named 'ray.no_such_module'\nNo module named 'trayray.no_such_module'\n"


def test_workers_know_the_name_too():
    said = run(
        """
        import pickle
        import trayray
        trayray.install_as_ray()
        import ray

        @ray.remote
        def task():
            import ray
            from ray.exceptions import RayError
            return ray.__name__, ray.get(ray.put(1)), RayError.__module__

        @ray.remote
        class Actor:
            def load(self, data):
                return pickle.loads(data)

        ray.init(address="local", num_cpus=1, log_to_driver=False)
        print(ray.get(task.remote()))
        # Pickled by reference to a module called "ray...".
        print(ray.get(Actor.remote().load.remote(b"cray.exceptions\\nRayError\\n.")).__name__)
        ray.shutdown()
        """
    )

    assert said == "('trayray', 1, 'trayray.exceptions')\nRayError\n"


def test_workers_of_other_jobs_do_not():
    said = run(
        """
        import trayray

        @trayray.remote
        def task():
            import sys
            from trayray.worker.ray_alias import is_installed
            return is_installed()

        trayray.init(address="local", num_cpus=1, log_to_driver=False)
        print(trayray.get(task.remote()))
        trayray.shutdown()
        """
    )

    assert said == "False\n"


def test_another_ray_is_refused():
    said = run(
        """
        import sys, types
        sys.modules["ray"] = other = types.ModuleType("ray")
        other.__file__ = "/somewhere/ray/__init__.py"
        import trayray
        try:
            trayray.install_as_ray()
        except RuntimeError as error:
            print(error)
        import ray
        assert ray is other
        """
    )

    assert "'ray' of /somewhere/ray/__init__.py has been imported already" in said


def test_too_late_for_the_workers_is_refused():
    said = run(
        """
        import trayray
        trayray.init(address="local", num_cpus=1, log_to_driver=False)
        try:
            trayray.install_as_ray()
        except RuntimeError as error:
            print(error)
        trayray.shutdown()
        trayray.install_as_ray()
        """
    )

    assert said == "call install_as_ray() before init(): workers learn of it when the job starts\n"
