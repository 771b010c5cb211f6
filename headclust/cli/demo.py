"""The command `demo`."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import click

from headclust.cli.options import PATH, json_option
from headclust.cli.printing import SCORE_TITLES, number, print_json, table


@click.command()
@click.option("-o", "--output", type=PATH, default=Path("headclust-demo"), show_default=True, help="Folder to make.")
@json_option("Print a list of objects: method, rows, metrics.")
def demo(output: Path, as_json: bool) -> None:
    """Run every step on bundled images, offline: embed, fit, compare with k-means, report."""
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
    click.echo(f"Features are in {output / 'features'}, runs in {output / 'runs'}.")
    click.echo(f"To see the groups, open this page in a browser:\n  {output / 'report.html'}")
    click.echo("Next, group a folder of your own:")
    click.echo(f"  {own_command(sys.argv[0])} run photos")


def own_command(program: str) -> str:
    """The words that start this program again in the same shell: `headclust` only if the shell finds this one.

    Args:
        program: The program as it was started, `sys.argv[0]`.
    """
    if Path(program).name == "__main__.py":
        return shlex.join([sys.executable, "-m", "headclust"])
    on_path = shutil.which("headclust")
    is_same = on_path is not None and Path(program).exists() and Path(on_path).samefile(program)
    return "headclust" if is_same else shlex.quote(program)
