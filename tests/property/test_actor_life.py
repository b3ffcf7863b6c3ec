"""Any history of actors agrees with a world that only does what it is told: it looks for workers, runs and ends them.

The world knows processes, requests for workers, and what the watchers of each actor were last told. Whether an actor
lives as it should is judged from the events that it has met, not from a second copy of the decisions.
"""

from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trayray.core.actor_life import (
    Action,
    Actor,
    ActorTable,
    EndTogether,
    EndWorker,
    NameTaken,
    Place,
    Publish,
    State,
    Unplace,
)

#: The diagram in the docstring of the module, and a crash before the constructor has returned.
LEGAL = {
    State.PENDING: {State.ALIVE, State.RESTARTING, State.DEAD},
    State.ALIVE: {State.RESTARTING, State.DEAD},
    State.RESTARTING: {State.ALIVE, State.DEAD},
    State.DEAD: set[State](),
}

OWNERS, JOBS = ["owner 0", "owner 1"], [b"job 0", b"job 1"]
NEEDS: tuple[dict[str, float], dict[str, float]] = ({}, {"CPU": 1.0})

#: What the watchers of an actor must know: state, address, cause, error, restarts.
Seen = tuple[State, str, str, bytes, int]


@dataclass
class Facts:
    """What an actor has met."""

    created: bool = False
    crashes: int = 0
    ended: bool = False  # something happened that no actor of its kind survives
    before: State = State.PENDING
    parked: str = ""  # how it has ended, while its supervisor thinks about it
    failed: bool = False  # its constructor has raised, in its process at present


@dataclass
class Process:
    """A worker that runs an actor; `told` when it was asked to end or ends by itself, `waits` from the moment that it
    is to end with others until its turn has come."""

    actor_id: bytes
    told: bool = False
    waits: bool = False
    left: bool = False  # said so itself
    stopped: bool = False  # by its supervisor: it is not the actor's process any more


