"""The ``trayray`` command: its commands, its help, and what becomes of their outcome."""

import sys

import click

from trayray.cli.debug import debug
from trayray.cli.memory import memory
from trayray.cli.run import Program, run
from trayray.cli.start import start
from trayray.cli.status import status
from trayray.cli.stop import stop
from trayray.cli.tree import tree
from trayray.cli.typings import typings
from trayray.cli.why import why
from trayray.version import RAY_VERSION, __version__


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`trayray COMMAND --help` tells more about one.",
)
@click.version_option(__version__, message=f"trayray %(version)s (the API of Ray {RAY_VERSION})")
def trayray() -> None:
    """Ray Core's tasks, actors and objects, on structured concurrency.

    A program needs no command: `import trayray as ray` and `ray.init()` start a cluster that ends with the program.
    The commands are for the rest.

    \b
    Run a script that says `import ray`, unchanged:
      trayray run script.py --its-own-options
    Share one cluster between programs:
      trayray start --head --num-cpus 4
      python first.py &  python second.py      # both say init(address="auto")
      trayray status
      trayray tree --live                      # its jobs, supervisors and actors
      trayray stop
    """


trayray.add_command(debug)
trayray.add_command(memory)
trayray.add_command(run)
trayray.add_command(start)
trayray.add_command(status)
trayray.add_command(stop)
trayray.add_command(tree)
trayray.add_command(typings)
trayray.add_command(why)


def main() -> None:
    """Be the command: does not return unless the program of `trayray run` does."""
    try:
        outcome = trayray.main(prog_name="trayray", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Aborted!", err=True)
        sys.exit(130)
    # Outside of click, which would take the program's Ctrl-C and broken pipes for its own.
    if isinstance(outcome, Program):
        outcome.run()
    elif isinstance(outcome, int):
        sys.exit(outcome)
