"""The command `verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headclust.cli.options import PATH


@click.command()
@click.argument("file", type=PATH)
def verify(file: Path) -> None:
    """Check a feature file against its checksum; exit code 1 if they differ or it is damaged."""
    from headclust import verbs

    problems = verbs.verify(file)
    click.echo("\n".join(problems) or f"{file}: holds.")
    sys.exit(1 if problems else 0)
