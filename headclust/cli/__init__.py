"""The command line: parse, call a verb, print. Results on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import click

from headclust import __version__
from headclust.cli import (
    add,
    compare,
    demo,
    embed,
    evaluate,
    export,
    fit,
    import_array,
    info,
    models,
    name,
    neighbors,
    predict,
    report,
    review,
    run,
    settings,
    suggest,
    verify,
)
from headclust.cli.options import quiet_option
from headclust.cli.streams import discard_stdout, prepare_stdout
from headclust.errors import ConflictError, HeadclustError, LostProcessError, SettingError, is_out_of_memory, one_line
from headclust.progress import alert, be_quiet, last_notes
from headclust.torchrun import launched, prints_error

# Codes of a file without a name that cannot be written; errors of the network have others.
_STDOUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_LEFT_OUT = 3  # exit code of a finished command that left out many images, which its last line says
_OVER_PROCESSES = ("fit", "embed", "neighbors")  # commands that several processes of torchrun share
_COMMANDS = (
    demo.demo,
    run.run,
    models.models,
    embed.embed,
    neighbors.neighbors,
    suggest.suggest,
    fit.fit,
    settings.settings,
    compare.compare,
    add.add,
    predict.predict,
    evaluate.evaluate,
    name.name,
    report.report,
    review.review,
    export.export,
    import_array.import_array,
    info.info,
    verify.verify,
)


def main() -> None:
    """Run the `headclust` command: exit code 2 and one line for what a user can fix, 130 for Ctrl-C."""
    prepare_stdout()
    # Threads of GNU OpenMP wait by spinning, 300,000 times by default: fits on two busy cores take twice as long. With
    # none at all, on two idle cores, they take 1.2 times as long (benchmarks/waiting.py). It has to be set before torch
    # is loaded; what the user has set is not changed.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        _check_folder()
        with last_notes() as lines:
            code = cli.main(prog_name="headclust", standalone_mode=False)
            code = code or (_LEFT_OUT if lines else 0)
    except (HeadclustError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        _tell(f"headclust: error: {' '.join(text.split())}", is_cause=not isinstance(error, LostProcessError))
        code = 2
    except (KeyboardInterrupt, click.Abort):
        _interrupted()
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        discard_stdout()
        code = 0
    except OSError as error:  # not handled by a verb: stdout on a full disk, a name too long for the disk
        discard_stdout()
        place = error.filename or ("stdout" if error.errno in _STDOUT else "")
        _tell(f"headclust: error: {one_line(error)}{f': {place}' if place else ''}")
        code = 2
    except Exception as error:
        if is_out_of_memory(error):
            lower = "lower the heads, their dimensions or the batch size"
            if isinstance(error, ImportError):
                lower = "the libraries cannot be loaded; free some, or raise the limit of this process (ulimit -v)"
            _tell(f"headclust: error: not enough memory: {lower}.")
            sys.exit(2)
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        _interrupted()  # Ctrl-C during the import of a compiled module raises an ImportError instead
    sys.exit(code or 0)


def _check_folder() -> None:
    """Raise if the current folder was removed: libraries end the process with messages of their own then."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() is the same call
    except OSError:
        raise ConflictError("the current folder no longer exists: change to another one (cd).") from None


def _tell(line: str, *, is_cause: bool = True) -> None:
    """Print the line that ends the command; of several processes of torchrun, only one does."""
    if prints_error(line, is_cause=is_cause):
        alert(line)


def _interrupted() -> NoReturn:
    _tell("headclust: interrupted.")
    # After Ctrl-C within exec, which dataclasses use, sys.exit would end with the signal instead of the exit code.
    os._exit(130)


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
    if launched().size > 1 and context.invoked_subcommand not in _OVER_PROCESSES:
        name = context.invoked_subcommand or "headclust"
        raise SettingError(f"{name} runs in one process: start it without torchrun.")
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in _COMMANDS:
    cli.add_command(quiet_option(_command))
