"""`trayray.util.why`: what is told of references, tasks and actors in every state."""

import os
import re
import time

import pytest

from tests.processes.waiting import eventually
from trayray.util import why


@pytest.fixture
def flag(tmp_path):
    """What waits for this file goes on when it is there: at the end of the test."""
    yield tmp_path / "flag"
    (tmp_path / "flag").touch()


@pytest.fixture
def work(ray, flag):
    @ray.remote
    def nap():
        while not flag.exists():
            time.sleep(0.01)
        return os.getpid()

    return nap


def lines(pattern, what, state):
    """The explanation once it matches: work needs a moment to get where it stays."""
    found = eventually(lambda: re.fullmatch(pattern, str(why(what)), re.DOTALL))
    assert why(what).state == state
    return found


def test_running(ray, work):
    ref = work.remote()

    text = rf"ObjectRef\({ref.hex()}\) is made by \S*nap\(\).\n\S*nap\(\) runs in worker pid (\d+) on 127.0.0.1."
    found = lines(text, ref, "running")

    assert os.path.exists(f"/proc/{found[1]}")


def test_through_arguments_gets_and_processes(ray, work):
    @ray.remote
    def wait(refs):
        return ray.get(refs[0])

    @ray.remote
    def use(value):
        return value

    inner = work.remote()
    outer = wait.remote([inner])
    last = use.remote(outer)

    lines(
        rf"ObjectRef\({last.hex()}\) is made by \S*use\(\).\n"
        rf"\S*use\(\) waits for its argument ObjectRef\({outer.hex()}\), the result of \S*wait\(\).\n"
        r"\S*wait\(\) runs in worker pid \d+ on 127.0.0.1 and has waited in get for [\d.]+ s for "
        rf"ObjectRef\({inner.hex()}\), the result of \S*nap\(\).\n"
        r"\S*nap\(\) runs in worker pid \d+ on 127.0.0.1.",
        last,
        "running",
    )


def test_queued(ray, work):
    holders = [work.options(num_cpus=2).remote() for _ in range(2)]
    queued = work.options(num_cpus=3).remote()

    lines(
        rf"ObjectRef\({queued.hex()}\) is made by \S*nap\(\).\n"
        r'\S*nap\(\) is queued. It needs {"CPU": 3}, free is {"CPU": 0}. Held by 2 x \S*nap \(pids \d+, \d+\): '
        r'{"CPU": 2} each.',
        queued,
        "queued",
    )
    assert ray.wait(holders, timeout=0)[0] == []


def test_values_errors_and_what_nobody_knows(ray):
    @ray.remote
    def fail():
        raise KeyError("nothing")

    failed = fail.remote()
    put = ray.put(1)
    ray.wait([failed], timeout=20)

    assert str(why(put)) == f"ObjectRef({put.hex()}) has its value."
    assert why(put.hex()) == why(repr(put)) == why(put)
    assert str(why(failed)) == f"ObjectRef({failed.hex()}) has failed: KeyError: 'nothing'"
    assert (why(failed).state, why(put).state, why("ab" * 28).state) == ("failed", "ready", "unknown")
    assert "No process of the cluster knows ObjectRef(abab" in str(why("ab" * 28))
    assert "belongs to another" in str(why("ab" * 28))
    assert "No process of the cluster waits for the task abab" in str(why("ab" * 24))
    assert str(why("ab" * 16)) == f"The actor {'ab' * 16} is not known to the cluster."
    assert why("Nobody").lines == ("There is no living actor of the name 'Nobody', and it is no id.",)
    with pytest.raises(TypeError, match="not int"):
        why(3)


def test_actors(ray, work, flag):
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self, waits=False):
            while waits and not flag.exists():
                time.sleep(0.01)

        def work(self):
            while not flag.exists():
                time.sleep(0.01)

        def answer(self, *_):
            return 1

    actor = Actor.options(name="ann").remote()
    ray.get(actor.answer.remote())
    ann = rf"The actor Actor \({actor._ray_info.actor_id.hex()}\)"
    where = rf"in actor Actor \({actor._ray_info.actor_id.hex()}, in worker pid \d+ on 127.0.0.1\)"
    lines(rf"{ann} runs in worker pid \d+ on 127.0.0.1.\nIt executes nothing {where}.", actor, "idle")
    assert why("ann").state == "idle"

    running, queued = actor.work.remote(), actor.answer.remote()
    lines(
        rf"ObjectRef\({queued.hex()}\) is made by Actor.answer\(\).\n"
        r"Actor.answer\(\) has not begun: its actor runs one call at a time, now Actor.work\(\).\n"
        rf"Actor.work\(\) runs {where}.",
        queued,
        "running",
    )
    assert why(running.task_id().hex()).lines[-1].startswith("Actor.work() runs")

    held, behind = actor.answer.remote(work.remote()), actor.answer.remote()
    lines(r".*Actor.answer\(\) waits for its argument ObjectRef.*nap\(\) runs in worker.*", held, "running")
    lines(r".*Actor.answer\(\) keeps its place behind an earlier call.*nap\(\) runs in.*", behind, "running")

    starting = Actor.remote(True).answer.remote()
    lines(
        r"[^\n]*\nActor.answer\(\) waits until its actor runs.\nThe actor Actor \(\w+\) is being constructed.\n"
        r"Actor.__init__\(\) runs in actor [^\n]*",
        starting,
        "running",
    )
    unborn = Actor.remote(work.remote()).answer.remote()
    lines(r".*waits for its constructor's arguments.\nActor.__init__\(\) waits for its argument.*", unborn, "running")
    large = Actor.options(num_cpus=64).remote()
    lines(r'The actor Actor \(\w+\) waits for a worker. It asks for {"CPU": 64}, which no node.*', large, "queued")
    ray.kill(actor)
    lines(r"The actor Actor \(\w+\) is dead: it was killed by ray.kill.", actor, "dead")


def test_a_circle_that_a_timeout_ends(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def ask(self, me):
            try:
                return ray.get(me.answer.remote(), timeout=2)
            except ray.exceptions.GetTimeoutError:
                return "timeout"

        def answer(self):
            return 1

    actor = Actor.remote()
    ref = actor.ask.remote(actor)

    text = eventually(lambda: (found := why(ref)).state == "circle" and str(found))
    assert text.endswith("So Actor.ask() waits for itself, until one of these gives up.")
    assert "has waited in get, with a timeout, for " in text
    assert ray.get(ref, timeout=20) == "timeout"
