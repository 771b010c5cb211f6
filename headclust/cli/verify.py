"""The command `verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headclust.cli.options import PATH


@click.command()
@click.argument("path", type=PATH, metavar="FILE|RUN")
def verify(path: Path) -> None:
    """Check a feature file or a run folder against its checksums; exit code 1 if something has changed."""
    from headclust import verbs

    problems = verbs.verify(path)
    click.echo("\n".join(problems) or f"{path}: holds.")
    sys.exit(1 if problems else 0)
