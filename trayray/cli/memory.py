"""``trayray memory``: which references keep which objects, and what the object store holds.

Not here: the question (``api.node_control``), the layout (``cli.memory_layout``).
"""

from __future__ import annotations

import click

from trayray.core.memory_table import GroupBy, SortBy


@click.command()
@click.option("--address", metavar="HOST:PORT", help="Default: TRAYRAY_ADDRESS, else the latest cluster of this user.")
@click.option("--redis_password", hidden=True, help="Ignored: there is none.")
@click.option(
    "--group-by",
    type=click.Choice([by.value for by in GroupBy], case_sensitive=False),
    default=GroupBy.NODE_ADDRESS.value,
    show_default=True,
    help="What the references of one group have in common.",
)
@click.option(
    "--sort-by",
    type=click.Choice([by.value for by in SortBy], case_sensitive=False),
    default=SortBy.OBJECT_SIZE.value,
    show_default=True,
    help="Sort references of a group in ascending order.",
)
@click.option(
    "--units",
    type=click.Choice(["B", "KB", "MB", "GB"], case_sensitive=False),
    default="B",
    show_default=True,
    help="Unit of sizes.",
)
@click.option(
    "--format/--no-format",
    "formatted",
    default=None,
    help="A table, or one line a reference. Default: a table where the terminal has 137 columns.",
)
@click.option("--stats-only", "--stats", is_flag=True, help="Show the object store only.")
@click.option(
    "--num-entries", "--n", "-n", "most", type=click.IntRange(min=1), help="So many references of each group."
)
def memory(
    address: str | None,
    redis_password: str | None,
    group_by: str,
    sort_by: str,
    units: str,
    formatted: bool | None,
    stats_only: bool,
    most: int | None,
) -> None:
    """Show the references that keep objects in the memory of a cluster on this machine, and its object store.

    docs/memory.md tells what the columns mean.
    """
    import datetime as dt
    import shutil

    from trayray.api.node_control import memory_report
    from trayray.cli.memory_layout import TABLE_WIDTH, report_lines, store_lines
    from trayray.cli.status import find
    from trayray.cli.terminal import open_console
    from trayray.exceptions import RayError

    session = find(address)
    try:
        found = memory_report(session)
    except FileNotFoundError:
        raise click.ClickException("the cluster is just ending; `trayray start --head` starts another") from None
    except (OSError, RayError) as error:
        raise click.ClickException(f"the cluster does not answer: {error}\nIts logs are in {session.logs}.") from error
    if formatted is None:
        formatted = shutil.get_terminal_size().columns >= TABLE_WIDTH
    lines = report_lines(
        found,
        str(dt.datetime.now()),  # noqa: DTZ005 -- shown to a person, in their own time
        group_by=GroupBy(group_by.upper()),
        sort_by=SortBy(sort_by.upper()),
        unit=units.upper(),
        formatted=formatted,
        most=most,
    )
    console = open_console()
    for line in store_lines(found.store) if stats_only else lines:
        console.print(line, style="bold" if line.startswith(("===", "---")) else None)
