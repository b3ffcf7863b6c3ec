"""``init``, ``shutdown`` and ``is_initialized``, with Ray's signatures and rules ("Starting Ray", "Configuring Ray").

Not here: the connection itself (``session``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, cast

import attrs

from trayray.api.session import (
    Connection,
    connect,
    connect_in_process,
    end_node,
    leave,
    new_namespace,
    session,
    start_node,
)
from trayray.model.settings import environment, infeasible_is_error, says_of_the_store, shutdown_seconds
from trayray.version import RAY_VERSION
from trayray.worker.ray_alias import is_installed

if TYPE_CHECKING:
    from trayray.job_config import JobConfig

#: Ray's minimum size of an object store (bytes).
_MINIMUM_STORE = 75 * 1024 * 1024


#: Where a cluster that ``init`` starts lives: in this process, or in processes of its own.
IN_PROCESS, PROCESSES = "in_process", "processes"


class InitOptions(TypedDict, total=False):
    """Further keywords of ``init``. Those without a comment change nothing: they are Ray's, for what is not here."""

    _temp_dir: str | None  # where sessions are kept, instead of the directory for temporary files
    _memory: float | None  # what the node has for ``memory=`` of tasks and actors (bytes)
    _metrics_export_port: int | None  # of the node's ``/metrics``
    _node_name: str | None  # as `nodes` shows it
    _system_config: dict[str, Any] | None  # settings of the node
    allow_multiple: bool  # of clients only: refused
    object_spilling_directory: str | None  # where objects go that the store has no room for
    _node_ip_address: str
    _plasma_directory: str | None
    _driver_object_store_memory: int | None
    _enable_object_reconstruction: bool
    _redis_username: str | None
    _redis_password: str | None
    _skip_env_hook: bool
    _tracing_startup_hook: Any


@attrs.define(eq=False)
class RayContext(Mapping[str, Any]):
    """What ``init`` returns: versions and addresses; leaving it as a context manager disconnects."""

    address_info: dict[str, Any]
    dashboard_url: str = ""
    python_version: str = attrs.field(factory=lambda: ".".join(map(str, sys.version_info[:3])))
    ray_version: str = RAY_VERSION
    ray_commit: str = ""

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutdown()

    def disconnect(self) -> None:
        """Leave the cluster."""
        shutdown()


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: JobConfig | None = None,
    configure_logging: bool = True,
    logging_level: int | str = "info",
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    proxy_server_url: str | None = None,
    mode: str | None = None,
    **kwargs: Unpack[InitOptions],
) -> RayContext:
    """Join a cluster, or start one on this machine and join it.

    Args:
        address: "local" always starts a cluster; "auto" finds the latest one of this machine; "host:port" joins that
            one; None looks at ``TRAYRAY_ADDRESS`` / ``RAY_ADDRESS``, then for a cluster that ``trayray start`` has
            started, else starts one.
        num_cpus, num_gpus, resources, labels, object_store_memory: of the node that is started (bytes for memory).
        ignore_reinit_error: a second ``init`` returns the present context instead of raising.
        log_to_driver: show what workers print.
        namespace: where this job's named actors live; a random one by default.
        runtime_env: environment of the job's workers.
        job_config: further settings of the job.
        mode: "in_process" runs the whole cluster in this process, see docs/in_process.md; "processes" is the usual.
            None: what ``TRAYRAY_MODE`` says, else the usual.
        kwargs: see `InitOptions`.

    The others are Ray's, and change nothing: there is no dashboard, resources are not isolated by control groups, and
    logging is left to the program.

    Raises:
        RuntimeError: called twice, or an unknown keyword.
        ConnectionError: nobody listens at ``address``.
        ValueError: an impossible amount or setting, or resources for a cluster that runs already; an unknown mode, or
            an address for a cluster in this process.
        ImportError: objects shall be spilled to where a package is needed that is not installed.
    """
    options = cast("dict[str, Any]", kwargs)
    with session.lock:
        if session.connection is not None and session.connection.core.lost is not None:
            leave()  # of a cluster that has died
        if session.connection is not None:
            if ignore_reinit_error:
                return _context(session.connection)
            raise RuntimeError(
                "Maybe you called ray.init twice by accident? This error can be suppressed by passing in "
                "'ignore_reinit_error=True' or by calling 'ray.shutdown()' prior to 'ray.init()'."
            )
        _check_options(options, local_mode)
        in_process = _is_in_process(mode, address)
        amounts = _Amounts(num_cpus, num_gpus, resources, labels, object_store_memory, options)
        amounts.check()
        shows_logs = environment("LOG_TO_DRIVER", "1") != "0" if log_to_driver is None else log_to_driver
        if in_process:
            job = _job_config(namespace, runtime_env, job_config)
            return _context(connect_in_process(amounts.node_config(options), job, print_logs=shows_logs))
        address = address or environment("ADDRESS") or None
        if address is not None and "://" in address:
            raise ConnectionError(
                f"{address!r}: client connections are not available yet; run the driver on a machine of the cluster "
                "and pass address='auto' or 'host:port'"
            )
        if address != "local":
            directory = _find(address, options)
            if directory is not None:
                amounts.check_absent()
                job = _job_config(namespace, runtime_env, job_config)
                return _context(connect(directory, job, print_logs=shows_logs, node=None))
        node = start_node(amounts.node_config(options))
        try:
            job = _job_config(namespace, runtime_env, job_config)  # with imports that the node's start has hidden
            return _context(connect(node.session_dir, job, print_logs=shows_logs, node=node))
        except BaseException:
            end_node(node)
            raise


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """Leave the cluster; ends it when ``init`` started it. May be called any number of times."""
    del wait_for_processes, _exiting_interpreter  # always waited for
    with session.lock:
        leave()


