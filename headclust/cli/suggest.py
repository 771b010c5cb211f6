"""The command `suggest`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headclust.cli.options import DEVICE, PATH, json_option
from headclust.cli.printing import print_json, table

if TYPE_CHECKING:
    from headclust.granularity import Level

_MOST_GROUPS, _NAMES = 12, 3  # of a level that are printed, and typical images of each


@click.command()
@click.argument("features", nargs=-1, type=PATH)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all draws.")
@click.option("--device", help=DEVICE)
@click.option(
    "-o", "--output", type=PATH, metavar="HTML", help="Page to write. [default: FEATURES-suggest.html beside FEATURES]"
)
@json_option("Print one object: the range, its levels with typical images, and the curves.")
def suggest(features: Sequence[Path], seed: int, device: str | None, output: Path | None, as_json: bool) -> None:
    """Suggest how many groups FEATURES have (the newest under ./features/ unless given): a range, never one number.

    A page shows up to three levels in the range with their typical images, and the curves behind it.
    """
    from headclust import verbs
    from headclust.report import headline
    from headclust.verbs.suggest import fit_command

    made = verbs.suggest(features, seed=seed, device=device, output=output)
    suggestion = made.suggestion
    if as_json:
        print_json({"page": made.page, "picture": made.picture, **suggestion.as_json()})
        return
    click.echo(headline(suggestion) + (f": {suggestion.reason}" if suggestion.reason else ""))
    for level in suggestion.levels:
        click.echo(f"\n{level.n_clusters} groups: {fit_command(made.features, level.n_clusters)}")
        table(("images", "typical images"), _rows(level))
    if suggestion.levels:
        click.echo("")
    click.echo(f"Page: {made.page}")
    if made.picture:
        click.echo(f"Curves: {made.picture}")


def _rows(level: Level) -> list[list[str]]:
    rows = [[f"{group.size:,}", ", ".join(group.typical[:_NAMES])] for group in level.groups[:_MOST_GROUPS]]
    if len(level.groups) > _MOST_GROUPS:
        rest = sum(group.size for group in level.groups[_MOST_GROUPS:])
        rows.append([f"{rest:,}", f"in {len(level.groups) - _MOST_GROUPS} smaller groups: see the page"])
    return rows
