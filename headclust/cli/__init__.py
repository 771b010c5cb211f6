"""The command line: parse, call a verb, print. Results on stdout, everything else on stderr."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import NoReturn

import click

from headclust import __version__
from headclust.cli import (
    compare,
    demo,
    embed,
    evaluate,
    export,
    fit,
    import_array,
    info,
    models,
    predict,
    report,
    run,
    settings,
    verify,
)
from headclust.cli.options import quiet_option
from headclust.errors import HeadclustError
from headclust.progress import be_quiet, printable

# Messages of torch: on the CPU, on an accelerator, and for sizes beyond any memory.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Storage size calculation overflowed")
_COMMANDS = (
    demo.demo,
    run.run,
    models.models,
    embed.embed,
    fit.fit,
    settings.settings,
    compare.compare,
    predict.predict,
    evaluate.evaluate,
    report.report,
    export.export,
    import_array.import_array,
    info.info,
    verify.verify,
)


def main() -> None:
    """Run the `headclust` command: exit code 2 and one line for what a user can fix, 130 for Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Paths are printed as their bytes; an encoding that cannot print a character gets its number.
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    # Threads that wait by spinning delay every barrier when other processes need the core: training became many times
    # slower on two busy cores. It has to be set before torch is loaded; a value set by the user is not changed.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        code = cli.main(prog_name="headclust", standalone_mode=False)
    except (HeadclustError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"headclust: error: {printable(' '.join(text.split()))}", err=True)
        code = 2
    except (KeyboardInterrupt, click.Abort):
        _interrupted()
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        _forget_stdout()
        code = 0
    except OSError as error:  # not handled by a verb: stdout on a full disk, a name too long for the disk
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
        _interrupted()  # Ctrl-C during the import of a compiled module raises an ImportError instead
    sys.exit(code or 0)


def _interrupted() -> NoReturn:
    click.echo("headclust: interrupted.", err=True)
    # After Ctrl-C within exec, which dataclasses use, sys.exit would end with the signal instead of the exit code.
    os._exit(130)


def _forget_stdout() -> None:
    """Discard output that stdout could not take; flushing it at exit would raise again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, "-V", "--version", prog_name="headclust")
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no notes; results and errors stay.")
@click.pass_context
def cli(context: click.Context, quiet: bool) -> None:
    """Sort images into meaningful groups without labels.

    Embed images once with a frozen backbone, then fit clustering heads on the features as often as you like.
    """
    be_quiet(quiet)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in _COMMANDS:
    cli.add_command(quiet_option(_command))
