"""Options that several commands share."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from headclust.choices import Augmentation, Dtype, Labels, OnError, Precision
from headclust.embedding import EmbedSettings
from headclust.embedding.settings import MOST_PIXELS
from headclust.progress import be_quiet

PATH = click.Path(path_type=Path)
DEVICE = "cpu, cuda, cuda:N or mps. [default: the best available]"
_Command = TypeVar("_Command", bound=Callable[..., Any])

max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1, MOST_PIXELS),
    metavar="N",
    help="Largest image to read, in pixels. [default: 89 million, of a JPEG 268 million]",
)

# The options of EmbedSettings, in the order of `headclust embed --help`; a test compares names, defaults and choices.
_EMBED_OPTIONS = (
    click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=0,
        show_default=True,
        help="Seed of the subset and of the views.",
    ),
    click.option(
        "--views",
        "n_views",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        metavar="N",
        help="Augmented views per image, besides the image.",
    ),
    click.option(
        "--augmentation",
        type=click.Choice(get_args(Augmentation)),
        default="standard",
        show_default=True,
        help="Of the views: crop, flip, color jitter, gray; or SCAN's strong set.",
    ),
    click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Images per batch."),
    click.option(
        "--dtype", type=click.Choice(get_args(Dtype)), default="float32", show_default=True, help="As stored."
    ),
    click.option(
        "--precision",
        type=click.Choice(get_args(Precision)),
        default="auto",
        show_default=True,
        help="Of the computation; auto is float32 on the CPU, float16 autocast on CUDA and MPS.",
    ),
    click.option("--device", help=DEVICE),
    click.option(
        "--on-error",
        type=click.Choice(get_args(OnError)),
        default="fail",
        show_default=True,
        help="At an unreadable image.",
    ),
    click.option(
        "--max-bad",
        type=click.IntRange(0),
        metavar="N",
        help="With skip: stop at more unreadable images. [default: no limit]",
    ),
    click.option(
        "--timeout",
        type=float,
        default=60.0,
        show_default=True,
        metavar="S",
        help="Seconds that reading an image may take.",
    ),
    max_pixels_option,
    click.option("--overwrite", is_flag=True, help="Replace a file made with other settings."),
)


def embed_settings(command: _Command) -> _Command:
    """Add the options of EmbedSettings to a command, which gets them as one argument, `settings`."""

    @functools.wraps(command)
    def with_settings(**options: Any) -> Any:
        settings = EmbedSettings(**{field.name: options.pop(field.name) for field in fields(EmbedSettings)})
        return command(settings=settings, **options)

    for option in reversed(_EMBED_OPTIONS):
        option(with_settings)
    return with_settings  # type: ignore[return-value]  # click calls it with the options as keywords


EXCLUDE = click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out files and folders of this name ('*.gif', private) or path (2021/raw/*); may be repeated.",
)


LEVEL = click.option(
    "--level",
    type=click.IntRange(1),
    metavar="N",
    help="Join the clusters to N groups. [default: the finest level]",
)


def labels_option(default: Labels) -> Callable[[_Command], _Command]:
    """The option --labels."""
    return click.option(
        "--labels",
        type=click.Choice(get_args(Labels)),
        default=default,
        show_default=True,
        help="What becomes labels, for scores only: those of a data set, subfolders too, or nothing.",
    )


def quiet_option(command: click.Command) -> click.Command:
    """The command with the option --quiet, which may also stand before the command's name."""

    def silence(context: click.Context, parameter: click.Parameter, quiet: bool) -> None:
        if quiet:
            be_quiet()

    help_text = "Print no progress and no notes; results and errors stay."
    option = click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=silence, help=help_text)
    with_option = copy.copy(command)
    with_option.params = [*command.params, option]
    return with_option


def json_option(help_text: str = "Print one object.") -> Callable[[_Command], _Command]:
    """The option --json, which the command gets as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)
