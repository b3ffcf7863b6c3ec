"""The ids of jobs, actors, tasks, placement groups, nodes and workers: their sizes, layouts and how they are made.

Two forms of one thing: classes for the API, and plain ``bytes`` for the paths that run once a task. ``ObjectRef`` is
not here, because it counts references; the bytes of its id are (``object_id``).

Layout (every id carries the ids that it belongs to, so that these need no lookup)::

    JobID             4                             little-endian number
    ActorID          16   12 unique    + JobID
    TaskID           24    8 unique    + ActorID    normal task: ActorID = 12 * ff + JobID
                                                    actor creation: 8 * ff + ActorID;  driver: 20 * ff + JobID
    object           28   TaskID       + index      4 bytes, little-endian
    PlacementGroupID 18   14 unique    + JobID
    all others       28   unique

An id of ``ff`` only is nil.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from itertools import count
from struct import Struct
from typing import ClassVar, Self

__all__ = (
    "ACTOR_ID_SIZE",
    "ActorClassID",
    "ActorID",
    "BaseID",
    "ClusterID",
    "FunctionID",
    "JOB_ID_SIZE",
    "JobID",
    "NodeID",
    "OBJECT_ID_SIZE",
    "PlacementGroupID",
    "TASK_ID_SIZE",
    "TaskID",
    "TaskIdFactory",
    "UniqueID",
    "WorkerID",
    "creation_task_id",
    "driver_task_id",
    "object_id",
)

JOB_ID_SIZE = 4
ACTOR_ID_SIZE = 16
TASK_ID_SIZE = 24
OBJECT_ID_SIZE = 28

_NO_ACTOR = b"\xff" * (ACTOR_ID_SIZE - JOB_ID_SIZE)
_NO_TASK = b"\xff" * (TASK_ID_SIZE - ACTOR_ID_SIZE)
# The unique part of a task id is never all ones: with it the ids of driver and actor creation tasks begin.
_UNIQUE_TASKS = 2**64 - 1
_pack_unique = Struct("<Q").pack
_pack_index = Struct("<I").pack


class BaseID:
    """An immutable id of fixed size, equal to ids of the same class with the same bytes.

    Raises TypeError for anything but ``bytes`` and ValueError for a wrong length.
    """

    __slots__ = ("_binary",)
    _size: ClassVar[int]

    def __init__(self, binary: bytes) -> None:
        if not isinstance(binary, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise TypeError(f"Unsupported type: {type(binary)}, expected bytes")
        if len(binary) != self._size:
            raise ValueError(f"ID string needs to have length {self._size}, got {len(binary)}")
        self._binary = binary

    @classmethod
    def size(cls) -> int:
        """The length of this kind of id in bytes."""
        return cls._size

    @classmethod
    def nil(cls) -> Self:
        """The id that stands for "none"."""
        return cls(b"\xff" * cls._size)

    @classmethod
    def from_random(cls) -> Self:
        """An id of random bytes."""
        return cls(os.urandom(cls._size))

    @classmethod
    def from_binary(cls, id_bytes: bytes) -> Self:
        """The id with these bytes."""
        return cls(id_bytes)

    @classmethod
    def from_hex(cls, hex_id: str | bytes) -> Self:
        """The id that ``hex()`` wrote; ValueError if ``hex_id`` is no hexadecimal text of the right length."""
        return cls(bytes.fromhex(hex_id if isinstance(hex_id, str) else hex_id.decode("ascii")))

    def binary(self) -> bytes:
        """The bytes of the id."""
        return self._binary

    def hex(self) -> str:
        """The id as lower-case hexadecimal text."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether this is the id that stands for "none"."""
        return self._binary == b"\xff" * self._size

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._binary == self._binary

    def __hash__(self) -> int:
        return hash(self._binary)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._binary.hex()})"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._binary,)


class UniqueID(BaseID):
    """An id that says nothing about what it belongs to."""

    __slots__ = ()
    _size = 28


class NodeID(UniqueID):
    """The id of a node."""

    __slots__ = ()


class WorkerID(UniqueID):
    """The id of a worker or driver process."""

    __slots__ = ()


class ClusterID(UniqueID):
    """The id of a cluster."""

    __slots__ = ()


