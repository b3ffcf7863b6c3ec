"""The ownership protocol in a small world where everything may happen at any moment; see ``ownership_world``.

``OWNERSHIP_EXAMPLES`` says how many histories are tried, with ``--hypothesis-profile=explore`` new ones.
"""

import os
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.property.ownership_world import World

#: What happens, as often as it stands here.
DEEDS = (
    ["put"] * 2
    + ["call"] * 4
    + ["keep"] * 2
    + ["open"] * 2
    + ["drop"] * 4
    + ["get"] * 3
    + ["go_on"] * 10
    + ["loop"] * 4
    + ["deliver"] * 12
    + ["repeat"]
    + ["hear"] * 2
)


class OwnershipMachine(RuleBasedStateMachine):
    """Who does what and to what is chosen by a generator with a drawn seed: one draw for many choices, for speed."""

    world: World
    random: random.Random

    @initialize(number=st.integers(3, 4))
    def begin(self, number):
        self.world = World(number)
        self.random = random.Random(number)

    def choose(self, items):
        return self.random.choice(list(items))

    def some(self, items):
        items = list(items)
        return [self.choose(items) for _ in range(self.choose((0, 1, 1, 2)))] if items else []

    def process(self):
        return self.choose(self.world.living())

    @rule(seed=st.integers(0, 2**32 - 1), number=st.integers(10, 60))
    def happen(self, seed, number):
        self.random = random.Random(seed)
        for _ in range(number):
            getattr(self, self.choose(DEEDS))()
            self.world.check()

    @rule(seed=st.integers(0, 2**32 - 1))
    def die(self, seed):
        self.random = random.Random(seed)
        if len(self.world.living()) > 2 and self.choose((True, False)):
            self.world.kill(self.process(), self.choose((0, 1, 2, 100)))
            self.world.check()

    @rule(whether=st.integers(0, 5))
    def rest(self, whether):
        if whether == 5:
            self.world.settle()
            self.world.check()
            self.world.check_at_rest()

    # --- deeds ---

    def put(self):
        process = self.process()
        self.world.put(process, self.some(process.within_reach()))

    def call(self):
        caller = self.process()
        others = [process for process in self.world.processes.values() if process is not caller]
        self.world.call(caller, self.choose(others), self.some(caller.within_reach()))

    def keep(self):
        process = self.process()
        if reach := process.within_reach():
            self.world.keep(process, self.choose(reach))

    def open(self):
        process = self.process()
        if opened := [nested for ref in process.within_reach() for nested in ref.nested]:
            self.world.keep(process, self.choose(opened))

    def drop(self):
        process = self.process()
        if process.hands:
            self.world.drop(process, self.choose(range(len(process.hands))))

    def get(self):
        process = self.process()
        if wanted := [ref for ref in process.within_reach() if ref.owner]:
            self.world.get(process, self.choose(wanted))

    def go_on(self):
        if running := [call for process in self.world.living() for call in process.running]:
            call = self.choose(running)
            if call.state == "running":
                self.world.finish(call, self.some(call.executor.within_reach()))
            else:
                self.world.advance(call)

    def loop(self):
        process = self.process()
        for answer in list(process.answers):
            self.world.send_answer(process, answer)
        self.world.flush(process)

    def deliver(self):
        if self.world.links:
            self.world.deliver(self.choose(self.world.links))

    def repeat(self):
        if self.world.delivered:
            self.world.repeat(*self.choose(self.world.delivered), self.choose(range(8)))

    def hear(self):
        if news := [(process, dead) for process in self.world.living() for dead in process.unheard]:
            self.world.hear_of_death(*self.choose(news))

    def teardown(self):
        world = getattr(self, "world", None)
        if world is None:
            return
        world.settle()
        world.check()
        world.check_at_rest()
        for process in world.living():
            while process.hands:
                world.drop(process, 0)
        world.settle()
        world.check_empty()


TestOwnership = OwnershipMachine.TestCase
TestOwnership.settings = settings(
    max_examples=int(os.environ.get("OWNERSHIP_EXAMPLES", "1000")), stateful_step_count=16
)
