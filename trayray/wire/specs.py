"""Specifications that travel inside messages, encoded by themselves."""

from typing import Any

from msgspec import Struct

from trayray.wire.report_messages import HeldReference
from trayray.wire.values import RefInfo, Value


class JobConfig(Struct):
    """What a worker needs to know of the job that it serves."""

    namespace: str
    sys_path: list[str]
    cwd: str
    runtime_env: dict[str, Any]
    omp_num_threads: str = ""
    #: `import ray` gives trayray in the job's workers too.
    as_ray: bool = False
    #: Actors created without a lifetime outlive the job.
    detaches_actors: bool = False
    #: A request that no node can meet fails instead of waiting.
    infeasible_is_error: bool = False
    #: Where code in other languages is; calls across languages are refused without.
    code_search_path: list[str] = []


class HeldReferences(Struct):
    """What a process keeps."""

    #: The largest.
    listed: list[HeldReference]
    #: What is not listed: kind, number, bytes as far as they are known.
    omitted: list[tuple[str, int, int]]
    #: Whether the process records where references are made.
    records_call_sites: bool


class ActorSpec(Struct):
    """Everything that is needed to run an actor's constructor, again and again."""

    actor: bytes
    task: bytes
    class_name: str
    body: bytes
    payload: bytes
    values: list[tuple[RefInfo, Value]]
    owner: str
    job: bytes
    name: str
    namespace: str
    max_concurrency: int
    is_async: bool
    groups: dict[str, int]
    resources: dict[str, float]
    max_restarts: int
    handle: bytes
    #: The placement group that it lives in, empty for none; and whether what it starts goes there too.
    placement_group: bytes = b""
    captures: bool = False
