"""Breakpoints in tasks, actors and drivers of a real cluster, and `trayray debug` with scripts for a terminal."""

import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from tests import leftovers
from tests.conftest import init_arguments
from tests.processes.waiting import eventually
from trayray.link.network import BREAKPOINT
from trayray.link.unix import connect_unix
from trayray.util import rpdb
from trayray.wire.frames import encode_frame
from trayray.wire.greetings import Hello

SECONDS = 30
#: From Python 3.13 on the first stop is in the line that asks for it, before that in the next one.
FIRST = "n\n" if sys.version_info >= (3, 13) else ""


def debug(*arguments, script=""):
    """Run `trayray debug` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "trayray", "debug", *arguments],
        input=script,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def sockets():
    """Sockets of breakpoints that wait, in the order in which they began to."""
    return sorted(
        leftovers.session_root().glob(f"session_*/sockets/{BREAKPOINT}*"), key=lambda path: path.stat().st_ctime
    )


def waiting(count=1):
    """The ids of breakpoints, once so many wait."""
    return eventually(
        lambda: (ids := [path.name.removeprefix(BREAKPOINT) for path in sockets()]) and len(ids) == count and ids
    )


@pytest.fixture
def functions(ray):
    """Remote functions with breakpoints."""

    @ray.remote(max_retries=0)
    def stops(x):
        y = x + 1
        breakpoint()
        return y * 10

    return stops


def test_a_breakpoint_in_a_task(ray, functions):
    ref = functions.remote(4)
    (name,) = waiting()

    listed = debug("--list")
    assert listed.returncode == 0
    assert re.match(
        rf"{name}  \S*stops at {re.escape(__file__)}:\d+  task \S*stops \([0-9a-f]+\), pid \d+\n", listed.stdout
    )
    assert "breakpoint()" in listed.stdout

    done = debug(script=f"{FIRST}p x, y\nw\ny = 7\nc\n")
    assert done.returncode == 0, done.stderr
    assert "(4, 5)" in done.stdout
    assert "-> return y * 10" in done.stdout
    assert "execution.py" not in done.stdout, "the runtime's own frames are not shown"
    assert ray.get(ref, timeout=SECONDS) == 70
    assert sockets() == []
    assert debug("--list").stdout == "No breakpoint waits.\n"


@pytest.mark.parametrize("script", ["q\n", "", "n\nn\nn\nn\nn\n", "b 1\nc\n"])
def test_the_task_goes_on_when_the_debugger_leaves(ray, functions, script):
    ref = functions.remote(4)
    (name,) = waiting()

    assert debug(name, script=script).returncode == 0
    assert ray.get(ref, timeout=SECONDS) == 50


def test_the_task_goes_on_when_the_debugger_is_killed(ray, functions):
    ref = functions.remote(4)
    (name,) = waiting()
    with subprocess.Popen(
        [sys.executable, "-m", "trayray", "debug", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert "test_debugger.py" in process.stdout.readline()
        process.kill()

    assert ray.get(ref, timeout=SECONDS) == 50


def test_several_at_once(ray, functions):
    refs = [functions.remote(number) for number in range(3)]
    names = waiting(3)

    ambiguous = debug(script="c\n")
    assert ambiguous.returncode == 1
    assert "3 breakpoints wait" in ambiguous.stderr
    assert all(name in ambiguous.stdout for name in names)
    values = []
    for name in reversed(names):
        shown = debug(name, script="print('x is', x)\nc\n").stdout
        values.append(int(re.search(r"x is (\d)", shown)[1]))
    assert sorted(values) == [0, 1, 2]
    assert ray.get(refs, timeout=SECONDS) == [10, 20, 30]


def test_an_actor_and_its_threads(ray):
    @ray.remote(max_concurrency=2)
    class Actor:
        def stop(self, x):
            rpdb.set_trace()
            return x

        def other(self):
            return "free"

    actor = Actor.remote()
    ref = actor.stop.remote(3)
    (name,) = waiting()

    assert ray.get(actor.other.remote(), timeout=SECONDS) == "free"
    assert "in actor Actor" in debug("--list").stdout
    assert "(Pdb) 3" in debug(name, script="p x\nc\n").stdout
    assert ray.get(ref, timeout=SECONDS) == 3


def test_an_async_actor(ray):
    @ray.remote
    class Actor:
        async def stop(self):
            import asyncio

            breakpoint()
            value = 1
            await asyncio.sleep(0)
            return value + 1

    actor = Actor.remote()
    refs = [actor.stop.remote()]
    (name,) = waiting()

    shown = debug(name, script=f"{FIRST}n\nn\np value\nn\n").stdout
    assert "(Pdb) 1" in shown
    assert "trayray/worker" not in shown
    assert ray.get(refs, timeout=SECONDS) == [2]


def test_two_stops_in_one_task(ray):
    @ray.remote
    def twice():
        breakpoint()
        first = 1
        breakpoint()
        return first

    ref = twice.remote()
    (first,) = waiting()
    assert debug(first, script="c\n").returncode == 0
    (second,) = eventually(lambda: (ids := waiting()) != [first] and ids)
    assert "(Pdb) 1" in debug(second, script="p first\nc\n").stdout
    assert ray.get(ref, timeout=SECONDS) == 1


def test_post_mortem(ray):
    @ray.remote
    def fails(x):
        try:
            return 1 / x
        except ZeroDivisionError:
            rpdb.post_mortem()
            return "survived"

    ref = fails.remote(0)
    (name,) = waiting()

    assert "after ZeroDivisionError: division by zero: return 1 / x" in debug("--list").stdout
    assert "(Pdb) 0" in debug(name, script="p x\nq\n").stdout
    assert ray.get(ref, timeout=SECONDS) == "survived"


def test_post_mortem_needs_an_exception(ray):
    with pytest.raises(ValueError, match="except"):
        rpdb.post_mortem()
    with pytest.raises(ValueError, match="raised"):
        rpdb.post_mortem(ValueError("never raised"))


def test_pythonbreakpoint_has_the_last_word(ray):
    @ray.remote
    def skips():
        os.environ["PYTHONBREAKPOINT"] = "0"
        try:
            breakpoint()
        finally:
            del os.environ["PYTHONBREAKPOINT"]
        return "not stopped"

    assert ray.get(skips.remote(), timeout=SECONDS) == "not stopped"


def test_the_door_wants_the_token(ray, functions):
    ref = functions.remote(4)
    waiting()
    (path,) = sockets()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for said in (encode_frame([Hello("0" * 64, "debug", b"", os.getpid())]), b"\xff" * 64, b"p x\n", b""):
        with connect_unix(path) as sock:
            sock.sendall(said)
            sock.shutdown(1)
            sock.settimeout(SECONDS)
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
    assert "(Pdb) 4" in debug(script="p x\nc\n").stdout
    assert ray.get(ref, timeout=SECONDS) == 50


def test_a_worker_that_is_killed_leaves_no_breakpoint(ray, functions):
    ref = functions.remote(4)
    (name,) = waiting()

    os.kill(int(name.partition("-")[0]), signal.SIGKILL)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ref, timeout=SECONDS)
    assert eventually(lambda: sockets() == [])
    gone = debug(name)
    assert gone.returncode == 1
    assert f"no breakpoint {name} waits" in gone.stderr


DRIVER = """
import trayray as ray
from trayray.util import rpdb

