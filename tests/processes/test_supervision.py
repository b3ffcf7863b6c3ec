"""Supervisors and their children in real processes: order, deadlines, restarts, escalation, and nothing left over."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
from types import ModuleType
from typing import Any

import pytest
import trio

import trayray
from tests.conftest import init_arguments
from tests.processes.supervised import Child, Refuses, kill, note, until, words
from tests.processes.waiting import eventually
from trayray import ChildSpec, SupervisorSpec, open_supervisor
from trayray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    SupervisionError,
    SupervisorGaveUpError,
    SupervisorStartError,
)

pytestmark = pytest.mark.usefixtures("ray")


@pytest.fixture
def log(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "log")


def child(log: str, name: str, **how: Any) -> ChildSpec:
    return ChildSpec(name, Child, (log, name), **how)


# --- order ---


def test_children_start_in_order_and_end_in_reverse(log: str) -> None:
    async def main() -> None:
        async with open_supervisor(child(log, name) for name in "abc") as supervisor:
            assert words(log) == ["start-a", "start-b", "start-c"]
            assert [info.state for info in supervisor.which_children()] == ["running"] * 3

    trio.run(main)
    assert words(log)[3:] == ["end-c", "end-b", "end-a"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["start-b"]),
        ("rest_for_one", ["end-c", "start-b", "start-c"]),
        ("one_for_all", ["end-c", "end-a", "start-a", "start-b", "start-c"]),
    ],
)
def test_a_killed_child_is_started_again_with_those_that_belong_to_it(log: str, strategy: Any, expected: Any) -> None:
    async def main() -> None:
        async with open_supervisor([child(log, name) for name in "abc"], strategy=strategy) as supervisor:
            events = supervisor.events()
            handles = [supervisor[name] for name in "abc"]
            before = [await handle.pid.remote() for handle in handles]
            await kill(supervisor["b"])
            last = expected[-1].removeprefix("start-")
            await until(events, "started", last)
            assert words(log)[3:] == expected
            assert [supervisor[name] for name in "abc"] == handles, "handles stay"
            after = [await handle.pid.remote() for handle in handles]
            restarted = [name for name, old, new in zip("abc", before, after, strict=True) if old != new]
            assert [f"start-{name}" for name in restarted] == [word for word in expected if word.startswith("start")]

    trio.run(main)


def test_a_cancelled_block_stops_its_children_in_reverse_order(log: str) -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            async with open_supervisor([child(log, "a"), SupervisorSpec([child(log, "b"), child(log, "c")], "pool")]):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught

    trio.run(main)
    assert words(log) == ["start-a", "start-b", "start-c", "end-c", "end-b", "end-a"]


def test_an_error_of_the_block_is_raised_when_the_children_are_gone(log: str) -> None:
    async def main() -> None:
        async with open_supervisor([child(log, "a")]):
            raise LookupError("of the block")

    with pytest.raises(LookupError, match="of the block"):
        trio.run(main)
    assert words(log) == ["start-a", "end-a"]


# --- calls over restarts ---


def test_calls_meanwhile_behave_as_with_max_restarts(log: str) -> None:
    async def main() -> None:
        spec = ChildSpec("a", Child.options(max_task_retries=-1), (log, "a"))
        async with open_supervisor([spec, child(log, "b")], intensity=2) as supervisor:
            patient, plain = supervisor["a"], supervisor["b"]
            assert await patient.count.remote() == 1
            await kill(patient)
            assert await patient.count.remote() == 1, "it waits for the new process, which knows nothing"
            await kill(plain)
            with pytest.raises(ActorUnavailableError):
                while True:  # the first that meets the restart
                    await plain.count.remote()

    trio.run(main)


def test_a_handle_of_another_process_stays_valid_too(log: str) -> None:
    @trayray.remote(num_cpus=0)
    class Caller:
        def __init__(self, target: Any) -> None:
            self.target = target

        def ask(self) -> int:
            return trayray.get(self.target.pid.remote())

    async def main() -> None:
        spec = ChildSpec("a", Child.options(max_task_retries=-1), (log, "a"))
        async with open_supervisor([spec]) as supervisor, trayray.open_actor(Caller, supervisor["a"]) as caller:
            before = await caller.ask.remote()
            assert await kill(supervisor["a"]) == before
            assert await caller.ask.remote() not in (before, 0)

    trio.run(main)


# --- ends ---


def test_how_an_actor_ends_decides(log: str) -> None:
    async def main() -> None:
        async with open_supervisor([child(log, name, restart="transient") for name in "ab"]) as supervisor:
            events = supervisor.events()
            supervisor["a"].leave.remote()
            exited = await until(events, "exited", "a")
            assert "exit_actor() was called" in exited.reason
            supervisor["b"].exit.remote(3)
            assert "exit code 3" in (await until(events, "exited", "b")).reason
            assert "exit code 3" in (await until(events, "restarting", "b")).reason
            await until(events, "started", "b")
            assert [info.state for info in supervisor.which_children()] == ["stopped", "running"]
            assert (supervisor.count_children().specs, supervisor.count_children().active) == (2, 1)
            with pytest.raises(ActorUnavailableError, match=r"exit_actor\(\) was called"):
                await supervisor["a"].count.remote()
        with pytest.raises(ActorDiedError):
            await supervisor["b"].count.remote()

    trio.run(main)


def test_kill_is_a_crash_for_the_supervisor(log: str) -> None:
    async def main() -> None:
        async with open_supervisor([child(log, "a", restart="transient")]) as supervisor:
            events = supervisor.events()
            await trio.to_thread.run_sync(trayray.kill, supervisor["a"])
            assert "killed by ray.kill" in (await until(events, "restarting", "a")).reason
            await until(events, "started", "a")
            assert await supervisor["a"].count.remote() == 1

    trio.run(main)


def test_a_child_that_cannot_be_started_undoes_the_start(log: str, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with open_supervisor([child(log, "a"), ChildSpec("b", Refuses, (str(tmp_path),)), child(log, "c")]):
            raise AssertionError("it has not started")

    with pytest.raises(SupervisorStartError, match=r"'b' could not be started.*ValueError: there is an obstacle") as e:
        trio.run(main)
    assert isinstance(e.value.__cause__, ValueError)
    assert words(log) == ["start-a", "end-a"]


def test_a_crash_loop_ends_in_one_typed_error(log: str) -> None:
    async def main() -> None:
        async with open_supervisor([child(log, "a"), child(log, "b")], intensity=1) as supervisor:
            events = supervisor.events()
            await kill(supervisor["a"])
            await until(events, "started", "a")
            await kill(supervisor["a"])
            await trio.sleep_forever()  # the block is cancelled

    with pytest.raises(SupervisorGaveUpError, match=r"more than one restart in 5 s.*SIGKILL") as caught:
        trio.run(main)
    assert (caught.value.supervisor, caught.value.child) == ("supervisor", "a")
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert [type(cause) for cause in caught.value.causes] == [ActorDiedError] * 2
    assert words(log) == ["start-a", "start-b", "start-a", "end-b"]


def test_a_failed_restart_is_tried_again(tmp_path: pathlib.Path) -> None:
    obstacle = tmp_path / "obstacle"

    async def main() -> None:
        async with open_supervisor([ChildSpec("a", Refuses, (str(obstacle),))], intensity=1000) as supervisor:
            events = supervisor.events()
            obstacle.touch()
            await kill(supervisor["a"])
            failed = await until(events, "start_failed", "a")
            assert "ValueError: there is an obstacle" in failed.reason
            obstacle.unlink()
            assert (await until(events, "started", "a")).count > 1
            assert await supervisor["a"].pid.remote()

    trio.run(main)


def test_a_supervisor_that_gives_up_is_started_again_by_its_parent_and_then_gives_it_up(log: str) -> None:
    async def main() -> None:
        pool = SupervisorSpec([child(log, "a")], "pool", intensity=0)
        async with open_supervisor([pool], intensity=1, name="root") as supervisor:
            events = supervisor.events()
            handle = supervisor["pool"]["a"]
            await kill(handle)
            await until(events, "gave_up", "pool")
            await until(events, "started", "pool")
            assert await handle.pid.remote(), "it is the same actor"
            await kill(handle)
            await trio.sleep_forever()

    with pytest.raises(SupervisorGaveUpError, match="'root' has given up") as caught:
        trio.run(main)
    inner = caught.value.causes[-1]
    assert isinstance(inner, SupervisorGaveUpError)
    assert (inner.supervisor, inner.child) == ("pool", "a")
    assert isinstance(inner.__cause__, ActorDiedError)


def test_a_significant_child_ends_the_block_without_an_error(log: str) -> None:
    async def main() -> None:
        significant = child(log, "s", restart="transient", significant=True)
        async with open_supervisor([child(log, "a"), significant], auto_shutdown="any_significant") as supervisor:
            supervisor["s"].leave.remote()
            await trio.sleep_forever()

    trio.run(main)
    assert words(log) == ["start-a", "start-s", "end-s", "end-a"]


# --- deadlines ---


def test_a_child_that_takes_too_long_is_killed_and_one_that_is_killed_cleans_nothing_up(log: str) -> None:
    async def main() -> None:
        slow = ChildSpec("slow", Child, (log, "slow", 60.0), shutdown=0.3)
        async with open_supervisor([child(log, "killed", shutdown="brutal_kill"), slow]):
            pass

    trio.run(main)
    assert words(log) == ["start-killed", "start-slow"]


# --- functions ---


@trayray.remote(num_cpus=0)
def works(log: str, name: str) -> None:
    note(log, f"start-{name}")
    try:
        while not os.path.exists(f"{log}.{name}"):
            trayray.get_runtime_context()
    finally:
        note(log, f"end-{name}")
    os.remove(f"{log}.{name}")
    if name == "raises":
        raise ValueError("it does not work")


def test_remote_functions_are_long_running_children(log: str) -> None:
    async def main() -> None:
        specs = [ChildSpec(name, works, (log, name), restart="transient") for name in ("returns", "raises", "runs")]
        async with open_supervisor(specs) as supervisor:
            events = supervisor.events()
            await trio.to_thread.run_sync(eventually, lambda: len(words(log)) == 3)
            for name in ("returns", "raises"):
                note(f"{log}.{name}", "now")
            assert "ValueError: it does not work" in (await until(events, "restarting", "raises")).reason
            await trio.to_thread.run_sync(eventually, lambda: words(log).count("start-raises") == 2)
            assert {info.id: info.state for info in supervisor.which_children()} == {
                "returns": "stopped",
                "raises": "running",
                "runs": "running",
            }

    trio.run(main)
    assert words(log)[-2:] == ["end-runs", "end-raises"], "they clean up, in reverse order"


def test_async_functions_are_tasks_of_the_supervisors_loop() -> None:
    story: list[str] = []
    failing: dict[str, trio.Event] = {}

    async def local(name: str, *, task_status: trio.TaskStatus[None]) -> None:
        story.append(f"begin-{name}")
        task_status.started()
        try:
            await failing[name].wait()
            raise ValueError("told to")
        finally:
            story.append(f"end-{name}")

    async def main() -> None:
        failing.update({name: trio.Event() for name in "ab"})
        async with open_supervisor([ChildSpec(name, local, (name,)) for name in "ab"], intensity=2) as supervisor:
            events = supervisor.events()
            failing["a"].set()
            failing["a"] = trio.Event()
            assert (await until(events, "restarting", "a")).reason == "'a' ended: it raised ValueError: told to"
            await until(events, "started", "a")

    trio.run(main)
    assert sorted(story[:2]) == ["begin-a", "begin-b"]
    assert story[-2:] == ["end-b", "end-a"]


# --- children made at run time ---


def test_children_made_at_run_time(log: str) -> None:
    async def main() -> None:
        async with open_supervisor([child(log, "a")]) as supervisor:
            handle = await supervisor.start_child(child(log, "b"))
            assert handle is supervisor["b"] is supervisor.actor("b", Child)
            with pytest.raises(TypeError, match="not an actor of the class Refuses"):
                supervisor.actor("b", Refuses)
            await supervisor.terminate_child("a")
            assert words(log) == ["start-a", "start-b", "end-a"]
            with pytest.raises(ActorUnavailableError, match="stopped it: terminate_child was called"):
                await supervisor["a"].count.remote()
            with pytest.raises(SupervisionError, match="restart_child"):
                await supervisor.start_child(child(log, "a"))
            assert await (await supervisor.restart_child("a")).count.remote() == 1
            for request in (supervisor.restart_child, supervisor.delete_child):
                with pytest.raises(SupervisionError, match="that runs") as refused:
                    await request("a")
                assert refused.value.refusal == "running"
            await supervisor.terminate_child("a")
            dead = supervisor["a"]
            await supervisor.delete_child("a")
            with pytest.raises(KeyError, match="it has: 'b'"):
                supervisor["a"]
            with pytest.raises(ActorDiedError):
                await dead.count.remote()
            with pytest.raises(SupervisionError, match=r"could not start its child 'x': .*ValueError") as failed:
                await supervisor.start_child(ChildSpec("x", Refuses, ("/",)))
            assert isinstance(failed.value.__cause__, ValueError)

    trio.run(main)


def test_children_that_are_alike(log: str) -> None:
    async def main() -> None:
        spec = ChildSpec("w", Child, (log,), restart="transient")
        async with open_supervisor([spec], strategy="simple_one_for_one") as supervisor:
            assert supervisor.which_children() == []
            first, second = await supervisor.start_child("x"), await supervisor.start_child("y", end_takes=0.1)
            assert [info.id for info in supervisor.which_children()] == ["w-1", "w-2"]
            events = supervisor.events()
            await kill(first)
            await until(events, "started", "w-1")
            assert supervisor["w-1"] is first
            await supervisor.terminate_child(second)
            assert words(log) == ["start-x", "start-y", "start-x", "end-y"]
            assert supervisor.count_children().workers == 1

    trio.run(main)
    assert words(log)[-1] == "end-x"


# --- whose process ends ---


def test_a_supervisor_in_an_actor_ends_with_it_and_its_children(log: str) -> None:
    @trayray.remote(num_cpus=0)
    class Host:
        async def pid(self) -> int:
            return os.getpid()

        async def supervise(self) -> None:
            async with open_supervisor([child(log, "inner")]):
                await trio.sleep_forever()

    async def main() -> None:
        async with open_supervisor([ChildSpec("host", Host)]) as supervisor:
            events = supervisor.events()
            running = supervisor["host"].supervise.remote()
            await trio.to_thread.run_sync(eventually, lambda: words(log) == ["start-inner"])
            await kill(supervisor["host"])
            await until(events, "started", "host")
            with pytest.raises(ActorUnavailableError):
                await running

    trio.run(main)
    eventually(lambda: words(log) == ["start-inner", "end-inner"])


# --- programs that block ---


def test_supervisors_of_programs_that_block(log: str, ray: ModuleType) -> None:
    with ray.supervise([child(log, "a"), SupervisorSpec([child(log, "b")], "pool")]) as supervisor:
        events = supervisor.events()
        handle = supervisor["pool"]["b"]
        os.kill(ray.get(handle.pid.remote()), signal.SIGKILL)
        assert next(e for e in events if e.kind == "started").path == "pool/b"
        assert ray.get(supervisor["pool"]["b"].count.remote()) == 1
        assert supervisor.start_child(child(log, "c")) is supervisor["c"]
        supervisor.terminate_child("c")
        supervisor.delete_child("c")
        assert [info.id for info in supervisor.which_children()] == ["a", "pool"]
        assert supervisor.count_children().active == 2
    assert [event.kind for event in events][-1] == "ended"
    assert words(log)[-2:] == ["end-b", "end-a"]


def test_giving_up_in_a_program_that_blocks(log: str, ray: ModuleType) -> None:
    with (
        pytest.raises(SupervisorGaveUpError, match="has given up"),
        ray.supervise(SupervisorSpec([child(log, "a")], intensity=0)) as supervisor,
    ):
        os.kill(ray.get(supervisor["a"].pid.remote()), signal.SIGKILL)
        with pytest.raises(SupervisorGaveUpError):
            supervisor.wait()
        with pytest.raises(SupervisorGaveUpError):
            supervisor.which_children()


def test_a_program_that_ends_inside_the_block_leaves_nothing(log: str) -> None:
    program = """
    import os, signal, sys
    import trayray as ray
    from tests.processes.supervised import Child
    ray.init(address="local", num_cpus=1, log_to_driver=False)
    with ray.supervise([ray.ChildSpec("a", Child, (sys.argv[1], "a"))]):
        os.kill(os.getpid(), signal.SIGKILL)
    """
    root = pathlib.Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), log], cwd=root, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    eventually(lambda: words(log) == ["start-a", "end-a"])


# --- wrong use ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChildSpec("a", Child.remote), "is an actor class or a remote function"),
        (lambda: ChildSpec("a", Child, restart="always"), "restart='always' is none of 'permanent', 'transient'"),
        (lambda: ChildSpec("a", Child, shutdown=-1), "shutdown=-1 is neither a number of seconds nor"),
        (lambda: ChildSpec("a", Child.options(max_restarts=3)), "max_restarts cannot be said of a supervised actor"),
        (lambda: ChildSpec("a", Child.options(name="x", lifetime="detached")), "outlives its supervisor"),
        (lambda: ChildSpec("", Child), "a text that is not empty"),
        (lambda: SupervisorSpec([Child]), "are described by ChildSpec and SupervisorSpec"),
        (lambda: SupervisorSpec([ChildSpec("a", Child)] * 2), "two children of 'supervisor' have the id 'a'"),
        (lambda: SupervisorSpec(intensity=-1), "intensity=-1 is no number of restarts"),
        (lambda: SupervisorSpec(period=0), "period=0 is no positive number"),
        (lambda: SupervisorSpec(strategy="simple_one_for_one"), "one child specification"),
    ],
)
def test_wrong_specifications_are_refused_where_they_are_made(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_an_async_function_has_no_loop_in_a_program_that_blocks(ray: ModuleType) -> None:
    async def local() -> None:
        raise AssertionError("it never runs")

    with pytest.raises(ValueError, match=r"'x': an async function runs in the loop of the supervisor"):
        ray.supervise([ChildSpec("x", local)]).__enter__()


# --- last, because it needs a cluster of its own ---


def test_a_child_may_take_longer_than_others(fresh_ray: ModuleType, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", "0.2")
    fresh_ray.init(**init_arguments())

    async def main() -> None:
        specs = [ChildSpec(name, Child, (log, name, 0.5), shutdown=how) for name, how in (("a", "infinity"), ("b", 30))]
        async with open_supervisor(specs):  # type: ignore[arg-type]
            pass

    trio.run(main)
    assert words(log) == ["start-a", "start-b", "end-b", "end-a"]
