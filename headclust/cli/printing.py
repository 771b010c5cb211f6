"""Results on stdout: tables and numbers for a person, JSON for a program."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headclust.progress import note, percent, printable

SCORE_TITLES = {"accuracy": "ACC", "nmi": "NMI", "ami": "AMI", "ari": "ARI"}
# Numbers in [0, 1], and scores up to 1: in percent for a person, as fractions in JSON and CSV.
_SHARES = {*SCORE_TITLES, "accuracy_majority", "largest_share", "entropy", "agreement"}
_SHARES |= {"knn_accuracy", "linear_accuracy", "neighbor_purity", "neighbor_recall"}
_GAP, _LEAST_WRAPPED, _MOST_ITEMS = 2, 24, 12


def print_json(value: Any) -> None:
    """Print one JSON value; paths are text, and numbers that JSON does not have are null."""
    click.echo(json.dumps(_jsonable(value), indent=2, allow_nan=False))


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def print_path(path: Path, *, as_json: bool) -> None:
    """Print the path of what a command has made, as JSON or as a line."""
    if as_json:
        print_json({"path": path})
    else:
        click.echo(path)


def print_features(path: Path, *, as_json: bool) -> None:
    """Print the path of a feature file; as JSON, with its contents as `headclust info --json` gives them."""
    from headclust import verbs

    if as_json:
        print_json({"path": path, **verbs.info(path)})
    else:
        click.echo(path)


def print_metrics(metrics: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the contents of metrics.json, as JSON or as a table."""
    if as_json:
        print_json(metrics)
    else:
        table(("metric", "value"), flat(metrics))


def flat(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Rows of name and value; what is inside another object has the name `OUTER.NAME`."""
    rows = []
    for name, value in values.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = value[0] if len(value) == 1 else {str(number): item for number, item in enumerate(value, start=1)}
        if isinstance(value, dict) and value:
            rows += flat(value, f"{prefix}{name}.")
        else:
            rows.append([prefix + name, number(name, value)])
    return rows


def number(name: str, value: Any) -> str:
    """A value as text for a person, by its name: shares and scores in percent, times in seconds."""
    if name in _SHARES and isinstance(value, int | float):
        return percent(value)
    if name == "seconds" and isinstance(value, int | float):
        return f"{value:.1f} s"
    return plain(value)


def plain(value: Any) -> str:
    """A value as text for a person."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        shown = ", ".join(map(plain, value[:_MOST_ITEMS]))
        return f"{shown}, ... ({len(value):,} in all)" if len(value) > _MOST_ITEMS else shown or "-"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = (), one_line: bool = False
) -> None:
    """Print rows of text under column titles.

    On a terminal the table has its width: columns named in `spare` are left out, in that order, and the last column is
    wrapped, or with `one_line` cut. A pipe has no width: there a row is a line, so that lines can be searched.
    """
    lines = [[printable(cell) for cell in line] for line in (columns, *rows)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if room is not None:
        lines, left_out = _narrowed(lines, room, spare)
        if left_out:
            note(f"no room for the columns {', '.join(left_out)}: widen the window, or use --json.")
    widths = _widths(lines)
    for position, line in enumerate(lines):
        for text in _wrapped(line, widths, room, one_line=one_line):
            click.echo(click.style(text, bold=True) if position == 0 and room else text)


def _narrowed(lines: list[list[str]], room: int, spare: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """The lines without the columns that have no room, and the titles of these columns."""
    left_out = []
    for title in spare:
        if title not in lines[0] or sum(_widths(lines)) + _GAP * (len(lines[0]) - 1) <= room:
            continue
        column = lines[0].index(title)
        lines = [[cell for position, cell in enumerate(line) if position != column] for line in lines]
        left_out.append(title)
    return lines, left_out


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(map(cell_len, column)) for column in zip(*lines, strict=True)]


def _wrapped(line: Sequence[str], widths: Sequence[int], room: int | None, *, one_line: bool) -> list[str]:
    """A row as lines: cells padded to the widths of their columns, the last one wrapped to the room that is left."""
    from rich.cells import cell_len

    *first, last = line
    gap = " " * _GAP
    start = "".join(cell + " " * (width - cell_len(cell)) + gap for cell, width in zip(first, widths, strict=False))
    indent = sum(widths[:-1]) + _GAP * len(first)
    left = max(_LEAST_WRAPPED, room - indent) if room is not None else None
    if left is None or cell_len(last) <= left:
        return [(start + last).rstrip()]
    if one_line:
        return [start + textwrap.shorten(last, left, placeholder=" ...")]
    parts = textwrap.wrap(last, left, break_on_hyphens=False) or [""]
    return [start + parts[0], *(" " * indent + part for part in parts[1:])]
