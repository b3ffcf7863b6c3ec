"""``trayray start``: a cluster that no program owns.

The command's options, and with --block its stay in the foreground. Not here: the node itself (``node.main``), starting
its process (``api.session``).
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

if TYPE_CHECKING:
    from types import FrameType

    from trayray.api.session import NodeProcess
    from trayray.node.config import NodeConfig


def _json_object(_context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any]:
    """A JSON object on the command line, empty when nothing is said."""
    if value is None:
        return {}
    try:
        parsed: object = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not valid JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise click.BadParameter(f"{value!r} is no JSON object of {parameter.name}")
    return cast("dict[str, Any]", parsed)


_LATER = "Accepted, without effect: there is no {} yet."


@click.command()
@click.option("--head", is_flag=True, help="Start a new cluster. (Joining one is not available yet.)")
@click.option("--address", metavar="HOST:PORT", help="The cluster to join: not available yet.")
@click.option("--node-ip-address", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=6379, show_default=True, help="The port to listen on; 0: any."
)
@click.option("--num-cpus", type=float, help="Default: those that this process may use.")
@click.option("--num-gpus", type=float, help="Default: 0.")
@click.option(
    "--resources", metavar="JSON", callback=_json_object, help="Custom resources: a JSON object of names and amounts."
)
@click.option("--memory", type=int, help="Bytes that tasks and actors may ask for.")
@click.option("--object-store-memory", type=int, help="Bytes of shared memory for objects.")
@click.option(
    "--object-spilling-directory",
    type=click.Path(file_okay=False),
    help="Where objects go that the store has no room for. Default: the session directory.",
)
@click.option(
    "--system-config",
    metavar="JSON",
    callback=_json_object,
    help="Settings of the node, as `init(_system_config=...)` takes them: a JSON object.",
)
@click.option(
    "--labels", metavar="JSON", callback=_json_object, help="The node's labels: a JSON object of names and texts."
)
@click.option("--node-name", default="", help="Shown instead of the address.")
@click.option("--temp-dir", type=click.Path(file_okay=False), help="Where the session directory is made.")
@click.option(
    "--metrics-export-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="The port of the node's metrics for Prometheus. Default: any free one.",
)
@click.option("--block", is_flag=True, help="Stay in the foreground; the cluster ends with this command.")
@click.option("--include-dashboard", type=bool, expose_value=False, help=_LATER.format("dashboard"))
@click.option("--dashboard-host", expose_value=False, help=_LATER.format("dashboard"))
@click.option("--dashboard-port", type=int, expose_value=False, help=_LATER.format("dashboard"))
@click.option(
    "--client-server-port",
    "--ray-client-server-port",
    type=int,
    expose_value=False,
    help=_LATER.format("client server"),
)
@click.option("--disable-usage-stats", is_flag=True, expose_value=False, help="Without effect: none are collected.")
def start(head: bool, address: str | None, block: bool, **options: Any) -> None:
    """Start a cluster on this machine that programs can share.

    It runs until `trayray stop`, or with --block until this command ends, however that happens.

    \b
      trayray start --head --num-cpus 4 --resources '{"disk": 2}'
      python -c 'import trayray as ray; ray.init(address="auto"); print(ray.cluster_resources())'
    """
    if not head:
        raise click.UsageError(
            f"joining the cluster at {address} is not available yet; `trayray start --head` starts a new one"
            if address
            else "say --head to start a new cluster; joining one with --address is not available yet"
        )
    if address:
        raise click.UsageError("--head starts a new cluster, --address names one to join: give one of them")
    config = _node_config(options, os.getpid() if block else 0)
    if block:
        _run_in_foreground(config)
    else:
        _say_how_to_go_on(_start(config), block)


def _node_config(options: dict[str, Any], owner: int) -> NodeConfig:
    """The node's settings, checked as `init` checks them."""
    import attrs

    from trayray.api.initialize import _Amounts

    labels: dict[str, Any] = options["labels"]
    for name, value in labels.items():
        if not isinstance(value, str):
            raise click.UsageError(f"--labels: {name!r} is {value!r}, but labels are texts")
    spilling: str | None = options["object_spilling_directory"]
    amounts = _Amounts(
        options["num_cpus"],
        options["num_gpus"],
        options["resources"],
        labels,
        options["object_store_memory"],
        {},
    )
    try:
        amounts.check()
        config = amounts.node_config(
            {
                "_temp_dir": options["temp_dir"],
                "_memory": options["memory"],
                "_node_name": options["node_name"],
                "_metrics_export_port": options["metrics_export_port"],
                "_system_config": options["system_config"],
                "object_spilling_directory": spilling and os.path.abspath(spilling),
            }
        )
    except (ValueError, TypeError, ImportError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"--temp-dir: {error}") from error
    return attrs.evolve(
        config, ip=options["node_ip_address"], port=options["port"], driver_pid=owner, started_by_hand=True
    )


def _start(config: NodeConfig) -> NodeProcess:
    from trayray.api.session import start_node
    from trayray.exceptions import RaySystemError
    from trayray.node.session import find_session, root_dir

    address = f"{config.ip}:{config.port}"
    running = find_session(address, root_dir()) if config.port else None
    if running is not None:
        raise click.ClickException(
            f"a cluster runs at {address} already; connect to it with init(address={address!r}), stop it with "
            "`trayray stop`, or start another one with --port 0"
        )
    try:
        return start_node(config)
    except RaySystemError as error:
        raise click.ClickException(str(error.client_exc)) from error


def _say_how_to_go_on(node: NodeProcess, block: bool) -> None:
    from trayray.cli.terminal import open_console

    console = open_console()
    rule = "-" * len("Ray runtime started.")
    console.print(f"Local node address: {node.address}\n\n{rule}\nRay runtime started.\n{rule}\n", style="bold green")
    console.print("Next steps", style="bold")
    console.print(
        "  To connect to it from a program on this machine:\n"
        "    import trayray as ray\n"
        f'    ray.init(address="auto")    # or address="{node.address}"\n'
        "  To run a script that says `import ray`, unchanged:\n"
        f"    TRAYRAY_ADDRESS={node.address} trayray run script.py\n"
        "  To see what it has and does:\n"
        f"    trayray status --address={node.address}\n"
        "  To stop it:\n"
        f"    {'press Ctrl-C, or say ' if block else ''}trayray stop\n"
        f"  Its logs are in {node.session_dir}/logs"
    )


def _run_in_foreground(config: NodeConfig) -> NoReturn:
    """Until the node ends or this command is told to; the exit code says which."""
    from trayray.api.session import end_node
    from trayray.node.process_control import describe_status

    signal.signal(signal.SIGTERM, _interrupt)
    node: NodeProcess | None = None
    try:
        node = _start(config)
        _say_how_to_go_on(node, block=True)
        code = node.process.wait()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if node is not None:  # one that is just starting ends by itself: it watches this process
            end_node(node)
        click.echo("Stopped.")
        raise SystemExit(0) from None
    if code == 0:
        click.echo("The cluster has been stopped.")
        raise SystemExit(0)
    cause = describe_status(-code if code < 0 else code << 8)
    raise click.ClickException(f"the node has died: {cause}; its log is {node.session_dir}/logs/node.log")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
