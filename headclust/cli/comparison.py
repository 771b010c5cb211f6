"""How `headclust compare` shows methods side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from headclust.cli.printing import percent, table

_SCORES = {"accuracy": "ACC", "nmi": "NMI", "ami": "AMI", "ari": "ARI"}
_LABEL_FREE = {"largest_share": "largest", "entropy": "entropy", "agreement": "agreement"}
_WIDTH = {"seconds": "{:.1f}", "clusters_used": "{:.4g}"}


def print_comparison(compared: Mapping[str, Any]) -> None:
    """A row a method (two where other samples were scored too), then how far the methods agree."""
    parts = [
        (entry["method"], rows, len([fit for fit in entry["fits"] if "error" not in fit]), found)
        for entry in compared["methods"]
        for rows, found in (("fitted", entry), ("eval", entry.get("eval")))
        if found is not None
    ]
    scored = any("accuracy" in found["mean"] for *_, found in parts)
    gained = any("accuracy" in found["gain"] for *_, found in parts)
    shown = _SCORES if scored else _LABEL_FREE
    planned, wanted = len(compared["seeds"]), compared["n_clusters"]
    titles = ["method", "rows", "seeds", *shown.values(), *(["ACC over k-means"] if gained else []), "clusters"]
    rows = []
    for method, which, done, found in parts:
        cells = [method, which, str(done) if done == planned else f"{done} of {planned}"]
        cells += [_spread(found, name) for name in shown]
        cells += [_gain(found["gain"].get("accuracy"))] if gained else []
        used = _spread(found, "clusters_used")
        rows.append([*cells, used if used == "-" else f"{used} of {wanted}", _spread(found, "seconds")])
    table([*titles, "seconds"], rows)
    notes = ["Shares and scores in percent" + (", mean ± standard deviation over seeds." if planned > 1 else ".")]
    if gained:
        notes.append("Gains are paired by seed, in points; in brackets 95 % by Student's t, which needs two seeds.")
    click.echo(" ".join(notes))
    names = list(compared["agreement"])
    if len(names) > 1 or planned > 1:
        click.echo("\nHow far the clusters agree, whatever the labels (ARI in percent):")
        agreed = compared["agreement"]
        table(["", *names], [[a, *(_share(agreed[a][b]) for b in names)] for a in names])


def _spread(found: Mapping[str, Any], name: str) -> str:
    mean, sd = found["mean"].get(name), found["sd"].get(name)
    show = _WIDTH[name].format if name in _WIDTH else percent
    if mean is None:
        return "-"
    return show(mean) if sd is None or name in _WIDTH else f"{show(mean)} ± {show(sd)}"


def _gain(found: Mapping[str, float | None] | None) -> str:
    if found is None or found["mean"] is None:
        return "-"
    ends = "-" if found["low"] is None else f"{100 * found['low']:+.1f}, {100 * (found['high'] or 0):+.1f}"
    return f"{100 * found['mean']:+.1f} [{ends}]"


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)
