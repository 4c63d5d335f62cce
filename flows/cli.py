"""The command line: `byline VERB`.

Every command lies in its own file under `flows/commands/`; this one only puts them together and
turns an error of any room into one message and an exit code (`flows/failures.py`).
Set BYLINE_TRACEBACK=1 to see where a refused request came from.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from flows.commands import COMMANDS
from flows.failures import explain


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="byline", prog_name="byline")
def cli() -> None:
    """Pay the people whose work a language model learned from, and prove every cent."""


for _command in COMMANDS:
    cli.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name; `sys.argv` when None.

    Returns:
        The exit code.
    """
    try:
        outcome = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="byline",
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        # Click's word for Ctrl-C.
        told = explain(KeyboardInterrupt())
        assert told is not None
        click.echo(f"byline: {told[0]}", err=True)
        return told[1]
    except BaseException as error:
        told = explain(error)
        if told is None or os.environ.get("BYLINE_TRACEBACK"):
            raise
        click.echo(f"byline: {told[0]}", err=True)
        return told[1]
    return outcome if isinstance(outcome, int) else 0


def main() -> None:
    """Run the command line as a program: SIGTERM stops it as Ctrl-C does."""
    # Read when torch first loads its threads: idle ones sleep instead of spinning, which on a
    # machine that does anything else makes training several times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(run())


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
