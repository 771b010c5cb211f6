"""The command `verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headclust.cli.options import PATH, json_option
from headclust.cli.printing import print_json


@click.command()
@click.argument("path", type=PATH, metavar="FILE|RUN")
@json_option("Print one object: the path, and a list of problems.")
def verify(path: Path, as_json: bool) -> None:
    """Check a feature file or a run folder against its checksums; exit code 1 if something has changed."""
    from headclust import verbs

    problems = verbs.verify(path)
    if as_json:
        print_json({"path": path, "problems": problems})
    else:
        click.echo("\n".join(problems) or f"{path}: holds.")
    sys.exit(1 if problems else 0)
