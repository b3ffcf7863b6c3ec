"""Generated trees of scopes in real processes: at their end nothing is alive, and each exception is there exactly once.

``TRAYRAY_TREES=1000`` runs so many, ``TRAYRAY_FIRST_TREE=500`` begins there.
"""

import collections
import os
import random

import attrs
import pytest
import trio

import trayray
from tests.conftest import init_arguments
from tests.processes.waiting import eventually

TREES = int(os.environ.get("TRAYRAY_TREES", "60"))
FIRST = int(os.environ.get("TRAYRAY_FIRST_TREE", "0"))
DEPTH, WIDTH = 4, 4
#: Trees that wait for ever are left after so long (seconds).
PATIENCE = 0.2


class Planted(Exception):
    """What a node of a tree raises; its argument is the node's name."""


@attrs.frozen
class Node:
    name: str
    #: What runs it: "task" is a process of its own, a number is one of the actors.
    runner: str | int
    #: What it does once its children have been started, and after how long (seconds): "return" waits for them.
    act: str
    after: float
    children: tuple["Node", ...]


def tree(rng, name="", depth=DEPTH):
    width = rng.randint(0, WIDTH) if depth else 0
    children = tuple(tree(rng, f"{name}{i}", depth - 1) for i in range(width) if rng.random() < 0.8)
    act = rng.choices(["return", "raise", "cancel", "forever"], [5, 2, 1, 2 if depth < DEPTH else 0])[0]
    runner = "task" if rng.random() < 0.15 else rng.randrange(2)
    return Node(name or "root", runner, act, rng.choice([0, 0, 0.001, 0.01]), children)


def size(node):
    return 1 + sum(map(size, node.children))


def note(log, kind, name):
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{kind} {name}\n".encode())
    os.close(descriptor)


async def run_node(node, actors, log):
    note(log, "begin", node.name)
    try:
        async with trayray.open_nursery() as nursery:
            for child in node.children:
                nursery.start_soon(runner_of(child, actors), child, actors, log)
            await trio.sleep(node.after)
            if node.act == "forever":
                await trio.sleep_forever()
            if node.act == "cancel":
                nursery.cancel_scope.cancel()
            if node.act == "raise":
                note(log, "raise", node.name)
                raise Planted(node.name)
    finally:
        note(log, "end", node.name)


run_task = trayray.task(num_cpus=0)(run_node)


@trayray.remote(num_cpus=0)
class Runner:
    async def run(self, node, actors, log):
        await run_node(node, actors, log)


def runner_of(node, actors):
    return run_task if node.runner == "task" else actors[node.runner].run


def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


@pytest.fixture(scope="module")
def actors(ray):
    return [Runner.remote() for _ in range(2)]


@pytest.mark.slow
async def test_nothing_is_alive_and_no_exception_is_lost_or_doubled(actors, tmp_path):
    seen = collections.Counter()
    for seed in range(FIRST, FIRST + TREES):
        root = tree(random.Random(seed))
        log = tmp_path / str(seed)
        log.touch()
        raised = []
        begun = trio.current_time()
        with trio.move_on_after(PATIENCE) as patience:
            try:
                async with trayray.open_nursery() as nursery:
                    nursery.start_soon(runner_of(root, actors), root, actors, log)
            except* Planted as group:
                raised = [leaf.args[0] for leaf in leaves(group)]
        assert trio.current_time() - begun < PATIENCE + 5, f"seed {seed} has taken too long to end"

        lines = [line.split() for line in log.read_text().splitlines()]
        told = collections.Counter(tuple(line) for line in lines)
        began, ended = ({name for kind, name in told if kind == which} for which in ("begin", "end"))
        assert began == ended, f"seed {seed}: something is alive"
        assert collections.Counter(raised) == collections.Counter(name for kind, name in told if kind == "raise"), seed
        seen["nodes"] += size(root)
        seen["exceptions"] += len(raised)
        seen["groups of several"] += len(raised) > 1
        seen["ended by the deadline"] += patience.cancelled_caught
    assert min(seen.values()) > 0
    assert await trayray.call(idle) == 0


@trayray.task(num_cpus=0)
async def idle():
    """How many CPUs are in use, which is told by another process than the one that has used them."""
    free = await trio.to_thread.run_sync(trayray.available_resources)
    return init_arguments()["num_cpus"] - free["CPU"]


def test_the_processes_serve_others_afterwards(ray, actors):
    assert eventually(lambda: ray.available_resources().get("CPU") == init_arguments()["num_cpus"])
