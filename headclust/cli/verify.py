"""The command `verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headclust.cli.options import PATH, json_option
from headclust.cli.printing import print_json


@click.command()
@click.argument("file", type=PATH)
@json_option("Print one object: the path, and a list of problems.")
def verify(file: Path, as_json: bool) -> None:
    """Check a feature file against its checksum; exit code 1 if they differ or it is damaged."""
    from headclust import verbs

    problems = verbs.verify(file)
    if as_json:
        print_json({"path": file, "problems": problems})
    else:
        click.echo("\n".join(problems) or f"{file}: holds.")
    sys.exit(1 if problems else 0)
