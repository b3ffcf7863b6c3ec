"""Ray's ``ray.job_config``: what ``init(job_config=...)`` takes.

Not here: what workers are told of a job (``wire.specs.JobConfig``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Values of Ray's wire protocol, which pickles of this class carry.
_LIFETIMES = {"detached": 0, "non_detached": 1}


class JobConfig:
    """Settings of a job.

    Args:
        jvm_options: options of a Java worker; kept, without effect.
        code_search_path: directories and archives of code in other languages; kept, without effect.
        runtime_env: environment of the job's workers; the ``runtime_env`` of ``init`` comes first.
        metadata: any text by key.
        ray_namespace: where the job's named actors live; the ``namespace`` of ``init`` comes first.
        default_actor_lifetime: "detached" or "non_detached", of actors created without ``lifetime``.

    Raises:
        TypeError: ``code_search_path`` is no list.
        ValueError: an unknown lifetime.
    """

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        _client_job: bool = False,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
        _disable_job_level_lineage_reconstruction: bool = False,
        _py_driver_sys_path: list[str] | None = None,
    ) -> None:
        search_path = [] if code_search_path is None else code_search_path
        if not isinstance(search_path, list | tuple):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
            raise TypeError(f"code_search_path must be a list of directories, not {type(search_path).__name__}")
        self.jvm_options = jvm_options or []
        self.code_search_path = search_path
        self.metadata = metadata or {}
        self.ray_namespace = ray_namespace
        self.py_logging_config: Any = None
        self.runtime_env: Mapping[str, Any]
        self._client_job = _client_job
        self._disable_job_level_lineage_reconstruction = _disable_job_level_lineage_reconstruction
        self._py_driver_sys_path = _py_driver_sys_path or []
        self.set_runtime_env(runtime_env)
        self.set_default_actor_lifetime(default_actor_lifetime)

    def set_metadata(self, key: str, value: str) -> None:
        """Add or replace one entry of the metadata."""
        self.metadata[key] = value

    def set_runtime_env(self, runtime_env: Mapping[str, Any] | None, validate: bool = False) -> None:
        """Replace the runtime environment; None for none.

        Raises:
            TypeError: with ``validate``: no dict.
        """
        if validate and runtime_env is not None and not isinstance(runtime_env, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
            raise TypeError(f"runtime_env must be a dict, not {type(runtime_env).__name__}")
        self.runtime_env = {} if runtime_env is None else runtime_env

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """Replace the namespace."""
        self.ray_namespace = ray_namespace

    def set_py_logging_config(self, logging_config: Any = None) -> None:
        """Replace the logging configuration of the job's workers; kept, without effect."""
        self.py_logging_config = logging_config

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """Replace the lifetime of actors that are created without one.

        Raises:
            ValueError: neither "detached" nor "non_detached".
        """
        if default_actor_lifetime not in _LIFETIMES:
            raise ValueError(
                f"Default actor lifetime must be one of `detached`, `non_detached`, not {default_actor_lifetime!r}"
            )
        self._default_actor_lifetime = _LIFETIMES[default_actor_lifetime]

    @property
    def detaches_actors(self) -> bool:
        """Whether actors that are created without ``lifetime`` outlive the job."""
        return self._default_actor_lifetime == _LIFETIMES["detached"]

    @classmethod
    def from_json(cls, job_config_json: Mapping[str, Any]) -> JobConfig:
        """From the fields of a JSON object; those that are missing have their defaults."""
        return cls(
            jvm_options=job_config_json.get("jvm_options"),
            code_search_path=job_config_json.get("code_search_path"),
            runtime_env=job_config_json.get("runtime_env"),
            _client_job=job_config_json.get("client_job", False),
            metadata=job_config_json.get("metadata"),
            ray_namespace=job_config_json.get("ray_namespace"),
            _py_driver_sys_path=job_config_json.get("py_driver_sys_path"),
        )


__all__ = ("JobConfig",)
