"""Placement groups as their users' process sees them: references that wait for a group, what a group reserves.

Not here: the API's classes (``util.placement_group``), the groups themselves (``gcs.placement_groups``).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trayray.exceptions import RaySystemError, TaskPlacementGroupRemoved
from trayray.model.ids import object_id
from trayray.wire.lease_messages import CreateGroup, GroupNews, RemoveGroup, WatchGroup
from trayray.wire.serialization import serialize
from trayray.wire.values import INLINE, Value
from trayray.worker.references import AnyRef, ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker


_NOTHING = serialize(None).to_bytes()


class GroupReferences:
    """The placement groups that this process waits for, and those that it has met."""

    def __init__(self, core: CoreWorker) -> None:
        self._core = core
        self._lock = threading.Lock()
        #: References that wait for a group, each with what makes its value.
        self._waiting: dict[bytes, list[tuple[weakref.ref[ObjectRef[Any]], Callable[[], Any]]]] = {}
        #: References that stand for the answers to requests, by the state that answers and the group.
        self._asked: dict[tuple[str, bytes], list[ObjectRef[Any]]] = {}
        #: What each known group reserves, bundle by bundle.
        self._bundles: dict[bytes, list[dict[str, float]]] = {}

    def create(self, message: CreateGroup) -> None:
        """Register a group, which is placed as soon as that is possible; from any thread but the loop's.

        Raises:
            RaySystemError: another group has the name.
        """
        self._ask("REGISTERED", message)
        self._bundles[message.group] = [dict(resources) for resources, _ in message.bundles]

    def remove(self, group: bytes) -> None:
        """Free what a group reserves, and end what runs in it; from any thread but the loop's."""
        self._ask("REMOVED", RemoveGroup(group))

    def _ask(self, state: str, message: CreateGroup | RemoveGroup) -> None:
        ref = self._reference()
        with self._lock:
            self._asked.setdefault((state, message.group), []).append(ref)
        self._core.call_soon(self._core.to_node_if_there, [message])
        self._core.objects.get((ref,), None)

    def _reference(self) -> ObjectRef[Any]:
        """A reference without a value. It is known, so that it fails with everything else when the node dies."""
        ref = AnyRef(object_id(self._core.ids.next_normal(), 1))
        self._core.references.export(ref)
        return ref

    def ready(self, group: bytes, value: Callable[[], Any]) -> ObjectRef[Any]:
        """A reference whose value is ``value()`` once the group is created; from any thread.

        It fails with TaskPlacementGroupRemoved when the group is removed before.
        """
        ref = self._reference()
        with self._lock:
            self._waiting.setdefault(group, []).append((weakref.ref(ref), value))
        self._core.call_soon(self._core.to_node_if_there, [WatchGroup(group)])
        return ref

    def news(self, message: GroupNews) -> None:
        """The node says what has become of a group."""
        with self._lock:
            waiting = [] if message.state == "REGISTERED" else self._waiting.pop(message.group, [])
            asked = self._asked.pop((message.state, message.group), [])
        for ref in asked:
            if message.error:
                self._core.references.fail(ref, RaySystemError(RuntimeError(message.error)))
            else:
                self._core.references.complete(ref, Value(INLINE, _NOTHING))
        for weak, value in waiting:
            ref = weak()
            if ref is None:
                continue
            match message.state:
                case "CREATED":
                    self._core.references.complete(ref, Value(INLINE, serialize(value()).to_bytes()))
                case "REMOVED":
                    self._core.references.fail(ref, TaskPlacementGroupRemoved())
                case _:
                    text = (
                        f"placement group {message.group.hex()} is not known to this cluster: it was created before "
                        "the present init(), or in another cluster"
                    )
                    self._core.references.fail(ref, RaySystemError(RuntimeError(text)))

    def bundles(self, group: bytes) -> list[dict[str, float]]:
        """What each bundle of the group reserves; from any thread but the loop's.

        Raises:
            ValueError: this cluster has no such group.
        """
        known = self._bundles.get(group)
        if known is None:
            found = self._core.run_async(self._core.gcs.placement_groups, group)
            if not found:
                raise ValueError(
                    f"Placement group {group.hex()} does not exist in this cluster. It was created before the present "
                    "init(), or in another cluster."
                )
            known = self._bundles[group] = [dict(bundle.resources) for bundle in found[0].bundles]
        return known

    def remember(self, group: bytes, bundles: list[dict[str, float]]) -> None:
        """This process has created the group, or got a handle that says what it reserves."""
        self._bundles.setdefault(group, bundles)