def is_initialized() -> bool:
    """Whether this process belongs to a cluster; true in tasks and actors."""
    from trayray.worker.current import core_worker

    return core_worker() is not None


def _check_options(options: dict[str, Any], local_mode: bool) -> None:
    if local_mode:
        raise RuntimeError("local_mode is no longer supported; init(mode='in_process') runs everything in this process")
    unknown = sorted(set(options) - InitOptions.__optional_keys__)
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(unknown)}")
    if options.get("allow_multiple"):
        raise RuntimeError("`allow_multiple` argument is passed to `ray.init` when the ray client is not used.")


def _is_in_process(mode: str | None, address: str | None) -> bool:
    """Whether the cluster shall live in this process.

    Raises:
        ValueError: there is no such mode, or another cluster is asked for at the same time.
    """
    chosen = os.environ.get("TRAYRAY_MODE", "") if mode is None else mode
    if chosen in ("", PROCESSES) and mode != "":
        return False
    if chosen != IN_PROCESS:
        source = "mode" if mode is not None else "TRAYRAY_MODE"
        raise ValueError(f"{source} must be {IN_PROCESS!r} or {PROCESSES!r}, not {chosen!r}")
    if address not in (None, "local"):
        raise ValueError(
            f"address={address!r} names a cluster of other processes, but mode={IN_PROCESS!r} (or "
            f"TRAYRAY_MODE={IN_PROCESS}) asks for one within this process: leave one of them out"
        )
    return True


def _store_settings(system_config: Mapping[str, Any], directory: str | None) -> Any:
    """What is said of the node's object store, checked here; None if nothing is.

    Raises:
        ValueError: it is not understood.
        ImportError: it needs a package that is not installed.
    """
    if directory is None and not says_of_the_store(system_config):
        return None
    from trayray.model.spilling import SMART_OPEN, StoreSettings

    settings = StoreSettings.from_sources(system_config, os.environ, directory)
    if settings.spilling.kind == SMART_OPEN:
        from trayray.node.spill_storage import check_packages

        check_packages(settings.spilling)
    return settings


