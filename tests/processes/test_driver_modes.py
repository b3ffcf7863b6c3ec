"""Drivers of every kind: plain scripts, asyncio and Trio programs, prompts, notebooks, programs that fork."""

import asyncio
import os
import subprocess
import sys
import textwrap

import pytest
import trio

from tests.conftest import init_arguments

INIT = 'ray.init(address="local", num_cpus=2, object_store_memory=80 * 1024 * 1024, log_to_driver=False)'


@pytest.fixture
def add(ray):
    @ray.remote
    def add(x, y):
        return x + y

    return add


def run_script(text, *arguments, stdin=None):
    """Run a program in an interpreter of its own; its standard output."""
    source = textwrap.dedent(text).replace("INIT", INIT)
    command = [sys.executable, *arguments]
    if stdin is None:
        command += ["-c", source]
    done = subprocess.run(
        command, input=source if stdin else None, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- asyncio


def test_asyncio_driver_awaits_references(ray, add):
    async def main():
        first = await add.remote(1, 2)
        many = await asyncio.gather(*[add.remote(i, i) for i in range(20)])
        done, pending = await asyncio.wait([asyncio.wrap_future(add.remote(5, 5).future())], timeout=20)
        async with asyncio.timeout(20):
            last = await add.remote(first, first)
        return first, many, [task.result() for task in done], len(pending), last

    assert asyncio.run(main()) == (3, [2 * i for i in range(20)], [10], 0, 6)


def test_asyncio_driver_meets_errors_and_timeouts(ray):
    @ray.remote
    def fail():
        raise LookupError("no")

    @ray.remote
    class Silent:
        async def never(self):
            await asyncio.Event().wait()

    async def main(silent):
        with pytest.raises(LookupError, match="no"):
            await fail.remote()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_awaiting(silent.never.remote()), 0.05)
        results = await asyncio.gather(fail.remote(), ray.put(1), return_exceptions=True)
        return [isinstance(result, LookupError) for result in results]

    silent = Silent.remote()
    assert asyncio.run(main(silent)) == [True, False]
    ray.kill(silent)


async def _awaiting(ref):
    return await ref


def test_a_loop_that_is_closed_while_something_awaits(ray, add, tmp_path):
    """The value comes when nobody can take it any more: that must not hurt the connection to the cluster."""
    gate = tmp_path / "gate"

    @ray.remote
    def wait_for_gate():
        import time

        while not gate.exists():
            time.sleep(0.005)
        return "came"

    ref = wait_for_gate.remote()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_awaiting(ref))
    loop.run_until_complete(asyncio.sleep(0.01))
    assert not task.done()
    loop.close()
    gate.touch()
    assert ray.get(ref, timeout=20) == "came"
    assert ray.get(add.remote(1, 1), timeout=20) == 2
    task._log_destroy_pending = False  # that it never ends is the point of this test
    task.get_coro().close()


# ---------------------------------------------------------------- Trio


def test_trio_driver_awaits_references(ray, add):
    async def main():
        first = await add.remote(1, 2)
        results = []

        async def child(x):
            results.append(await add.remote(x, x))

        async with trio.open_nursery() as nursery:
            for x in range(10):
                nursery.start_soon(child, x)
        return first, sorted(results)

    assert trio.run(main) == (3, [2 * x for x in range(10)])


def test_trio_deadlines_end_the_wait(ray):
    @ray.remote
    class Silent:
        async def never(self):
            await trio.sleep_forever()

    silent = Silent.remote()

    async def main():
        with trio.move_on_after(0.05) as scope:
            await silent.never.remote()
        return scope.cancelled_caught

    assert trio.run(main) is True
    ray.kill(silent)


def test_blocking_calls_from_trio_threads(ray, add):
    async def main():
        return await trio.to_thread.run_sync(lambda: ray.get(add.remote(1, 1), timeout=20))

    assert trio.run(main) == 2