class FunctionID(UniqueID):
    """The id of an exported function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """The id of an exported actor class."""

    __slots__ = ()


class JobID(BaseID):
    """The id of a job; jobs are numbered from 1."""

    __slots__ = ()
    _size = JOB_ID_SIZE

    @classmethod
    def from_int(cls, value: int) -> JobID:
        """The id of the job of this number (0 to 2**32 - 1, else OverflowError)."""
        return cls(value.to_bytes(JOB_ID_SIZE, "little"))

    def int(self) -> int:
        """The number of the job."""
        return int.from_bytes(self._binary, "little")


class ActorID(BaseID):
    """The id of an actor, which ends in the id of its job."""

    __slots__ = ()
    _size = ACTOR_ID_SIZE

    @classmethod
    def of(cls, job_id: JobID, parent_task_id: TaskID | None = None, parent_task_counter: int = 0) -> ActorID:
        """A new actor id of the job.

        The unique part is random and never derived from the parent: a task that runs again must not make an actor
        with the id of one that still lives. The two other parameters are those that Ray takes.
        """
        return cls(os.urandom(ACTOR_ID_SIZE - JOB_ID_SIZE) + job_id.binary())

    @property
    def job_id(self) -> JobID:
        """The job that made the actor."""
        return JobID(self._binary[-JOB_ID_SIZE:])


class TaskID(BaseID):
    """The id of a task, which ends in the ids of its actor and its job."""

    __slots__ = ()
    _size = TASK_ID_SIZE

    @classmethod
    def for_driver_task(cls, job_id: JobID) -> TaskID:
        """The id of the task that a job's driver counts as."""
        return cls(driver_task_id(job_id.binary()))

    @classmethod
    def for_actor_creation_task(cls, actor_id: ActorID) -> TaskID:
        """The id of the task that runs the actor's constructor."""
        return cls(creation_task_id(actor_id.binary()))

    @classmethod
    def for_normal_task(cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: int) -> TaskID:
        """The id of the given child of a task: the same arguments give the same id."""
        return cls(_derived(parent_task_id, parent_task_counter) + _NO_ACTOR + job_id.binary())

    @classmethod
    def for_actor_task(
        cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: int, actor_id: ActorID
    ) -> TaskID:
        """The id of the given call by a task of an actor: the same arguments give the same id."""
        return cls(_derived(parent_task_id, parent_task_counter) + actor_id.binary())

    @classmethod
    def for_fake_task(cls, job_id: JobID) -> TaskID:
        """A random id, for tests and for objects without a task."""
        return cls(os.urandom(TASK_ID_SIZE - JOB_ID_SIZE) + job_id.binary())

    def actor_id(self) -> ActorID:
        """The actor that the task belongs to; 12 * ff and the job for a task without actor."""
        return ActorID(self._binary[-ACTOR_ID_SIZE:])

    def job_id(self) -> JobID:
        """The job that the task belongs to."""
        return JobID(self._binary[-JOB_ID_SIZE:])


class PlacementGroupID(BaseID):
    """The id of a placement group, which ends in the id of its job."""

    __slots__ = ()
    _size = 18

    @classmethod
    def of(cls, job_id: JobID) -> PlacementGroupID:
        """A new id for a placement group of the job."""
        return cls(os.urandom(cls._size - JOB_ID_SIZE) + job_id.binary())

    def job_id(self) -> JobID:
        """The job that made the placement group."""
        return JobID(self._binary[-JOB_ID_SIZE:])


def _derived(parent: TaskID, counter: int) -> bytes:
    digest = blake2b(parent.binary() + counter.to_bytes(8, "little"), digest_size=8).digest()
    return _pack_unique(int.from_bytes(digest, "little") % _UNIQUE_TASKS)


class TaskIdFactory:
    """Makes the ids of the tasks that one process submits for one job; may be shared by threads.

    Parameters: ``job``, the 4 bytes of the job id; ``base``, a random 64-bit number that keeps the processes of a job
    apart. The unique parts are ``base``, ``base + 1``, ... modulo 2**64 - 1, so they repeat after 2**64 - 1 ids only.
    """

    __slots__ = ("_base", "_count", "_tail")

    def __init__(self, job: bytes, base: int) -> None:
        if len(job) != JOB_ID_SIZE:
            raise ValueError(f"A job id has {JOB_ID_SIZE} bytes, got {len(job)}")
        self._base = base
        self._count = count().__next__  # one C call, hence atomic: no lock
        self._tail = _NO_ACTOR + job

    def next_normal(self) -> bytes:
        """The 24 bytes of the id of a task without actor."""
        return _pack_unique((self._base + self._count()) % _UNIQUE_TASKS) + self._tail

    def next_for_actor(self, actor_id: bytes) -> bytes:
        """The 24 bytes of the id of a call of the actor with this id of 16 bytes."""
        return _pack_unique((self._base + self._count()) % _UNIQUE_TASKS) + actor_id


def creation_task_id(actor_id: bytes) -> bytes:
    """The id of the task that runs an actor's constructor."""
    return _NO_TASK + actor_id


def driver_task_id(job: bytes) -> bytes:
    """The id of the task that a job's driver counts as."""
    return _NO_TASK + _NO_ACTOR + job


def object_id(task_id: bytes, index: int) -> bytes:
    """The 28 bytes of the id of a task's object ``index`` (0 to 2**32 - 1, else ``struct.error``)."""
    return task_id + _pack_index(index)
