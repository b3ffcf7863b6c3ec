"""What all processes of a node keep in memory: each is asked, and those that do not answer in time are named.

Not here: what a process answers (``worker.reference_report``), what is made of it (``core.memory_table``).
"""

from __future__ import annotations

import itertools

import attrs
import trio

from trayray.node.clients import Client, Clients
from trayray.wire.report_messages import AskReferences, ReferencesTold

#: So many references are listed in all, shared out evenly among the processes.
_MOST_IN_ALL = 200_000


@attrs.define(eq=False)
class _Question:
    """One round of asking."""

    waiting: set[Client]
    #: What came, encoded `HeldReferences`.
    answers: dict[Client, bytes] = attrs.field(factory=dict[Client, bytes])
    answered: trio.Event = attrs.field(factory=trio.Event)

    def settle(self, client: Client) -> None:
        """Nothing is expected of ``client`` any more."""
        self.waiting.discard(client)
        if not self.waiting:
            self.answered.set()


class MemoryGathering:
    """Questions to the processes of one node."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}

    async def gather(self, seconds: float, most: int) -> dict[Client, bytes]:
        """What each process has answered within ``seconds``, at most ``most`` references; empty for one that has not.

        Processes that have ended meanwhile are left out.
        """
        number, asked = next(self._numbers), list(self._clients.by_id.values())
        if not asked:
            return {}
        question = self._questions[number] = _Question(set(asked))
        share = max(1, min(most, _MOST_IN_ALL // len(asked)))
        try:
            for client in asked:
                client.send([AskReferences(number, share)])
            with trio.move_on_after(seconds):
                await question.answered.wait()
        finally:
            del self._questions[number]
        return {
            client: question.answers.get(client, b"")
            for client in asked
            if client in question.answers or client in question.waiting
        }

    def answered(self, client: Client, message: ReferencesTold) -> None:
        """A process has answered, perhaps too late."""
        question = self._questions.get(message.request)
        if question is not None:
            question.answers[client] = message.held
            question.settle(client)

    def process_gone(self, client: Client) -> None:
        """A process will answer nothing any more."""
        for question in self._questions.values():
            question.settle(client)
