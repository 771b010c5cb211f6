"""The command `compare`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headclust.cli.options import DEVICE, PATH, json_option
from headclust.cli.printing import SCORE_TITLES, percent, table

_LABEL_FREE = {"largest_share": "largest", "entropy": "entropy", "agreement": "agreement"}
_WIDTH = {"seconds": "{:.1f}", "clusters_used": "{:.4g}"}


@click.command()
@click.argument("features", nargs=-1, type=PATH)
@click.option("--methods", required=True, metavar="A,B,C", help="Methods to fit, separated by commas.")
@click.option("--preset", default="ours", show_default=True, help="ours, or authors for the authors' own settings.")
@click.option(
    "--clusters", type=click.IntRange(1), metavar="K", help="Number of clusters. [default: the labeled classes]"
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Fits per method.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the first fit.")
@click.option("--eval", "evaluate_on", multiple=True, type=PATH, metavar="FILE", help="Score on these features too.")
@click.option("--device", help=DEVICE)
@json_option()
def compare(
    features: Sequence[Path],
    methods: str,
    preset: str,
    clusters: int | None,
    seeds: int,
    seed: int,
    evaluate_on: Sequence[Path],
    device: str | None,
    as_json: bool,
) -> None:
    """Fit several methods to FEATURES (the newest under ./features/ unless given) and show them side by side."""
    from headclust import verbs

    comparison = verbs.compare(
        features,
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        preset=preset,
        clusters=clusters,
        seeds=seeds,
        seed=seed,
        evaluate_on=evaluate_on,
        device=device,
    )
    if as_json:
        click.echo(json.dumps(comparison, indent=2))
    else:
        print_comparison(comparison)


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Print one row per method (two where other samples were scored too), then the agreement of the methods."""
    parts = [
        (entry["method"], rows, sum("error" not in fit for fit in entry["fits"]), numbers)
        for entry in comparison["methods"]
        for rows, numbers in (("fitted", entry), ("eval", entry.get("eval")))
        if numbers is not None
    ]
    has_labels = any("accuracy" in numbers["mean"] for *_, numbers in parts)
    has_gains = any("accuracy" in numbers["gain"] for *_, numbers in parts)
    columns = SCORE_TITLES if has_labels else _LABEL_FREE
    n_seeds, n_clusters = len(comparison["seeds"]), comparison["n_clusters"]
    gain_title = ["ACC over k-means"] if has_gains else []
    titles = ["method", "rows", "seeds", *columns.values(), *gain_title, "clusters", "seconds"]
    rows = []
    for method, part, n_fits, numbers in parts:
        cells = [method, part, str(n_fits) if n_fits == n_seeds else f"{n_fits} of {n_seeds}"]
        cells += [_spread(numbers, name) for name in columns]
        cells += [_gain(numbers["gain"].get("accuracy"))] if has_gains else []
        used = _spread(numbers, "clusters_used")
        rows.append([*cells, used if used == "-" else f"{used} of {n_clusters}", _spread(numbers, "seconds")])
    table(titles, rows)
    notes = ["Shares and scores in percent" + (", mean ± standard deviation over seeds." if n_seeds > 1 else ".")]
    if has_gains:
        notes.append("Gains are paired by seed, in points; in brackets 95 % by Student's t, which needs two seeds.")
    click.echo(" ".join(notes))
    agreement = comparison["agreement"]
    if len(agreement) > 1 or n_seeds > 1:
        click.echo("\nAgreement of the clusters, without labels (ARI in percent):")
        table(["", *agreement], [[a, *(_share(agreement[a][b]) for b in agreement)] for a in agreement])


def _spread(numbers: Mapping[str, Any], name: str) -> str:
    """Mean and standard deviation over seeds of a number."""
    mean, sd = numbers["mean"].get(name), numbers["sd"].get(name)
    show = _WIDTH[name].format if name in _WIDTH else percent
    if mean is None:
        return "-"
    return show(mean) if sd is None or name in _WIDTH else f"{show(mean)} ± {show(sd)}"


def _gain(gain: Mapping[str, float | None] | None) -> str:
    """A gain in points with its interval."""
    if gain is None or gain["mean"] is None:
        return "-"
    interval = "-" if gain["low"] is None else f"{100 * gain['low']:+.1f}, {100 * (gain['high'] or 0):+.1f}"
    return f"{100 * gain['mean']:+.1f} [{interval}]"


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)
