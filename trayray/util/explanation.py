"""``why``: what a reference, a task or an actor waits for, in words.

Not here: the command (``cli.why``), finding it out (``worker.explaining``).
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from trayray.api.actor_class import ActorHandle
from trayray.api.session import session
from trayray.core.waiting import Fact, Kind, Subject
from trayray.model.ids import ACTOR_ID_SIZE, OBJECT_ID_SIZE, TASK_ID_SIZE, creation_task_id
from trayray.worker.references import ObjectRef

#: An id as text: alone, or as the representation of a reference, an actor handle or a `TaskID` has it.
_ID = re.compile(rf"\b({'|'.join(f'[0-9a-f]{{{2 * n}}}' for n in (OBJECT_ID_SIZE, TASK_ID_SIZE, ACTOR_ID_SIZE))})\b")


@attrs.frozen
class Explanation:
    """Why something has not ended; its text is one sentence a line.

    Attributes:
        lines: the sentences, from what was asked about down to what waits for nothing else.
        state: of the last one: "ready", "failed", "running", "queued", "idle", "dead", "lost", "unknown" and the like;
            "circle" when it waits for itself.
    """

    lines: tuple[str, ...]
    state: str

    def __str__(self) -> str:
        return "\n".join(self.lines)


def why(ref: Any) -> Explanation:
    """What ``ref`` waits for.

    Args:
        ref: an ``ObjectRef`` or an actor handle; or the text of one, the hexadecimal id of an object, a task or an
            actor, or the name of an actor.

    Raises:
        RaySystemError: not connected to a cluster.
        TypeError: something else.
    """
    core = session.require_core()

    async def explain() -> Explanation:
        subject = await _subject_of(core, ref)
        if subject is None:
            return Explanation((_not_found(ref),), "unknown")
        lines, links = await core.explaining.explain(subject)
        return Explanation(tuple(lines), _state(links))

    return core.run_async(explain)


def _state(links: list[Fact]) -> str:
    if not links:
        return "unknown"
    last = links[-1]
    return "circle" if any(fact.subject == last.subject for fact in links[:-1]) else str(last.state)


async def _subject_of(core: Any, ref: Any) -> Subject | None:
    if type(ref) is ObjectRef:
        return Subject(Kind.OBJECT, ref.binary(), ref.owner_address())
    if isinstance(ref, ActorHandle):
        return Subject(Kind.ACTOR, ref._ray_info.actor_id, "")
    if not isinstance(ref, str):
        raise TypeError(f"why() takes an ObjectRef, an actor handle or text, not {type(ref).__name__}: {ref!r}")
    found = _ID.search(ref)
    if found is None:
        return await core.explaining.find_actor(ref)
    known = bytes.fromhex(found[1])
    actor_id = known[-ACTOR_ID_SIZE:]
    if len(known) == ACTOR_ID_SIZE or known == creation_task_id(actor_id):
        return Subject(Kind.ACTOR, actor_id, "")
    return await core.explaining.find(Kind.OBJECT if len(known) == OBJECT_ID_SIZE else Kind.TASK, known)


def _not_found(text: str) -> str:
    found = _ID.search(text)
    if found is None:
        return f"There is no living actor of the name {text!r}, and it is no id."
    if len(found[1]) == 2 * TASK_ID_SIZE:
        return f"No process of the cluster waits for the task {found[1]}: it has ended, or was never there."
    return (
        f"No process of the cluster knows ObjectRef({found[1]}): nobody holds it any more, or its owner has died, or "
        "it belongs to another cluster."
    )
