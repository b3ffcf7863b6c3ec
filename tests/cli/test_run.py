import pathlib
import signal
import subprocess
import textwrap

import pytest

from tests.cli.conftest import Place

SCRIPT = """
import sys
import ray
import beside

class Point:
    def __init__(self, x):
        self.x = x

@ray.remote
def worker(point):
    import ray.exceptions
    from ray.util import list_named_actors
    return point.x, __name__, beside.name, ray.exceptions.RayError.__module__

if __name__ == "__main__":
    ray.init(num_cpus=1)
    print(sys.argv[1:], __file__ == sys.argv[0], *ray.get(worker.remote(Point(3))))
    sys.exit(7)
"""


def write(place: Place, name: str, source: str) -> pathlib.Path:
    path = place.path / "programs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return path


def run(place: Place, *arguments: object, **how: object) -> "subprocess.CompletedProcess[str]":
    return place.trayray("run", *arguments, **how)


@pytest.fixture
def script(place: Place) -> pathlib.Path:
    write(place, "beside.py", "import ray\nname = ray.__name__\n")
    return write(place, "script.py", SCRIPT)


def test_script_that_imports_ray(place: Place, script: pathlib.Path):
    done = run(place, script, "--help", "-m", "x")

    assert done.stdout == "['--help', '-m', 'x'] True 3 __main__ trayray trayray.exceptions\n", done.stderr
    assert done.returncode == 7


def test_module_that_imports_ray(place: Place, script: pathlib.Path):
    done = run(place, "-m", "script", "--flag", cwd=script.parent)

    assert done.stdout == "['--flag'] True 3 __main__ trayray trayray.exceptions\n", done.stderr
    assert done.returncode == 7


@pytest.mark.parametrize("how", [["package"], ["-m", "package"]])
def test_directory_and_package_run_their_main_module(place: Place, how: list[str]):
    path = write(place, "package/__main__.py", "import sys\nprint(__name__, __file__, sys.path[0])\n")

    root = path.parent.parent
    ours = run(place, *how, cwd=root)

    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == place.python(*how, cwd=root).stdout


def test_traceback_is_the_programs_own(place: Place):
    path = write(place, "fails.py", "def f():\n    raise ValueError('no')\nf()\n")

    ours = run(place, path)

    plain = place.python(path)
    assert (ours.stderr, ours.returncode) == (plain.stderr, plain.returncode)
    assert "ValueError: no" in ours.stderr


def test_syntax_error_is_the_programs_own(place: Place):
    path = write(place, "wrong.py", "x = = 1\n")

    ours = run(place, path)

    assert (ours.stderr, ours.returncode) == (place.python(path).stderr, 1)


def test_error_in_a_package_keeps_its_traceback(place: Place):
    write(place, "broken/__init__.py", "raise ValueError('in the package')\n")
    path = write(place, "broken/part.py", "")

    done = run(place, "-m", "broken.part", cwd=path.parent.parent)

    assert done.returncode == 1
    assert 'broken/__init__.py", line 1' in done.stderr


def test_interrupt_is_left_to_the_interpreter(place: Place):
    path = write(place, "stopped.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")

    assert run(place, path).returncode == place.python(path).returncode == -signal.SIGINT


def test_exit_handlers_still_find_the_program(place: Place):
    path = write(
        place,
        "leaves.py",
        "import atexit\ndef f(): pass\natexit.register(lambda: print(_main().f is f))\n"
        "def _main():\n    import __main__\n    return __main__\n",
    )

    assert run(place, path).stdout == "True\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing argument"),
        (["nowhere.py"], "there is no file 'nowhere.py'"),
        (["-m", "no_such_module"], "no module named 'no_such_module'"),
        (["-m", "no_such_package.module"], "no_such_package"),
        (["."], "can't find a '__main__' module in '.'"),
    ],
)
def test_missing_program_is_named(place: Place, arguments: list[str], says: str):
    done = run(place, *arguments, cwd=place.path)

    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
