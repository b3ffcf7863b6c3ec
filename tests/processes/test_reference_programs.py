"""Random programs over the public API: every value is right, and at the end nothing of any object is left.

`TRAYRAY_PROGRAMS=500` runs so many of each kind, `TRAYRAY_FIRST_PROGRAM` says where to begin.
"""

import os
import random

import pytest

from tests.processes.reference_program import Program, Step, nothing_is_left

_FIRST = int(os.environ.get("TRAYRAY_FIRST_PROGRAM", "0"))
_COUNT = int(os.environ.get("TRAYRAY_PROGRAMS", "48"))
_STEPS = 40

#: How often each operation is chosen.
PEACEFUL = {
    "put": 4,
    "put_around": 4,
    "make": 4,
    "make_parts": 3,
    "make_several": 2,
    "stream": 2,
    "spawn": 3,
    "pass_to_task": 4,
    "pass_through": 3,
    "pass_values": 3,
    "pass_pickled": 1,
    "capture": 2,
    "fail": 2,
    "start": 3,
    "keep": 5,
    "keep_own": 3,
    "give": 4,
    "read_kept": 3,
    "ask": 2,
    "pass_on": 4,
    "forget": 3,
    "leave": 2,
    "get": 4,
    "wait": 2,
    "read_loaded": 2,
    "drop": 14,
}
#: Workers that run tasks own nothing in these, so that it is known what dies with one.
DEADLY = {name: weight for name, weight in PEACEFUL.items() if name not in ("make_parts", "spawn", "pass_pickled")} | {
    "keep_own": 6,
    "kill_keeper": 4,
    "kill_task": 2,
    "read_lost": 5,
}


def steps_of(seed: int, weights: dict[str, int]) -> list[Step]:
    rng = random.Random(seed)
    names = rng.choices(list(weights), list(weights.values()), k=_STEPS)
    return [(name, rng.randrange(1000), rng.randrange(1000), rng.randrange(1000)) for name in names]


def run(steps: list[Step], seed: int) -> None:
    program = Program()
    program.run(steps)
    program.drop_everything(random.Random(seed))
    del program
    nothing_is_left(out_of_band=any(name == "pass_pickled" for name, *_ in steps))


@pytest.mark.parametrize("seed", range(_FIRST, _FIRST + _COUNT))
def test_programs(ray, seed):
    run(steps_of(seed, PEACEFUL), seed)


@pytest.mark.parametrize("seed", range(_FIRST, _FIRST + _COUNT))
def test_programs_whose_processes_are_killed(ray, seed):
    run(steps_of(seed, DEADLY), seed)
