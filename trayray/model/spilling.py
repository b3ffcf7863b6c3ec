"""Where a node spills objects to, and the settings of its object store.

Covers Ray's ``object_spilling_config`` and the other settings of the store, from ``_system_config`` and from the
environment, read and checked. Not here: files and URIs (``node.spill_storage``), what is spilled when (``core``).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import attrs

_T = TypeVar("_T")

FILESYSTEM, SMART_OPEN = "filesystem", "smart_open"
#: Ray's kinds of storage: what names their places, and further parameters.
_PLACES = {FILESYSTEM: "directory_path", SMART_OPEN: "uri"}
_FURTHER = {FILESYSTEM: ("buffer_size",), SMART_OPEN: ("buffer_size", "override_transport_params")}
#: Bytes that are collected before they travel, when nothing is said (Ray's, for URIs).
_URI_BUFFER = 1024 * 1024
#: Share of a disk that may be used, with what is being written.
_CAPACITY_THRESHOLD = 0.95

#: What says nothing, as in Ray.
_UNSAID: tuple[object, ...] = (None, "", {})


@attrs.frozen
class SpillConfig:
    """Where spilled objects go."""

    #: `FILESYSTEM` or `SMART_OPEN`.
    kind: str = FILESYSTEM
    #: Absolute directories, or URIs, that take turns. Empty: the default directory of whoever opens the storage.
    places: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    #: Bytes written at once. None: as many as the system takes.
    buffer_size: int | None = None
    #: Used share of any of the disks above which nothing is written, 1 for no limit. Of directories only.
    capacity_threshold: float = _CAPACITY_THRESHOLD
    #: Further parameters for smart_open.
    transport: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    @classmethod
    def parse(cls, value: object) -> SpillConfig:
        """Ray's ``object_spilling_config``: a dict, or its JSON text.

        Raises:
            ValueError: it is not understood; the text says what is wrong with which key.
        """
        config = _mapping(_from_json(value) if isinstance(value, str) else value, "object_spilling_config")
        _check_keys(config, ("type", "params", "buffer_size"), "object_spilling_config")
        kind = config.get("type")
        if not isinstance(kind, str) or kind not in _PLACES:
            raise ValueError(f'object_spilling_config: "type" must be "{FILESYSTEM}" or "{SMART_OPEN}", not {kind!r}')
        place = _PLACES[kind]
        params = _mapping(config.get("params", {}), 'object_spilling_config: "params"')
        _check_keys(params, (place, *_FURTHER[kind]), f'object_spilling_config: "params" of "{kind}"')
        if place not in params:
            raise ValueError(f'object_spilling_config: "params" must have "{place}" (a text, or a list of texts)')
        return cls(
            kind,
            _places(kind, params[place]),
            _buffer_size(config, params, None if kind == FILESYSTEM else _URI_BUFFER),
            transport=_mapping(params.get("override_transport_params", {}), '"override_transport_params"'),
        )

    @classmethod
    def of_directory(cls, path: object, source: str = "object_spilling_directory") -> SpillConfig:
        """One directory, which ``source`` names.

        Raises:
            ValueError: it is no absolute path.
        """
        return cls(FILESYSTEM, (_directory(path, source),))


@attrs.frozen
class StoreSettings:
    """Settings of a node's object store. Names in comments are those of ``_system_config`` and of the environment."""

    spilling: SpillConfig = SpillConfig()
    #: ``automatic_object_spilling_enabled``: whether objects are spilled at all.
    automatic: bool = True
    #: ``object_spilling_threshold``: used share of the store above which spilling begins, in (0, 1].
    threshold: float = 0.8
    #: ``min_spilling_size``: bytes that are spilled together if there are so many.
    min_spilling_size: int = 100 * 1024 * 1024
    #: ``max_fused_object_count``: most objects in one file.
    max_fused_object_count: int = 2000
    #: ``max_io_workers``: most files that are written or read at a time.
    max_io_workers: int = 4
    #: ``object_store_full_seconds``: how long a put into a full store waits for others to let go.
    full_seconds: float = 10.0

    @classmethod
    def from_sources(
        cls, system_config: Mapping[str, Any], environment: Mapping[str, str], directory: str | None = None
    ) -> StoreSettings:
        """Each setting from ``system_config``, else ``TRAYRAY_<name>``, else ``RAY_<name>``, else its default.

        A directory goes before a config, wherever each was said, as in Ray.

        Args:
            system_config: ``init(_system_config=…)``; other keys are of others.
            environment: as ``os.environ``; empty texts count as unsaid.
            directory: ``init(object_spilling_directory=…)``.

        Raises:
            ValueError: a setting is not understood, or out of its range; the text names it as it was written.
        """
        sources = _Sources(system_config, environment)
        default = cls()
        return cls(
            spilling=attrs.evolve(
                _spilling(sources, directory),
                capacity_threshold=sources.get("local_fs_capacity_threshold", _share, _CAPACITY_THRESHOLD),
            ),
            automatic=sources.get("automatic_object_spilling_enabled", _switch, default.automatic),
            threshold=sources.get("object_spilling_threshold", _share, default.threshold),
            min_spilling_size=sources.get("min_spilling_size", _size, default.min_spilling_size),
            max_fused_object_count=sources.get("max_fused_object_count", _count, default.max_fused_object_count),
            max_io_workers=sources.get("max_io_workers", _count, default.max_io_workers),
            full_seconds=sources.get("object_store_full_seconds", _seconds, default.full_seconds),
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> StoreSettings:
        """The inverse of ``attrs.asdict``, also after JSON."""
        values = dict(fields)
        return cls(SpillConfig(**values.pop("spilling")), **values)


def _spilling(sources: _Sources, directory: str | None) -> SpillConfig:
    if directory not in _UNSAID:
        return SpillConfig.of_directory(directory)
    of_sources = sources.get("object_spilling_directory", SpillConfig.of_directory, None)
    if of_sources is not None:
        return of_sources
    return sources.get("object_spilling_config", lambda value, _: SpillConfig.parse(value), SpillConfig())


@attrs.frozen
class _Sources:
    """What was said, in the order in which it counts."""

    system_config: Mapping[str, Any]
    environment: Mapping[str, str]

    def get(self, name: str, read: Callable[[Any, str], _T], default: _T) -> _T:
        """What ``read`` makes of the setting's value and of how it was named, or the default."""
        value = self.system_config.get(name)
        if value not in _UNSAID:
            return read(value, f'_system_config["{name}"]')
        for variable in (f"TRAYRAY_{name}", f"RAY_{name}"):
            if text := self.environment.get(variable):
                return read(text if read not in _NUMBERS else _number_of(text, variable), variable)
        return default


def _number_of(text: str, source: str) -> object:
    """A number, or true or false, that the environment has as a text."""
    lowered = text.strip().lower()
    for values, meaning in ((("true", "yes", "on"), True), (("false", "no", "off"), False)):
        if lowered in values:
            return meaning
    for kind in (int, float):
        try:
            return kind(lowered)
        except ValueError:
            continue
    raise ValueError(f"{source} must be a number, not {text!r}")


def _number(value: object, source: str, rule: str, holds: Callable[[float], bool]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not holds(value):
        raise ValueError(f"{source} must be {rule}, not {value!r}")
    return value


def _share(value: object, source: str) -> float:
    return float(_number(value, source, "a number above 0, up to 1", lambda number: 0 < number <= 1))


def _seconds(value: object, source: str) -> float:
    return float(_number(value, source, "a number of seconds, at least 0", lambda number: number >= 0))


def _size(value: object, source: str) -> int:
    return int(_number(value, source, "a whole number of bytes, at least 0", lambda n: n >= 0 and n == int(n)))


def _count(value: object, source: str) -> int:
    return int(_number(value, source, "a whole number of at least 1", lambda number: number >= 1 and number % 1 == 0))


def _switch(value: object, source: str) -> bool:
    if value not in (0, 1):
        raise ValueError(f"{source} must be true or false (1 or 0), not {value!r}")
    return bool(value)


#: Readers of what the environment has as the text of a number.
_NUMBERS: tuple[Callable[..., Any], ...] = (_share, _seconds, _size, _count, _switch)


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"object_spilling_config is not valid JSON ({error}): {text!r}") from error


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a dict (a JSON object), not {value!r}")
    return cast("Mapping[str, Any]", value)


def _check_keys(given: Mapping[str, Any], known: tuple[str, ...], name: str) -> None:
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ValueError(
            f"{name} has the unknown {'keys' if len(unknown) > 1 else 'key'} {', '.join(map(repr, unknown))}; known "
            f"are {', '.join(map(repr, known))}"
        )


def _places(kind: str, value: object) -> tuple[str, ...]:
    name = f'object_spilling_config: "{_PLACES[kind]}"'
    places = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    if not places:
        raise ValueError(f"{name} is an empty list; name at least one place")
    check = _directory if kind == FILESYSTEM else _uri
    return tuple(check(place, name) for place in places)


def _directory(value: object, source: str) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- PathLike of any
    if not isinstance(path, str) or not path:
        raise ValueError(f"{source} must be the path of a directory, not {value!r}")
    if not os.path.isabs(path):
        raise ValueError(
            f"{source} must be an absolute path, not {path!r}: nodes have working directories of their own"
        )
    if "\0" in path:
        raise ValueError(f"{source} has a null character: {path!r}")
    return os.path.normpath(path)


def _uri(value: object, source: str) -> str:
    scheme, _, rest = value.partition("://") if isinstance(value, str) else ("", "", "")
    if not isinstance(value, str) or not scheme or not rest.strip("/"):
        raise ValueError(
            f'{source} must be a URI such as "s3://bucket/path", not {value!r}; directories are of the type '
            f'"{FILESYSTEM}"'
        )
    if scheme.lower().startswith("s3") and "@" in rest:
        raise ValueError(f"{source} has credentials in a URI of {scheme}; S3 takes them from the environment")
    if scheme.lower() == "file" and not rest.startswith("/"):
        raise ValueError(f"{source} must have an absolute path: {value!r}")
    return value.rstrip("/")


def _buffer_size(config: Mapping[str, Any], params: Mapping[str, Any], default: int | None) -> int | None:
    """Ray's documents have it beside the parameters, Ray's code among them: both are understood."""
    name = 'object_spilling_config: "buffer_size"'
    given = [where["buffer_size"] for where in (params, config) if where.get("buffer_size") is not None]
    if not given:
        return default
    if len(given) == 2 and given[0] != given[1]:
        raise ValueError(f'{name} is {given[1]!r}, and {given[0]!r} in "params": say it once')
    return int(_number(given[0], name, "a whole number of bytes, at least 1", lambda n: n >= 1 and n == int(n)))
