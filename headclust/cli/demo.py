"""The command `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from headclust.cli.options import PATH
from headclust.cli.printing import SCORE_TITLES, percent, table


@click.command()
@click.option("-o", "--output", type=PATH, default=Path("headclust-demo"), show_default=True, help="Folder to make.")
def demo(output: Path) -> None:
    """Run every step on bundled images, offline: embed, fit, compare with k-means."""
    from headclust import verbs

    rows = verbs.demo(output)
    table(
        ["method", "rows", *SCORE_TITLES.values(), "seconds"],
        [
            [method, split, *(percent(metrics[name]) for name in SCORE_TITLES), f"{metrics['seconds']:.1f}"]
            for method, split, metrics in rows
        ],
    )
    click.echo(f"Features are in {output / 'features'}, runs in {output / 'runs'}; which image is in which cluster:")
    click.echo(f"  {output / 'runs' / 'consensus' / 'assignments.csv'}")
