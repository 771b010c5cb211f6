"""The command `models`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from headclust.cli.completion import complete_model
from headclust.cli.options import json_option
from headclust.cli.printing import plain, print_json, table
from headclust.progress import note

_NOTE = "Besides these: any timm:NAME or open_clip:ARCH/PRETRAINED, as those libraries write them."
_COLUMNS = {
    "name": "name",
    "dim": "dim",
    "input_size": "px",
    "parameters": "parameters",
    "text_supervised": "text",
    "imagenet_labels": "labels",
    "weights_at_hand": "at hand",
    "license": "license",
    "feature_point": "feature point",
}
_SPARE = ("feature point", "license", "px", "labels", "text", "at hand")


@click.command()
@click.argument("pattern", nargs=-1, shell_complete=complete_model)
@click.option("--at-hand", is_flag=True, help="Only those whose weights are on this machine.")
@click.option("--text/--no-text", default=None, help="Only those trained with text, or without.")
@click.option(
    "--labels/--no-labels", default=None, help="Only those trained with ImageNet's labels, or without any of them."
)
@click.option(
    "--max-parameters", type=click.IntRange(1), metavar="N", help="Only those of at most N parameters (no classifier)."
)
@json_option("Print a list of objects.")
def models(
    pattern: Sequence[str],
    at_hand: bool,
    text: bool | None,
    labels: bool | None,
    max_parameters: int | None,
    as_json: bool,
) -> None:
    """List the backbones with every word of PATTERN in their name, such as dino vitb or '*_vits1?'; without it, all."""
    from headclust import verbs

    rows = verbs.models(
        " ".join(pattern), at_hand=at_hand or None, text=text, labels=labels, max_parameters=max_parameters
    )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["parameters"] = f"{row['parameters'] / 1e6:.1f} M"
    table(tuple(_COLUMNS.values()), [[plain(row[name]) for name in _COLUMNS] for row in rows], spare=_SPARE)
    note(f"Where the weights are from: --json. {_NOTE}")
