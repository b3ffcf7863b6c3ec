"""In which order one caller's calls of one actor are sent: as submitted, or as their arguments arrive.

Not here: what an argument is and when it has a value, the actor's life, sending (all ``worker.actor_calls``).
"""

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

C = TypeVar("C")


class Arguments(enum.Enum):
    """What is known of a call's arguments."""

    MISSING = "some have no value yet"
    READY = "all have values"
    FAILED = "all have values, at least one of them is an error: the call will never run"


class CallOrder(Generic[C]):
    """Calls that were submitted and not sent yet.

    With ``ordered``, a call whose arguments are missing holds back all that were submitted after it; without, they
    overtake it. Calls that may be sent keep their order either way.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self._queue: deque[C] = deque()

    def submit(self, call: C) -> None:
        self._queue.append(call)

    def resubmit(self, calls: Iterable[C]) -> None:
        """Calls that were sent and have to be sent again, in the order in which they were: before all that wait."""
        self._queue.extendleft(reversed(list(calls)))

    def withdraw(self, call: C) -> bool:
        """Take a call out that was not sent; False when it is not here."""
        try:
            self._queue.remove(call)
        except ValueError:
            return False
        return True

    def take_sendable(self, arguments: Callable[[C], Arguments]) -> tuple[list[C], list[C]]:
        """Take out what can be sent now, and what never will be: both in order of submission.

        A failed call leaves the sequence when its turn comes: later ones do not wait for it, and those before it are
        not overtaken by its failure.

        Returns:
            the calls to send, the calls whose arguments failed.
        """
        sendable: list[C] = []
        failed: list[C] = []
        held_back: list[C] = []
        queue = self._queue
        while queue:
            call = queue.popleft()
            state = arguments(call)
            if state is Arguments.READY:
                sendable.append(call)
            elif state is Arguments.FAILED:
                failed.append(call)
            else:
                held_back.append(call)
                if self.ordered:
                    break
        queue.extendleft(reversed(held_back))
        return sendable, failed

    def take_all(self) -> list[C]:
        """Take everything out, in order: nothing can be sent any more."""
        calls = list(self._queue)
        self._queue.clear()
        return calls

    def __iter__(self) -> Iterator[C]:
        return iter(self._queue)

    def __len__(self) -> int:
        return len(self._queue)