class ActorsAgainstWorld(RuleBasedStateMachine):
    """Actors' ids, owners and jobs are few, so that they meet."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ActorTable()
        self.facts: dict[bytes, Facts] = {}
        self.dropped: set[bytes] = set()  # without handles before their registration
        self.looking: set[bytes] = set()  # actors for which a worker is looked for
        self.processes: dict[bytes, Process] = {}
        self.seen: dict[bytes, Seen] = {}
        self.buried: dict[bytes, Seen] = {}
        self.numbers = count()

    def draw_actor(self, data: st.DataObject, *, new: bool = False) -> bytes:
        """The id of a registered actor, living ones preferred, or one that is registered next."""
        living = [actor.actor_id for actor in self.living()]
        ids = sorted(living or self.table.actors)
        if new or not ids:
            ids.append(bytes([len(self.table.actors)]))
        if self.buried:
            ids.append(min(self.buried))
        return data.draw(st.sampled_from(ids))

    # --- the world ---

    def view(self, actor_id: bytes) -> Seen:
        actor = self.table.actors[actor_id]
        address = actor.address if actor.state is State.ALIVE else ""
        return actor.state, address, actor.cause, actor.error, actor.restarts

    def carry_out(self, actions: list[Action], *, in_good_order: bool = False) -> None:
        for action in actions:
            match action:
                case Place(actor_id):
                    assert actor_id not in self.looking, "two workers are looked for"
                    assert not any(p.actor_id == actor_id and not p.told for p in self.processes.values())
                    self.looking.add(actor_id)
                case Unplace(actor_id):
                    self.looking.remove(actor_id)
                case EndWorker(worker, graceful):
                    assert worker in self.processes, "a process that is none was told to end"
                    self.processes[worker].told = True
                    assert graceful == in_good_order
                case EndTogether(members):
                    turns = [turn for _, turn in members]
                    assert len(set(turns)) == len(turns), "two have the same turn"
                    for worker, turn in members:
                        assert worker in self.processes, "a process that is none was told to end"
                        assert not self.processes[worker].waits, "it waits for its turn already"
                        self.processes[worker].waits = True
                        assert turn == list(self.table.actors).index(self.processes[worker].actor_id) + 1
                case Publish(actor_id):
                    self.seen[actor_id] = self.view(actor_id)

    def living(self) -> list[Actor]:
        return [actor for actor in self.table.actors.values() if actor.state is not State.DEAD]

    def reachable(self) -> list[Actor]:
        """Living actors but those that are to end with others."""
        ending = {process.actor_id for process in self.processes.values() if process.waits}
        return [actor for actor in self.living() if actor.actor_id not in ending]

    def end_with_others(self, actor_id: bytes) -> None:
        """At once, or, where there is a process, as soon as its turn comes."""
        worker = self.table.actors[actor_id].worker
        if not worker:
            self.facts[actor_id].ended = True

    # --- registration ---

    @rule(
        data=st.data(),
        again=st.sampled_from([False, False, False, True]),
        name=st.sampled_from(["", "n", "m"]),
        namespace=st.sampled_from(["x", "y"]),
        owner=st.integers(0, 1),
        detached=st.booleans(),
        max_restarts=st.sampled_from([0, 1, 1, 2, -1]),
        get_if_exists=st.booleans(),
        ready=st.booleans(),
        supervised=st.booleans(),
    )
    def register(
        self,
        data: st.DataObject,
        again: bool,
        name: str,
        namespace: str,
        owner: int,
        detached: bool,
        max_restarts: int,
        get_if_exists: bool,
        ready: bool,
        supervised: bool,
    ) -> None:
        actor_id = self.draw_actor(data) if again else bytes([len(self.table.actors)])
        known = self.table.actors.get(actor_id)
        holders = [a for a in self.reachable() if name and (a.namespace, a.name) == (namespace, name)]
        new = Actor(actor_id, name, namespace, "Class", JOBS[owner], OWNERS[owner], detached, max_restarts, b"handle")
        new.supervised = supervised
        if known is None and holders and not get_if_exists:
            with pytest.raises(NameTaken, match=f"'{name}' already exists"):
                self.table.register(new, get_if_exists=False)
            return
        found = self.table.register(new, get_if_exists=get_if_exists)
        if known is not None:
            assert found is known
        elif holders:
            assert [found] == holders
        else:
            assert found is new
            self.facts[actor_id] = Facts(ended=actor_id in self.dropped and not detached)
            self.seen[actor_id] = self.view(actor_id)  # the caller publishes it
            if ready:
                self.create(actor_id)

    @precondition(lambda self: self.table.actors)
    @rule(data=st.data())
    def arguments_are_ready(self, data: st.DataObject) -> None:
        self.create(self.draw_actor(data))

    def create(self, actor_id: bytes) -> None:
        facts = self.facts[actor_id]
        actions = self.table.create(actor_id, b"spec", *NEEDS)
        assert actions == ([] if facts.created or facts.ended or facts.parked else [Place(actor_id)])
        facts.created = True
        self.carry_out(actions)

    @precondition(lambda self: self.table.actors)
    @rule(data=st.data())
    def arguments_fail(self, data: st.DataObject) -> None:
        actor_id = self.draw_actor(data)
        facts = self.facts.get(actor_id)
        if facts is not None and facts.created:
            return  # an owner sends one or the other
        self.carry_out(self.table.failed(actor_id, b"error"))
        if facts is not None:
            facts.ended = True

    # --- processes ---

    @precondition(lambda self: self.looking)
    @rule(data=st.data())
    def a_worker_is_found(self, data: st.DataObject) -> None:
        actor_id = data.draw(st.sampled_from(sorted(self.looking)))
        self.looking.remove(actor_id)
        worker = b"w%d" % next(self.numbers)
        assert self.table.placed(actor_id, worker, f"address of {worker!r}"), "the actor does not want it any more"
        self.processes[worker] = Process(actor_id)

    @precondition(lambda self: self.table.actors)
    @rule(data=st.data())
    def a_worker_is_offered_to_the_dead(self, data: st.DataObject) -> None:
        actor_id = self.draw_actor(data)
        if self.facts[actor_id].ended:
            assert not self.table.placed(actor_id, b"w", "address")

    @precondition(lambda self: self.table.actors)
    @rule(data=st.data())
    def a_constructor_returned(self, data: st.DataObject) -> None:
        """Also one whose process has ended since: that news is late."""
        actor_id = self.draw_actor(data)
        actor = self.table.actors[actor_id]
        constructing = actor.worker != b"" and actor.state in (State.PENDING, State.RESTARTING)
        actions = self.table.started(actor_id)
        assert actions == ([Publish(actor_id)] if constructing else [])
        self.carry_out(actions)

    def draw_process(self, data: st.DataObject) -> bytes:
        return data.draw(st.sampled_from(sorted(self.processes)))

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def a_constructor_raises(self, data: st.DataObject) -> None:
        process = self.processes[self.draw_process(data)]
        actor = self.table.actors[process.actor_id]
        if actor.state in (State.PENDING, State.RESTARTING) and self.processes.get(actor.worker) is process:
            process.told = True  # it leaves
            self.facts[process.actor_id].failed = True
            self.facts[process.actor_id].ended |= not actor.supervised
            self.carry_out(self.table.failed(process.actor_id, b"error"))

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def a_process_ends(self, data: st.DataObject) -> None:
        worker = self.draw_process(data)
        process = self.processes.pop(worker)
        facts, actor = self.facts[process.actor_id], self.table.actors[process.actor_id]
        if process.waits:
            facts.ended = True
        elif not facts.ended and not process.stopped:
            facts.crashes += 1
            facts.ended = 0 <= actor.max_restarts < facts.crashes and not actor.supervised
            if actor.supervised:
                facts.parked = "normal" if process.left and not facts.failed else "abnormal"
        self.carry_out(self.table.worker_gone(worker, f"{worker!r} crashed"))
        assert self.table.worker_gone(worker, "again") == []

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def a_process_leaves_on_purpose(self, data: st.DataObject) -> None:
        worker = self.draw_process(data)
        process = self.processes[worker]
        facts = self.facts[process.actor_id]
        process.told = process.left = True
        if not process.stopped:
            facts.ended |= not self.table.actors[process.actor_id].supervised or process.waits
        self.carry_out(self.table.exiting(worker, "it left"))

    # --- supervision ---

    @precondition(lambda self: any(actor.supervised for actor in self.reachable()))
    @rule(data=st.data())
    def its_supervisor_stops_it(self, data: st.DataObject) -> None:
        actor_id = data.draw(st.sampled_from(sorted(a.actor_id for a in self.reachable() if a.supervised)))
        facts, worker = self.facts[actor_id], self.table.actors[actor_id].worker
        self.carry_out(self.table.park(actor_id, "stopped by its supervisor"))
        if facts.parked:
            return
        if worker:
            self.processes[worker].stopped = self.processes[worker].told = True
        facts.parked = "stopped"
        facts.crashes += 1

    @precondition(lambda self: any(facts.parked for facts in self.facts.values()))
    @rule(data=st.data())
    def its_supervisor_starts_it_again(self, data: st.DataObject) -> None:
        actor_id = data.draw(st.sampled_from(sorted(i for i, facts in self.facts.items() if facts.parked)))
        facts = self.facts[actor_id]
        actions = self.table.resume(actor_id)
        assert actions == ([Place(actor_id)] if facts.created and not facts.ended else [])
        self.carry_out(actions)
        self.seen[actor_id] = self.view(actor_id)  # its error is not wanted any more, nor published
        facts.parked, facts.failed = "", False

    @precondition(lambda self: self.living())
    @rule(data=st.data(), graceful=st.booleans())
    def its_creator_ends_it(self, data: st.DataObject, graceful: bool) -> None:
        actor_id = self.draw_actor(data)
        ending = self.table.actors[actor_id].ending
        self.carry_out(self.table.end(actor_id, graceful=graceful, reason="ended"), in_good_order=graceful)
        if not ending:
            self.facts[actor_id].ended = True

    # --- ends ---

    @precondition(lambda self: self.table.actors)
    @rule(data=st.data(), no_restart=st.booleans())
    def kill(self, data: st.DataObject, no_restart: bool) -> None:
        actor_id = self.draw_actor(data)
        self.carry_out(self.table.kill(actor_id, no_restart=no_restart, reason="killed"))
        facts, actor = self.facts.get(actor_id), self.table.actors.get(actor_id)
        if facts is None or actor is None or facts.ended:
            return
        if actor.supervised and facts.created and not actor.ending:
            if not actor.worker and not facts.parked:
                facts.parked = "abnormal"
                facts.crashes += 1
        else:
            facts.ended |= no_restart

    @rule(data=st.data())
    def the_last_handle_goes(self, data: st.DataObject) -> None:
        actor_id = self.draw_actor(data, new=True)
        actor = self.table.actors.get(actor_id)
        self.carry_out(self.table.unreachable(actor_id), in_good_order=True)
        if actor is None:
            self.dropped.add(actor_id)
        elif not actor.detached and not actor.ending:
            self.facts[actor_id].ended = True

    @precondition(lambda self: any(process.waits for process in self.processes.values()))
    @rule(data=st.data())
    def a_turn_comes(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(w for w, process in self.processes.items() if process.waits)))
        process = self.processes[worker]
        process.waits, process.told = False, True
        self.facts[process.actor_id].ended = True
        self.carry_out(self.table.leaves(worker))
        assert self.table.leaves(worker) == []

    @precondition(lambda self: len(self.living()) > 2)
    @rule(owner=st.sampled_from(OWNERS))
    def an_owner_dies(self, owner: str) -> None:
        for actor_id, actor in self.table.actors.items():
            if actor.owner == owner and not (actor.detached and self.facts[actor_id].created):
                self.end_with_others(actor_id)
        self.carry_out(self.table.owner_gone(owner))

    @precondition(lambda self: len(self.living()) > 2)
    @rule(job=st.sampled_from(JOBS))
    def a_job_ends(self, job: bytes) -> None:
        for actor_id, actor in self.table.actors.items():
            if actor.job == job and not actor.detached:
                self.end_with_others(actor_id)
        self.carry_out(self.table.job_ended(job))

    # --- what always holds ---

    @invariant()
    def only_legal_transitions_are_made(self) -> None:
        self.table.check_invariants()
        for actor_id, facts in self.facts.items():
            state = self.table.actors[actor_id].state
            # A rule is one event; RESTARTING to itself is a crash of the next process.
            assert state is facts.before or state in LEGAL[facts.before]
            facts.before = state

    @invariant()
    def actors_are_dead_exactly_from_their_end_on(self) -> None:
        assert set(self.facts) == set(self.table.actors)
        for actor_id, facts in self.facts.items():
            actor = self.table.actors[actor_id]
            assert (actor.state is State.DEAD) == facts.ended
            if actor.supervised:
                assert actor.restarts == facts.crashes
                assert actor.parked == ("" if facts.ended else facts.parked)
                continue
            assert actor.restarts == facts.crashes - (facts.ended and 0 <= actor.max_restarts < facts.crashes)
            assert actor.max_restarts < 0 or actor.restarts <= actor.max_restarts

    @invariant()
    def the_dead_keep_their_cause(self) -> None:
        for actor_id, actor in self.table.actors.items():
            if actor.state is State.DEAD:
                assert actor.cause
                assert self.buried.setdefault(actor_id, self.view(actor_id)) == self.view(actor_id)

    @invariant()
    def a_name_leads_to_its_one_living_actor(self) -> None:
        for namespace in ("x", "y"):
            for name in ("n", "m"):
                holders = [a for a in self.reachable() if (a.namespace, a.name) == (namespace, name)]
                assert len(holders) <= 1
                assert self.table.find(namespace, name) is (holders[0] if holders else None)

    @invariant()
    def watchers_know(self) -> None:
        assert self.seen == {actor_id: self.view(actor_id) for actor_id in self.table.actors}

    @invariant()
    def living_actors_have_what_they_need_and_dead_ones_nothing(self) -> None:
        serving = {process.actor_id: worker for worker, process in self.processes.items() if not self.left(worker)}
        for actor_id, actor in self.table.actors.items():
            wants = not self.facts[actor_id].ended and self.facts[actor_id].created and not actor.parked
            assert (actor_id in self.looking) + (actor_id in serving) == wants
            assert actor.worker == serving.get(actor_id, b"")
        for process in self.processes.values():
            if self.facts[process.actor_id].ended:
                assert process.told, "a dead actor's process was not ended"

    def left(self, worker: bytes) -> bool:
        """Whether the process is only on its way out; one killed to be restarted counts until it has ended."""
        return self.facts[self.processes[worker].actor_id].ended or self.processes[worker].stopped

    def teardown(self) -> None:
        """When all owners and jobs have ended, only detached actors are left."""
        for owner, job in zip(OWNERS, JOBS, strict=True):
            self.an_owner_dies(owner)
            self.a_job_ends(job)
        for worker in [worker for worker, process in self.processes.items() if process.waits]:
            self.carry_out(self.table.leaves(worker))
            self.facts[self.processes[worker].actor_id].ended = True
        assert all(actor.detached for actor in self.living())
        self.actors_are_dead_exactly_from_their_end_on()
        self.living_actors_have_what_they_need_and_dead_ones_nothing()


TestActorsAgainstWorld = ActorsAgainstWorld.TestCase
