"""The command line: parse, call a verb, print. Results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from headclust import __version__
from headclust.cli import export, features, report, run, runs
from headclust.errors import HeadclustError
from headclust.progress import printable

# How torch says it: on the CPU, on an accelerator, and for sizes beyond any memory.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Storage size calculation overflowed")
_COMMANDS = (
    runs.demo,
    run.run,
    features.models,
    features.embed,
    runs.fit,
    runs.settings,
    runs.compare,
    runs.predict,
    runs.evaluate,
    report.report,
    export.export,
    features.import_,
    runs.info,
    features.verify,
)


def main() -> None:
    """The `headclust` command: exit code 2 and one line for what a user can mend, 130 for Ctrl-C."""
    if sys.stdout is not None and sys.stdout.encoding == "utf-8":
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # paths come out as their bytes
    # Threads that wait by spinning make every barrier wait for whoever else wants the core: on
    # two busy cores training slowed to a crawl. Has to be said before torch is loaded; what the user has set stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        code = cli.main(prog_name="headclust", standalone_mode=False)
    except (HeadclustError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"headclust: error: {printable(' '.join(text.split()))}", err=True)
        code = 2
    except (KeyboardInterrupt, click.Abort):
        _interrupted()
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        _forget_stdout()
        code = 0
    except OSError as error:  # what no verb foresees: stdout on a full disk, a name too long for the disk
        _forget_stdout()
        click.echo(f"headclust: error: {error.strerror or error}: {error.filename or 'stdout'}", err=True)
        code = 2
    except Exception as error:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY):
            lower = "lower the heads, their dimensions or the batch size"
            click.echo(f"headclust: error: not enough memory: {lower}.", err=True)
            sys.exit(2)
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        _interrupted()  # compiled modules whose import Ctrl-C cuts short tell it in an ImportError of their own
    sys.exit(code or 0)


def _interrupted() -> NoReturn:
    click.echo("headclust: interrupted.", err=True)
    # Where Ctrl-C struck while Python was running text as code, as dataclasses do, sys.exit would end in the signal.
    os._exit(130)


def _forget_stdout() -> None:
    """Drops what stdout could not take, which Python would stumble over again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="headclust")
@click.pass_context
def cli(context: click.Context) -> None:
    """Sorts images into meaningful groups without labels.

    Embed images once with a frozen backbone, then fit clustering heads on the features as often as you like.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in _COMMANDS:
    cli.add_command(_command)