@attrs.frozen
class _Amounts:
    """What a new node shall have."""

    num_cpus: float | None
    num_gpus: float | None
    resources: dict[str, float] | None
    labels: dict[str, str] | None
    object_store_memory: int | None
    options: dict[str, Any]

    def check(self) -> None:
        amounts = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, **(self.resources or {})}
        for name, amount in amounts.items():
            if amount is None:
                continue
            if not isinstance(amount, int | float):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
                raise TypeError(f"{name} must be a number, not {type(amount).__name__}")
            if amount < 0:
                raise ValueError(f"Resource quantities must be nonnegative, but {name} is {amount}.")
        if self.object_store_memory is not None and self.object_store_memory < _MINIMUM_STORE:
            raise ValueError(
                f"object_store_memory is {self.object_store_memory} bytes; the minimum is {_MINIMUM_STORE} bytes "
                "(75 MiB)."
            )

    def check_absent(self) -> None:
        given = [
            name
            for name in ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory")
            if getattr(self, name) is not None
        ]
        if given:
            raise ValueError(
                f"When connecting to an existing cluster, {', '.join(given)} must not be provided; "
                "pass address='local' to start a new one"
            )

    def node_config(self, options: dict[str, Any]) -> Any:
        from trayray.node.config import KILL_CHILDREN, KILL_DESCENDANTS, NodeConfig
        from trayray.node.session import root_dir

        settings: Mapping[str, Any] = options.get("_system_config") or {}
        config = NodeConfig(
            root=str(root_dir(options.get("_temp_dir"))),
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            memory=options.get("_memory"),
            custom_resources=self.resources or {},
            labels=self.labels or {},
            object_store_memory=self.object_store_memory or 0,
            driver_pid=os.getpid(),
            name=options.get("_node_name") or "",
            shutdown_seconds=shutdown_seconds(),
            kill_children=settings.get(KILL_CHILDREN),
            kill_descendants=settings.get(KILL_DESCENDANTS),
            metrics_port=_port("_metrics_export_port", options.get("_metrics_export_port")),
            metrics_auth=environment("METRICS_AUTH") == "1",
            store=_store_settings(settings, options.get("object_spilling_directory")),
        )
        config.worker_settings()  # what is wrong with them is said here
        return config


def _port(name: str, port: Any) -> int:
    """A port to listen on; 0 for any free one when nothing is said.

    Raises:
        ValueError: there is no such port.
    """
    if port is None:
        return 0
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"{name} must be a port number from 0 (any free port) to 65535, not {port!r}")
    return port


def _find(address: str | None, options: dict[str, Any]) -> Path | None:
    """The session directory of a running cluster; None when there is none and one may be started."""
    from trayray.node.session import find_session, root_dir

    found = find_session(address or "auto", root_dir(options.get("_temp_dir")), started_by_hand=address is None)
    if found is not None:
        return found.path
    if address is None:
        return None
    if address == "auto":
        raise ConnectionError(
            "Could not find any running Ray instance; start one with `trayray start --head`, or call init() without an "
            "address."
        )
    raise ConnectionError(
        f"No cluster of this user listens at {address!r} on this machine. `trayray status` shows what runs; "
        "`trayray start --head` starts a cluster."
    )


def _job_config(namespace: str | None, runtime_env: Mapping[str, Any] | None, job_config: Any) -> Any:
    from trayray.wire.specs import JobConfig

    if runtime_env is not None and not isinstance(runtime_env, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise TypeError(f"runtime_env must be a dict, not {type(runtime_env).__name__}")
    if job_config is not None:
        namespace = namespace or job_config.ray_namespace
        runtime_env = runtime_env or job_config.runtime_env
    if namespace is not None and (not isinstance(namespace, str) or not namespace):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise ValueError(f"namespace must be a non-empty string, not {namespace!r}")
    path = [os.path.abspath(entry or ".") for entry in sys.path]
    env = {key: value for key, value in (runtime_env or {}).items() if value is not None}
    return JobConfig(
        namespace or new_namespace(),
        path,
        os.getcwd(),
        env,
        os.environ.get("OMP_NUM_THREADS", ""),
        as_ray=is_installed(),
        detaches_actors=job_config is not None and job_config.detaches_actors,
        infeasible_is_error=infeasible_is_error(),
        code_search_path=[] if job_config is None else [str(entry) for entry in job_config.code_search_path],
    )


def _context(connection: Connection) -> RayContext:
    welcome = connection.core.welcome
    ip = welcome.address.rpartition(":")[0]
    return RayContext(
        {
            "node_ip_address": ip,
            "redis_address": None,
            "object_store_address": f"{welcome.sockets}/node",
            "raylet_socket_name": f"{welcome.sockets}/node",
            "webui_url": "",
            "session_dir": str(connection.session_dir),
            "metrics_export_port": welcome.metrics_port,
            "gcs_address": welcome.address,
            "address": welcome.address,
            "dashboard_agent_listen_port": 0,
            "node_id": welcome.node_id.hex(),
        }
    )
