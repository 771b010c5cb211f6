"""The command `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, Literal

import click

from headclust.cli import formats
from headclust.cli.completion import complete_methods, complete_presets
from headclust.cli.options import DEVICE, PATH, json_option
from headclust.cli.printing import SCORE_TITLES, print_json, table
from headclust.errors import SettingError
from headclust.progress import note, percent

_LABEL_FREE = {"largest_share": "largest", "entropy": "entropy", "agreement": "agreement"}
_GAIN, _CLUSTERS, _SECONDS = "ACC over k-means", "clusters", "seconds"
_PAGE = 80  # columns of text, up to which the agreement is a matrix
# Columns that a narrow terminal leaves out, the least important first.
_SPARE = (_SECONDS, "AMI", "ARI", _CLUSTERS, "NMI", "seeds", _GAIN)


@click.command()
@click.argument("features", nargs=-1, type=PATH)
@click.option(
    "-m",
    "--methods",
    required=True,
    multiple=True,
    metavar="A,B,C",
    help="Methods to fit, separated by commas; may be repeated.",
    shell_complete=complete_methods,
)
@click.option(
    "--preset",
    default="ours",
    show_default=True,
    help="ours, or authors for the authors' own settings.",
    shell_complete=complete_presets,
)
@click.option(
    "-k", "--clusters", type=click.IntRange(1), metavar="K", help="Number of clusters. [default: the labeled classes]"
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Fits per method.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the first fit.")
@click.option("--eval", "evaluate_on", multiple=True, type=PATH, metavar="FILE", help="Score on these features too.")
@click.option("--device", help=DEVICE)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "markdown", "csv", "latex"]),
    default="text",
    show_default=True,
    help="Of the table; csv has fractions, with every digit, and one line per method.",
)
@json_option()
def compare(
    features: Sequence[Path],
    methods: Sequence[str],
    preset: str,
    clusters: int | None,
    seeds: int,
    seed: int,
    evaluate_on: Sequence[Path],
    device: str | None,
    layout: Literal["text", "markdown", "csv", "latex"],
    as_json: bool,
) -> None:
    """Fit several methods to FEATURES (the newest under ./features/ unless given) and show them side by side."""
    from headclust import verbs

    if as_json and layout != "text":
        raise SettingError(f"--json and --format {layout}: give only one of them.")
    comparison = verbs.compare(
        features,
        methods=[name.strip() for name in ",".join(methods).split(",") if name.strip()],
        preset=preset,
        clusters=clusters,
        seeds=seeds,
        seed=seed,
        evaluate_on=evaluate_on,
        device=device,
    )
    if as_json:
        print_json(comparison)
    elif layout == "csv":
        click.echo(formats.in_csv(*_numbers(comparison)))
    elif layout == "text":
        table(*_texts(comparison), spare=_SPARE)
        _print_agreement(comparison)
    else:
        click.echo({"markdown": formats.in_markdown, "latex": formats.in_latex}[layout](*_texts(comparison)))


def _parts(comparison: Mapping[str, Any]) -> Iterator[tuple[str, str, int, Mapping[str, Any]]]:
    """Method, rows ("fitted", or "eval" where other samples were scored too), number of fits, their numbers."""
    for entry in comparison["methods"]:
        n_fits = sum("error" not in fit for fit in entry["fits"])
        yield entry["method"], "fitted", n_fits, entry
        if "eval" in entry:
            yield entry["method"], "eval", n_fits, entry["eval"]


def _texts(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows for a person; a column in which all rows would be equal is left out."""
    parts = list(_parts(comparison))
    has_labels = any("accuracy" in numbers["mean"] for *_, numbers in parts)
    columns = SCORE_TITLES if has_labels else _LABEL_FREE
    n_seeds, n_clusters = len(comparison["seeds"]), comparison["n_clusters"]
    optional = {
        "rows": any(rows == "eval" for _, rows, _, _ in parts),
        "seeds": n_seeds > 1,
        _GAIN: any("accuracy" in numbers["gain"] for *_, numbers in parts),
    }
    rows = []
    for method, part, n_fits, numbers in parts:
        used = numbers["mean"].get("clusters_used")
        seconds = numbers["mean"].get("seconds")
        cells = {
            "method": method,
            "rows": part,
            "seeds": str(n_fits) if n_fits == n_seeds else f"{n_fits} of {n_seeds}",
            **{title: _spread(numbers, name) for name, title in columns.items()},
            _GAIN: _gain(numbers["gain"].get("accuracy")),
            _CLUSTERS: "-" if used is None else f"{used:.4g} of {n_clusters}",
            _SECONDS: "-" if seconds is None else f"{seconds:.1f}",
        }
        rows.append({title: cell for title, cell in cells.items() if optional.get(title, True)})
    return list(rows[0]), [list(row.values()) for row in rows]


def _numbers(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Titles and rows for a program: means and standard deviations over seeds, with the names of metrics.json."""
    parts = list(_parts(comparison))
    names = list(dict.fromkeys(name for *_, numbers in parts for name in numbers["mean"]))
    titles = ["method", "rows", "n_fits", *(f"{name}{end}" for name in names for end in ("", "_sd"))]
    rows = [
        [method, part, n_fits, *(numbers[kind].get(name) for name in names for kind in ("mean", "sd"))]
        for method, part, n_fits, numbers in parts
    ]
    return titles, rows


def _print_agreement(comparison: Mapping[str, Any]) -> None:
    """Explain the numbers of the table, and print the agreement of the methods, if there is any."""
    n_seeds, agreement = len(comparison["seeds"]), comparison["agreement"]
    if n_seeds > 1:
        note("Mean ± standard deviation over seeds.")
    if any(entry["gain"].get("accuracy") for entry in comparison["methods"]):
        note("Gains are paired by seed, in points; in brackets 95 % by Student's t, which needs two seeds.")
    if len(agreement) > 1 or n_seeds > 1:
        click.echo("\nAgreement of the clusters, without labels (ARI):")
        if sum(len(name) + 2 for name in ("", max(agreement, key=len), *agreement)) <= _PAGE:
            table(["", *agreement], [[a, *(_share(agreement[a][b]) for b in agreement)] for a in agreement])
        else:
            pairs = [pair for pair in combinations_with_replacement(agreement, 2) if n_seeds > 1 or pair[0] != pair[1]]
            table(["method", "and", "ARI"], [[a, b, _share(agreement[a][b])] for a, b in pairs])


def _spread(numbers: Mapping[str, Any], name: str) -> str:
    """Mean and standard deviation over seeds of a share or score, in percent."""
    mean, sd = numbers["mean"].get(name), numbers["sd"].get(name)
    if mean is None or sd is None:
        return _share(mean)
    return f"{100 * mean:.1f} ± {percent(sd)}"


def _gain(gain: Mapping[str, float | None] | None) -> str:
    """A gain in points with its interval."""
    if gain is None or gain["mean"] is None:
        return "-"
    interval = "" if gain["low"] is None else f" [{100 * gain['low']:+.1f}, {100 * (gain['high'] or 0):+.1f}]"
    return f"{100 * gain['mean']:+.1f}{interval}"


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)
