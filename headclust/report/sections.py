"""The sections of the page: the values that its template shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust import __version__
from headclust.duplicates import Duplicates
from headclust.duplicates.find import MIN_LIKENESS, MIN_SIMILARITY, SURE_SIMILARITY
from headclust.progress import percent
from headclust.report import overview
from headclust.report.cards import Card, Copies
from headclust.report.commands import repeat
from headclust.report.data import ReportData
from headclust.report.images import Source
from headclust.report.layouts import HEIGHT, WIDTH, Layout, cluster_labels
from headclust.report.palette import css_classes
from headclust.report.samples import joins_of
from headclust.report.scores import Scores

DETAILS = (
    f"Images whose features have a cosine similarity of {MIN_SIMILARITY} or more are compared pixel by pixel, in gray "
    f"and small; copies have a correlation of {MIN_LIKENESS} or more. In a group, most pairs are alike."
)
DETAILS_BY_FEATURES = (
    "The images cannot be compared, so these are images whose features have a cosine similarity of "
    f"{SURE_SIMILARITY} or more."
)
_MAX_CELLS = 900  # of a confusion matrix that is shown as a table; a larger one is drawn
_MAX_SKIPPED = 50  # skipped images that are listed


class Dots(NamedTuple):
    """The points of a cluster, as an SVG path."""

    cluster: int
    css: str
    d: str


def head(data: ReportData, scores: Scores | None) -> dict[str, Any]:
    """Title, headline and sections."""
    provenance, config = data.provenance, data.config
    n_samples, used = len(data.sample_ids), data.metrics["clusters_used"]
    split = provenance.get("split", "all")
    dataset = f"{provenance.get('dataset', 'images')}{'' if split == 'all' else f', {split}'}"
    backbones = [str(space.get("backbone", "a backbone")) for space in config["features"]]
    names = {"overview": "Overview", "map": "Map", "images": "Find", "clusters": "Groups"}
    if scores is not None:
        names["labels"] = "Labels"
    images, groups = "image" if n_samples == 1 else "images", "group" if used == 1 else "groups"
    return {
        "title": str(provenance.get("dataset") or data.name or "run"),
        "headline": f"{n_samples:,} {images} in {used:,} {groups}",
        "origin": data.name,
        "lead": f"{dataset}, grouped by what the images show. Features: {' and '.join(backbones)}; "
        f"method: {config['method']}.",
        "sections": [*names.items(), ("making", "Recipe")],
        "version": __version__,
    }


def top(data: ReportData, clusters: list[Card], duplicates: Duplicates | None, copies: list[Copies]) -> dict[str, Any]:
    """Numbers, sizes, confidences and copies."""
    limit = overview.threshold(data.model.n_clusters)
    unsure = int((data.confidence < limit).sum())
    empty = data.empty
    return {
        "tiles": overview.tiles(data),
        "clusters": clusters,
        "even": f"{len(data.sample_ids) / data.n_clusters:,.0f}",
        "empty": ", ".join(map(str, empty[:100])) + (" and more" if len(empty) > 100 else ""),
        "unsure": f"{unsure:,} of {len(data.sample_ids):,} are",
        "threshold": percent(limit),
        "bins": overview.histogram(data),
        "histogram_title": "Images by confidence: mean "
        f"{percent(data.confidence.mean(dtype=float))}, {unsure:,} unsure",
        **_copies(data, duplicates, copies),
        "selection_text": _selection_text(data),
    }


def levels(data: ReportData) -> dict[str, Any]:
    """The least and the largest number of groups of the slider; None if there is nothing to join."""
    used = int(data.metrics["clusters_used"])
    least = max(2, used - len(joins_of(data)))
    return {"levels": {"least": least, "most": used} if least < used else None}


def _copies(data: ReportData, duplicates: Duplicates | None, copies: list[Copies]) -> dict[str, Any]:
    if duplicates is None:
        return {"among": "", "near_duplicates": None}
    searched = among = ""
    if duplicates.n_searched < len(data.sample_ids):
        searched = f" The search took a random {duplicates.n_searched:,} of the {len(data.sample_ids):,} images."
        among = f" among the {duplicates.n_searched:,} images that were searched"
    if duplicates.n_not_compared:
        searched += f" Of the similar pairs, the {duplicates.n_not_compared:,} least similar were not compared."
    n_groups, n_copies = len(duplicates.groups), len(duplicates.copies)
    n_apart = sum(len(set(data.clusters[list(group.rows)].tolist())) > 1 for group in duplicates.groups)
    apart = f" {n_apart:,} of these have images in different groups." if n_apart else ""
    first = f" The {len(copies)} most alike are shown." if n_groups > len(copies) else ""
    many = n_groups > 1
    rule = "most pixels, then the sharpest, then the largest and the oldest file"
    shown = {
        "text": f"{n_copies:,} {'images are copies' if n_copies > 1 else 'image is a copy'} of {n_groups:,} "
        f"other{'s' if many else ''}: re-encoded, resized, slightly cropped or the same.{apart}{first} The first of "
        "each is the best.",
        "details": f"{DETAILS if duplicates.by_pixels else DETAILS_BY_FEATURES} The best is the one of the {rule}."
        f"{searched}",
        "groups": copies,
    }
    return {"among": among, "near_duplicates": shown if copies else None}


def _selection_text(data: ReportData) -> str:
    """Sentences on how the images of a cluster were selected."""
    unsure = "The least sure are those of the lowest confidence."
    if not data.spaces:
        return f"Typical images are those of the highest confidence. {unsure}"
    return (
        "Typical images are the nearest to the center of the group, among the more confident half of it. Images "
        f"between two groups are nearly as near to the center of the other group, which is named below. {unsure} The "
        "nearest groups are those whose centers have the highest cosine similarity; point at one to read it. The "
        "nearest images of an image are those with the highest cosine similarity of the features."
    )


def plane(data: ReportData, points: NDArray[np.int64], layouts: list[Layout], umap: bool) -> dict[str, Any]:
    """The map."""
    from headclust.graph.umap import has_umap

    shown = data.clusters[points]
    n_points, n_samples = len(points), len(data.sample_ids)
    sampled = "" if n_points == n_samples else f" {n_points:,} of the {n_samples:,} images are shown, drawn at random."
    hint = "" if not umap or has_umap() else ' pip install "headclust[maps]" adds a second layout, by UMAP.'
    return {
        "layouts": [
            {
                "name": layout.name,
                "description": layout.description,
                "paths": _paths(layout, shown),
                "labels": cluster_labels(layout, shown),
            }
            for layout in layouts
        ],
        "n_points": f"{n_points:,}",
        "grid": {"width": WIDTH, "height": HEIGHT},
        "map_text": "Each dot is an image; images that look alike are close to each other. Color, shape and number are "
        f"those of the group.{sampled}{hint}",
    }


def _paths(layout: Layout, clusters: NDArray[np.int64]) -> list[Dots]:
    return [
        Dots(
            cluster,
            css_classes(cluster),
            "".join(f"M{x} {y}h0" for x, y in layout.positions[clusters == cluster].tolist()),
        )
        for cluster in np.unique(clusters).tolist()
    ]


def finding(data: ReportData, n_listed: int, scores: Scores | None) -> dict[str, Any]:
    """The searches for an image by its name, and for a group."""
    n_samples = len(data.sample_ids)
    cut = f" This page holds the names of {n_listed:,} of the {n_samples:,} images." if n_listed < n_samples else ""
    has_names = data.groups.names or any(name for _, _, name in data.groups.unions)
    ways = ["number", *(["name"] if has_names else []), *(["class"] if scores else [])]
    return {
        "find_text": f"Type a part of a file name or folder.{cut}",
        "find_group": ", ".join(ways[:-1]) + (" or " if len(ways) > 1 else "") + ways[-1],
    }


def scored(data: ReportData, scores: Scores | None) -> dict[str, Any]:
    """The comparison with labels."""
    if scores is None:
        return {"scores": None}
    table, sizes = scores.table, scores.table.sum(0)
    # Nine shades by the share of the class, 0 for cells without an image.
    levels = np.where(table > 0, np.clip(np.ceil(9 * table / sizes), 1, 9), 0).astype(int)
    n_samples = len(data.sample_ids)
    text = "" if scores.n_labeled == n_samples else f"{scores.n_labeled:,} of {n_samples:,} images have a label."
    shown: dict[str, Any] = {"heat": None, "heat_cells": None}
    if table.size <= _MAX_CELLS:
        # Matched clusters come in the order of their classes: if every class has one, the diagonal is the matching.
        own = {score.cluster: column for column, score in enumerate(scores.classes) if score.cluster is not None}
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


def making(data: ReportData, source: Source) -> dict[str, Any]:
    """The commands and settings of the run."""
    config = data.config
    skipped = data.spaces[0].skipped if data.spaces else ()
    keys = ("dataset", "split", "source", "backbone", "weights_origin", "weights_sha256", "feature_point", "sha256")
    spaces = [space.attributes for space in data.spaces] or config["features"]
    tables = [
        *(
            {
                "heading": "The features" if len(spaces) == 1 else f"The features, file {number}",
                "rows": [
                    *((name, space[name]) for name in keys if space.get(name)),
                    *(("preprocessing", step) for step in (space.get("preprocessing") or {}).get("steps", [])),
                ],
            }
            for number, space in enumerate(spaces, start=1)
        ),
        {
            "heading": "The fit",
            "rows": _flat(
                {key: config.get(key) for key in ("method", "preset", "seed", "device", "threads")}
                | {key: config[key] for key in ("tf32",) if key in config}
            ),
        },
        {"heading": "Settings", "rows": _flat(config["settings"])},
        {"heading": "Versions", "rows": _flat(config.get("versions", {}))},
    ]
    more = f" The first {_MAX_SKIPPED} are listed." if len(skipped) > _MAX_SKIPPED else ""
    return {
        "commands": repeat(data, source),
        "making_text": "On one machine, with the same versions, device and number of threads, these commands give the "
        "same groups, bit for bit. The config.json of the run folder records the same settings.",
        "facts": [table for table in tables if table["rows"]],
        "skipped": skipped[:_MAX_SKIPPED],
        "skipped_text": f"{len(skipped):,} could not be read when the features were made.{more}",
    }


def _flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]
