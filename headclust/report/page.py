"""The page: everything put together, as the text of one HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from headclust import __version__
from headclust.progress import note, printable
from headclust.report import cards, overview
from headclust.report.commands import repeat
from headclust.report.data import ReportData
from headclust.report.geometry import measure
from headclust.report.images import MOST, Source, Thumbnails, find_source, make_thumbnails
from headclust.report.layouts import HEIGHT, WIDTH, Layout, has_umap, labels, lay_out, sample
from headclust.report.near_duplicates import ALIKE, NearDuplicates, find_near_duplicates
from headclust.report.palette import look, theme_css
from headclust.report.scores import Scores, compare

_CELLS = 900  # of a confusion matrix that is shown as numbers
_SKIPPED = 50  # images left out that are named
_UNPICTURED = "its image is not in the page, which holds a bounded number"


class Dots(NamedTuple):
    """The points of a cluster, as an SVG path."""

    cluster: int
    look: str
    d: str


def render(data: ReportData, *, umap: bool = True) -> str:
    """The page of a report, the same text for the same run, features and images.

    Says on stderr what is missing from it.

    Args:
        data: What it is about.
        umap: Whether to lay out the map by UMAP too, where that is installed.
    """
    spaces, known = data.spaces, data.labels
    geometry = measure(data.model, spaces, data.clusters) if spaces else None
    twins = find_near_duplicates(spaces[0], data.config["settings"]) if spaces else None
    scores = compare(data.clusters, known, spaces[0].class_names) if known is not None else None
    chosen = cards.choose_images(data, geometry)
    points = sample(data.clusters) if spaces else np.empty(0, np.int64)
    kinds = ("pca", "umap") if umap else ("pca",)
    layouts = lay_out(data.model, spaces, points, kinds) if spaces else []

    source = find_source(data)
    first = cards.wanted_rows(chosen, twins)
    thumbnails = make_thumbnails(source, [*first, *_spread(points, first)])
    made = cards.make_cards(data, chosen, geometry, thumbnails, scores)
    pairs = cards.make_pairs(data, twins, chosen, thumbnails) if twins and twins.pairs else []
    home = {one.row for card in made for strip in card.strips for one in strip.pictures}
    home |= {one.row for pair in pairs for one in (pair.first, pair.second)}
    warnings = overview.warnings(data, source, thumbnails, twins)
    for one in warnings:
        if one.kind == "info":
            note(f"{one.what} {one.text}")
    context = {
        **_head(data),
        **_top(data, made, twins, pairs),
        "warnings": warnings,
        **_map(data, points, layouts, umap),
        **_scored(data, scores),
        **_making(data, source),
        "data": _json(_data(data, points, thumbnails, home)),
    }
    return _fill(context)


def _spread(points: NDArray[np.int64], without: Sequence[int]) -> list[int]:
    """Points of the map in an order of which every beginning is spread over all clusters, leaving some out."""
    rest = np.setdiff1d(points, np.array(without, np.int64))
    return [int(row) for row in np.random.default_rng(0).permutation(rest)]


def _head(data: ReportData) -> dict[str, Any]:
    described, config = data.described, data.config
    n_samples, used = len(data.sample_ids), data.metrics["clusters_used"]
    split = described.get("split", "all")
    dataset = f"{described.get('dataset', 'images')}{'' if split == 'all' else f', {split}'}"
    backbones = [str(space.get("backbone", "a backbone")) for space in config["features"]]
    shown = {"overview": "Overview", "map": "Map", "clusters": "Clusters"}
    if data.labels is not None:
        shown["labels"] = "Labels"
    images, clusters = "image" if n_samples == 1 else "images", "cluster" if used == 1 else "clusters"
    return {
        "title": str(data.described.get("dataset") or data.name or "run"),
        "headline": f"{n_samples:,} {images} in {used} {clusters}",
        "origin": data.name,
        "lead": f"{dataset} seen by {' and '.join(backbones)}, clustered by {config['method']}.",
        "sections": [*shown.items(), ("making", "Recipe")],
        "version": __version__,
    }


def _top(
    data: ReportData, made: list[cards.Card], twins: NearDuplicates | None, pairs: list[cards.Pair]
) -> dict[str, Any]:
    limit = overview.threshold(data.n_clusters)
    unsure = int((data.confidence < limit).sum())
    unused = np.setdiff1d(np.arange(data.n_clusters), [card.number for card in made]).tolist()
    looked = among = ""
    if twins and twins.n_searched < len(data.sample_ids):
        looked = f" Looked for among a random {twins.n_searched:,} of the {len(data.sample_ids):,} images."
        among = f" among the {twins.n_searched:,} images that were looked at"
    apart = sum(int(data.clusters[one] != data.clusters[two]) for one, two, _ in twins.pairs) if twins else 0
    found = f"{len(twins.pairs):,} pairs whose features have a cosine similarity of {ALIKE} or more" if twins else ""
    parted = f", {apart:,} of them in different clusters" if apart else ""
    text = f"{found}{parted}; the most alike {'come first' if len(pairs) > 1 else 'is shown'}.{looked}"
    return {
        "tiles": overview.tiles(data),
        "clusters": made,
        "even": f"{len(data.sample_ids) / data.n_clusters:,.0f}",
        "unused": ", ".join(map(str, unused[:100])) + (" and more" if len(unused) > 100 else ""),
        "unsure": f"{unsure:,} of {len(data.sample_ids):,} are",
        "threshold": f"{limit:.2f}",
        "bins": overview.histogram(data),
        "histogram_title": f"Images by confidence: mean {data.confidence.mean(dtype=float):.2f}, {unsure:,} unsure",
        "among": among,
        "twins": {"text": text, "pairs": pairs} if pairs else None,
        "clusters_text": "The numbers are those of assignments.csv, and mean nothing else. " + _chosen(data),
    }


def _chosen(data: ReportData) -> str:
    """How the images of a cluster were chosen."""
    unsure = "least sure are those of the lowest confidence, which is the number below an image."
    if not data.spaces:
        return f"Typical images are the surest; {unsure}"
    central = "Typical images are the most central of a cluster's surer half; borderline are those nearly as near to "
    return f"{central}another cluster's center; {unsure}"


def _map(data: ReportData, points: NDArray[np.int64], layouts: list[Layout], umap: bool) -> dict[str, Any]:
    shown = data.clusters[points]
    n_points, n_samples = len(points), len(data.sample_ids)
    sampled = "" if n_points == n_samples else f" {n_points:,} of the {n_samples:,} images are shown, drawn at random."
    hint = "" if not umap or has_umap() else ' With pip install "headclust[maps]" there is a second layout, by UMAP.'
    return {
        "layouts": [
            {"name": one.name, "means": one.means, "paths": _paths(one, shown), "labels": labels(one, shown)}
            for one in layouts
        ],
        "n_points": f"{n_points:,}",
        "grid": {"width": WIDTH, "height": HEIGHT},
        "map_text": "Each dot is an image, where the model sees it; color, shape and number are its cluster's."
        f"{sampled}{hint}",
        "no_map": f"There is no map, because the features are not at hand. {data.missing}",
    }


def _paths(layout: Layout, clusters: NDArray[np.int64]) -> list[Dots]:
    return [
        Dots(cluster, look(cluster), "".join(f"M{x} {y}h0" for x, y in layout.places[clusters == cluster].tolist()))
        for cluster in np.unique(clusters).tolist()
    ]


def _scored(data: ReportData, scores: Scores | None) -> dict[str, Any]:
    if scores is None:
        return {"scores": None}
    table, sizes = scores.table, scores.table.sum(0)
    # A shade for each tenth of a class; what there is at all is shaded.
    levels = np.where(table > 0, np.clip(np.ceil(9 * table / sizes), 1, 9), 0).astype(int)
    n_samples = len(data.sample_ids)
    text = "" if scores.n_labelled == n_samples else f"{scores.n_labelled:,} of {n_samples:,} images have one."
    shown: dict[str, Any] = {"heat": None, "heat_cells": None}
    if table.size <= _CELLS:
        # Matched clusters come in the order of their classes, so of as many classes the diagonal is the matching.
        own = {one.cluster: column for column, one in enumerate(scores.classes) if one.cluster is not None}
        shown["heat"] = [
            {
                "cluster": cluster,
                "cells": [
                    {"count": count, "level": level, "own": own.get(cluster) == column}
                    for column, (count, level) in enumerate(zip(row, shades, strict=True))
                ],
            }
            for cluster, row, shades in zip(scores.clusters, table.tolist(), levels.tolist(), strict=True)
        ]
    else:
        shown["heat_cells"] = [
            (level, "".join(f"M{column} {row}h1v1h-1z" for row, column in np.argwhere(levels == level).tolist()))
            for level in np.unique(levels[levels > 0]).tolist()
        ]
    return {"scores": scores, "labels_text": text, "score_tiles": overview.score_tiles(data.metrics), **shown}


def _making(data: ReportData, source: Source) -> dict[str, Any]:
    config = data.config
    skipped = data.spaces[0].skipped if data.spaces else ()
    kept = ("dataset", "split", "source", "backbone", "weights_origin", "weights_sha256", "feature_point", "sha256")
    spaces = [space.attributes for space in data.spaces] or config["features"]
    tables = [
        *(
            {
                "heading": "The features" if len(spaces) == 1 else f"The features, file {number}",
                "rows": [
                    *((name, space[name]) for name in kept if space.get(name)),
                    *(("preprocessing", step) for step in (space.get("preprocessing") or {}).get("steps", [])),
                ],
            }
            for number, space in enumerate(spaces, start=1)
        ),
        {
            "heading": "The fit",
            "rows": _flat({key: config.get(key) for key in ("method", "preset", "seed", "device", "threads")}),
        },
        {"heading": "Settings", "rows": _flat(config["settings"])},
        {"heading": "Versions", "rows": _flat(config.get("versions", {}))},
    ]
    more = f" The first {_SKIPPED} are named." if len(skipped) > _SKIPPED else ""
    return {
        "commands": repeat(data, source),
        "making_text": "On one machine, with the same versions, device and number of threads, these commands give the "
        "same clusters, bit for bit. The run folder's config.json holds all of it too.",
        "facts": [table for table in tables if table["rows"]],
        "skipped": skipped[:_SKIPPED],
        "skipped_text": f"{len(skipped):,} could not be read when the features were made.{more}",
    }


def _flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]


def _data(data: ReportData, points: NDArray[np.int64], thumbnails: Thumbnails, home: set[int]) -> dict[str, Any]:
    """What the script needs of the map's points, in the order of the paths: by cluster, then by row."""
    numbered = [(number, row) for number, row in enumerate(points.tolist()) if row in thumbnails.made]
    return {
        "names": [printable(data.sample_ids[row]) for row in points.tolist()],
        "sure": np.rint(1000 * data.confidence[points].astype(float)).astype(int).tolist(),
        "held": {number: row for number, row in numbered if row in home},
        "thumbs": {number: thumbnails.made[row].uri.partition(",")[2] for number, row in numbered if row not in home},
        "tiny": bool(thumbnails.made) and all(thumb.is_tiny for thumb in thumbnails.made.values()),
        "unpictured": f"{_UNPICTURED} of them ({MOST:,})" if thumbnails.made else "there are no images at hand",
    }


def _json(value: Any) -> Markup:
    """`value` as JSON that no text in it can get out of, whatever the browser takes for the end of a script."""
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  # nothing in it is markup any more


def _fill(context: Mapping[str, Any]) -> str:
    folder = files("headclust.report") / "template"
    css = "\n" + theme_css() + "\n" + (folder / "page.css").read_text(encoding="utf-8")
    script = "\n" + (folder / "page.js").read_text(encoding="utf-8")
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(css),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_plain, keep_trailing_newline=True)
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    return template.render(
        **context,
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        css=Markup(css),  # noqa: S704  # our own files, as is the script
        script=Markup(script),  # noqa: S704
    ).lstrip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _plain(value: Any) -> Any:
    """Text without control characters or lone surrogates: names of files may hold any."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
