"""A supervisor as a blocking program, written as one would write it in Erlang: it receives one message after the other,
and waits in the middle of what it is doing for the answer that it needs.

The model of `trayray.core.supervision`, which is a machine with plans. The program yields which messages it can take;
`Model.tell` resumes it with the first one in the mailbox that fits.
"""

from collections.abc import Callable, Generator
from typing import Any

import attrs

from trayray.core import supervision_messages as say
from trayray.core.supervised_children import Exit, ExitKind
from trayray.model.supervision import ChildPolicy, SupervisorPolicy

Wait = Generator[Callable[[Any], bool], Any, Any]
REQUESTS = (say.StartChild, say.StartDynamic, say.TerminateChild, say.RestartChild, say.DeleteChild)


@attrs.frozen
class TryAgain:
    child: str
    run: int
    exit: Exit


class Ends(Exception):
    """The supervisor stops what it is doing and ends."""

    def __init__(self, outcome: say.Outcome) -> None:
        self.outcome = outcome


class Model:
    """One supervisor."""

    def __init__(self, policy: SupervisorPolicy, children: list[ChildPolicy]) -> None:
        self.policy = policy
        self.simple = children[0] if policy.strategy == "simple_one_for_one" else None
        self.specs = {} if self.simple else {child.id: child for child in children}
        #: A number for a child that is there, None for one that is not, "restarting" after a failed restart.
        self.pids: dict[str, Any] = dict.fromkeys(self.specs)
        #: The last start's number of each.
        self.numbers: dict[str, int] = {}
        self.history: list[tuple[float, str, Exit]] = []
        self.mailbox: list[Any] = []
        self.out: list[say.Command] = []
        self.runs = self.made = 0
        self.now = 0.0
        self.request: say.Request | None = None
        self.ends = self.ended = False
        self.program = self.main()
        self.accepts = next(self.program)

    def tell(self, message: say.Event | None, now: float) -> list[say.Command]:
        self.now = now
        if message is not None:
            self.mailbox.append(message)
        while not self.ended:
            fitting = next((m for m in self.mailbox if self.accepts(m)), None)
            if fitting is None:
                break
            self.mailbox.remove(fitting)
            try:
                self.accepts = self.program.send(fitting)
            except StopIteration:
                self.ended = True
        if self.ends:
            self.refuse_all()
        out, self.out = self.out, []
        return out

    # --- the program ---

    def main(self) -> Wait:
        yield lambda m: m == "go"
        try:
            for name in list(self.specs):
                failure = yield from self.start(name)
                if failure:
                    raise Ends(say.Outcome(say.Ending.START_FAILED, name, ((name, failure),)))
            while True:
                message = yield lambda m: True
                if isinstance(message, say.ShutDown):
                    raise Ends(say.Outcome(say.Ending.SHUT_DOWN))
                if isinstance(message, REQUESTS):
                    self.request = message
                    yield from self.serve(message)
                    self.request = None
                elif isinstance(message, say.Exited) and self.pids.get(message.child) == message.run:
                    self.pids[message.child] = None
                    yield from self.died(message.child, message.exit)
                elif isinstance(message, TryAgain) and self.waits_for_another_try(message):
                    yield from self.restart(message.child, message.exit)
        except Ends as end:
            yield from self.terminate(end.outcome)

    def waits_for_another_try(self, message: TryAgain) -> bool:
        return self.pids.get(message.child) == "restarting" and self.numbers[message.child] == message.run

    def start(self, name: str, *, again: bool = False) -> Wait:
        """None, or why it could not be started."""
        self.runs += 1
        run = self.numbers[name] = self.runs
        self.out.append(say.Start(name, run, "", again))
        self.pids[name] = run
        answer = (
            yield lambda m: (
                isinstance(m, say.ShutDown)
                or (isinstance(m, say.Started | say.StartFailed | say.Exited) and (m.child, m.run) == (name, run))
            )
        )
        if isinstance(answer, say.ShutDown):
            raise Ends(say.Outcome(say.Ending.SHUT_DOWN))
        if isinstance(answer, say.Started):
            return None
        self.pids[name] = None
        return answer.exit

    def order_stop(self, name: str) -> bool:
        """Whether it has to be waited for."""
        pid = self.pids[name]
        if not isinstance(pid, int):
            self.pids[name] = None
            return False
        ends = [m for m in self.mailbox if isinstance(m, say.Exited | say.StartFailed)]
        gone = next((m for m in ends if (m.child, m.run) == (name, pid)), None)
        if gone is None:
            self.out.append(say.Stop(name, pid, self.specs[name].shutdown, ""))
            return True
        self.mailbox.remove(gone)
        self.pids[name] = None
        return False

    def see_stopped(self, name: str, *, ending: bool) -> Wait:
        pid = self.pids[name]
        answer = (
            yield lambda m: (
                (isinstance(m, say.ShutDown) and not ending)
                or (isinstance(m, say.Exited | say.StartFailed) and (m.child, m.run) == (name, pid))
            )
        )
        if isinstance(answer, say.ShutDown):
            raise Ends(say.Outcome(say.Ending.SHUT_DOWN, name))  # the name: it has been told to stop
        self.pids[name] = None

    def died(self, name: str, how: Exit) -> Wait:
        spec = self.specs[name]
        if spec.restart == "permanent" or (spec.restart == "transient" and how.kind is ExitKind.ABNORMAL):
            yield from self.restart(name, how)
            return
        if spec.restart == "temporary" or self.simple:
            self.forget(name)
        remaining = [n for n, s in self.specs.items() if s.significant and self.pids[n] is not None]
        if spec.significant and not (remaining and self.policy.auto_shutdown == "all_significant"):
            raise Ends(say.Outcome(say.Ending.AUTO_SHUTDOWN, name, ((name, how),)))

    def restart(self, name: str, how: Exit) -> Wait:
        self.history.append((self.now, name, how))
        recent = [entry for entry in self.history if entry[0] >= self.now - self.policy.period]
        if len(recent) > self.policy.intensity:
            self.pids[name] = None
            raise Ends(say.Outcome(say.Ending.INTENSITY, name, tuple((n, h) for _, n, h in recent)))
        names = list(self.specs)
        first = {"one_for_all": 0, "rest_for_one": names.index(name)}.get(self.policy.strategy)
        group = [name] if first is None else names[first:]
        for each in reversed(group):
            if self.order_stop(each):
                yield from self.see_stopped(each, ending=False)
            if self.specs[each].restart == "temporary":
                self.forget(each)
        for each in [each for each in group if each in self.specs]:
            failure = yield from self.start(each, again=True)
            if failure:
                self.pids[each] = "restarting"
                self.mailbox.append(TryAgain(each, self.numbers[each], failure))
                return

    def forget(self, name: str) -> None:
        del self.specs[name], self.pids[name]
        self.out.append(say.Forget(name))

    # --- requests ---

    def reply(self, name: str, refusal: say.Refusal | None = None, why: Exit | None = None) -> None:
        assert self.request is not None
        self.out.append(say.Reply(self.request.request, name, refusal, why))

    def serve(self, ask: Any) -> Wait:
        name = name_in(ask)
        if isinstance(ask, say.StartDynamic) and self.simple:
            self.made += 1
            yield from self.add(attrs.evolve(self.simple, id=f"{self.simple.id}-{self.made}"))
        elif isinstance(ask, say.StartDynamic) or (self.simple and not isinstance(ask, say.TerminateChild)):
            self.reply(name, say.Refusal.SIMPLE_ONE_FOR_ONE)
        elif isinstance(ask, say.StartChild) and name not in self.specs:
            yield from self.add(ask.policy)
        elif isinstance(ask, say.StartChild):
            there = self.pids[name] is not None
            self.reply(name, say.Refusal.ALREADY_STARTED if there else say.Refusal.ALREADY_PRESENT)
        elif name not in self.specs:
            self.reply(name, say.Refusal.NOT_FOUND)
        elif isinstance(ask, say.TerminateChild):
            if self.order_stop(name):
                yield from self.see_stopped(name, ending=False)
            if self.simple or self.specs[name].restart == "temporary":
                self.forget(name)
            self.reply(name)
        elif self.pids[name] is not None:
            self.reply(name, say.Refusal.RESTARTING if self.pids[name] == "restarting" else say.Refusal.RUNNING)
        elif isinstance(ask, say.DeleteChild):
            self.forget(name)
            self.reply(name)
        else:
            failure = yield from self.start(name)
            self.reply(name, say.Refusal.START_FAILED if failure else None, failure)

    def add(self, spec: ChildPolicy) -> Wait:
        self.specs[spec.id] = spec
        failure = yield from self.start(spec.id)
        self.reply(spec.id, say.Refusal.START_FAILED if failure else None, failure)
        if failure:
            self.forget(spec.id)

    # --- the end ---

    def terminate(self, outcome: say.Outcome) -> Wait:
        self.ends = True
        told, outcome = (
            (outcome.child, say.Outcome(outcome.ending)) if outcome.ending is say.Ending.SHUT_DOWN else ("", outcome)
        )
        if self.request is not None:
            self.mailbox.insert(0, self.request)
        self.refuse_all()
        names = list(reversed(self.specs))
        for group in [names] if self.simple else [[name] for name in names]:
            waits = [name for name in group if name == told or self.order_stop(name)]
            for name in waits:
                yield from self.see_stopped(name, ending=True)
        self.out.append(say.End(outcome))

    def refuse_all(self) -> None:
        for ask in [m for m in self.mailbox if isinstance(m, REQUESTS)]:
            self.mailbox.remove(ask)
            self.out.append(say.Reply(ask.request, name_in(ask), say.Refusal.SUPERVISOR_ENDS))


def name_in(ask: Any) -> str:
    return ask.policy.id if isinstance(ask, say.StartChild) else getattr(ask, "child", "")