# ---------------------------------------------------------------- a running loop in the main thread: notebooks


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_everything_works_inside_a_running_loop(fresh_ray, loop):
    ray = fresh_ray

    async def cells():
        ray.init(**init_arguments(num_cpus=2))

        @ray.remote
        def double(x):
            return 2 * x

        @ray.remote
        class Counter:
            def __init__(self):
                self.count = 0

            def add(self):
                self.count += 1
                return self.count

        counter = Counter.remote()
        blocking = ray.get([double.remote(2), counter.add.remote()], timeout=20)
        awaited = await double.remote(3), await counter.add.remote()
        ready, _ = ray.wait([double.remote(1)], timeout=20)
        named = Counter.options(name="named").remote()
        looked_up = ray.get(ray.get_actor("named").add.remote(), timeout=20)
        del named
        ray.shutdown()
        return blocking, awaited, len(ready), looked_up

    result = asyncio.run(cells()) if loop == "asyncio" else trio.run(cells)
    assert result == ([4, 1], (6, 2), 1, 1)


# ---------------------------------------------------------------- interpreters of their own


def test_at_a_prompt():
    lines = """
    import trayray as ray
    context = INIT
    @ray.remote
    def f(x):
        return x + 1

    print("value", ray.get(f.remote(1)))
    class Point:
        def __init__(self, x): self.x = x

    print("class", ray.get(ray.remote(lambda p: p.x).remote(Point(3))))
    """
    output = run_script(lines, "-i", "-q", stdin=True)
    assert "value 2" in output
    assert "class 3" in output


def test_a_driver_that_forgets_to_shut_down():
    output = run_script(
        """
        import trayray as ray
        context = INIT
        @ray.remote
        def f():
            return 1
        print(ray.get(f.remote()), context["session_dir"])
        unfinished = f.remote()
        """
    )
    value, directory = output.split()
    assert value == "1"
    assert not os.path.exists(os.path.join(directory, "sockets"))


def test_a_driver_that_raises():
    source = textwrap.dedent(
        """
        import trayray as ray
        context = INIT
        print(context["session_dir"], flush=True)
        raise KeyError("the program's own error")
        """
    ).replace("INIT", INIT)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == 'KeyError: "the program\'s own error"'
    assert not os.path.exists(os.path.join(done.stdout.strip(), "sockets"))


def test_init_and_shutdown_again_and_again():
    output = run_script(
        """
        import trayray as ray
        for _ in range(3):
            INIT
            @ray.remote
            def f(x):
                return x
            print(ray.get(f.remote("again")))
            ray.shutdown()
        """
    )
    assert output.split() == ["again"] * 3


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_driver_that_uses_multiprocessing(tmp_path, method):
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing
            import trayray as ray

            def square(x):
                return x * x

            if __name__ == "__main__":
                {INIT}

                @ray.remote
                def f(x):
                    return x + 1

                ref = f.remote(1)
                with multiprocessing.get_context("{method}").Pool(2) as pool:
                    print(pool.map(square, range(4)))
                print(ray.get(ref), ray.get(f.remote(2)))
                ray.shutdown()
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.splitlines(), done.returncode) == (["[0, 1, 4, 9]", "2 3"], 0), done.stderr


def test_a_forked_child_that_ends_normally_leaves_the_cluster_alone():
    output = run_script(
        """
        import os, sys
        import trayray as ray
        INIT
        @ray.remote
        def f(x):
            return x
        kept = ray.put(b"x" * 1_000_000)
        pid = os.fork()
        if pid == 0:
            del kept
            sys.exit(0)          # runs exit handlers in the child
        os.waitpid(pid, 0)
        print(ray.get(f.remote("alive")), len(ray.get(kept)), ray.is_initialized())
        """
    )
    assert output.split() == ["alive", "1000000", "True"]


def test_a_driver_thread_that_is_not_the_main_thread():
    output = run_script(
        """
        import threading
        import trayray as ray
        def work():
            INIT
            @ray.remote
            def f(x):
                return x
            print(ray.get(f.remote("from a thread")))
            ray.shutdown()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """
    )
    assert output.strip() == "from a thread"
