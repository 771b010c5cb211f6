"""The command `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from headclust.cli.options import PATH, json_option
from headclust.cli.printing import SCORE_TITLES, number, print_json, table


@click.command()
@click.option("-o", "--output", type=PATH, default=Path("headclust-demo"), show_default=True, help="Folder to make.")
@json_option("Print a list of objects: method, rows, metrics.")
def demo(output: Path, as_json: bool) -> None:
    """Run every step on bundled images, offline: embed, fit, compare with k-means."""
    from headclust import verbs

    rows = verbs.demo(output)
    if as_json:
        print_json([{"method": method, "rows": split, "metrics": metrics} for method, split, metrics in rows])
        return
    table(
        ["method", "rows", *SCORE_TITLES.values(), "time"],
        [
            [method, split, *(number(name, metrics[name]) for name in (*SCORE_TITLES, "seconds"))]
            for method, split, metrics in rows
        ],
    )
    click.echo(f"Features are in {output / 'features'}, runs in {output / 'runs'}; which image is in which cluster:")
    click.echo(f"  {output / 'runs' / 'consensus' / 'assignments.csv'}")