ray.init(address="local", num_cpus=1, object_store_memory=100 * 2**20)
answer = 42
rpdb.set_trace()
print("answer", answer)
"""


def test_a_driver(fresh_ray, tmp_path):
    program = tmp_path / "driver.py"
    program.write_text(DRIVER)
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    ) as process:
        (name,) = waiting()
        assert "driver, pid" in debug("--list").stdout
        assert debug(name, script="p answer\nanswer = 43\nc\n").returncode == 0
        out, errors = process.communicate(timeout=SECONDS)

    assert out == "answer 43\n", errors
    assert f"trayray debug {name}" in errors


def test_the_driver_is_told_where_to_connect(fresh_ray, capfd):
    fresh_ray.init(**init_arguments(log_to_driver=True))

    @fresh_ray.remote
    def stops():
        breakpoint()

    ref = stops.remote()
    (name,) = waiting()
    debug(name, script="c\n")
    fresh_ray.get(ref, timeout=SECONDS)
    fresh_ray.shutdown()

    assert re.search(
        rf"\(stops pid=\d+\) breakpoint in .*stops .*: trayray debug {name}\n", "".join(capfd.readouterr())
    )


def test_without_a_cluster_it_is_the_ordinary_debugger():
    program = "from trayray.util import rpdb\nx = 5\nrpdb.set_trace()\nprint('after', x)\n"

    done = subprocess.run(
        [sys.executable, "-c", program], input="p x\nc\n", capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert (done.returncode, "(Pdb) 5" in done.stdout, "after 5" in done.stdout) == (0, True, True)


def test_no_cluster_at_that_address():
    done = debug("--address=127.0.0.1:1")

    assert done.returncode == 1
    assert "no cluster of this user listens at 127.0.0.1:1" in done.stderr
