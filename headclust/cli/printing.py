"""Results on stdout: tables and numbers for a person, JSON for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

SCORE_TITLES = {"accuracy": "ACC", "nmi": "NMI", "ami": "AMI", "ari": "ARI"}


def print_metrics(metrics: dict[str, Any], *, as_json: bool) -> None:
    """Print the contents of metrics.json, as JSON or as a table."""
    if as_json:
        click.echo(json.dumps(metrics, indent=2))
        return
    parts: dict[str, dict[str, Any]] = {
        "": metrics,
        **{part: metrics[part] for part in ("eval", "probes") if part in metrics},
    }
    rows = [
        [part, name, plain(value)]
        for part, values in parts.items()
        for name, value in values.items()
        if not isinstance(value, dict)
    ]
    table(("", "metric", "value"), rows)


def plain(value: Any) -> str:
    """A value as text for a person."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under column titles; cells are not interpreted as markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from headclust.progress import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # A pipe has no width: lines are not wrapped there, so that they can be searched.
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines()))
