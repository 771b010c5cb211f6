"""The page: the text of one HTML file, made from the data of a report."""

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
from headclust.errors import DataError, one_line
from headclust.progress import note, printable
from headclust.report import cards, overview
from headclust.report.commands import repeat
from headclust.report.data import ReportData
from headclust.report.geometry import measure
from headclust.report.images import MAX_THUMBNAILS, Source, Thumbnails, find_source, make_thumbnails
from headclust.report.layouts import HEIGHT, WIDTH, Layout, cluster_labels, has_umap, make_layouts, sample_rows
from headclust.report.near_duplicates import MIN_SIMILARITY, NearDuplicates, find_near_duplicates
from headclust.report.palette import css_classes, theme_css
from headclust.report.scores import Scores, compare

_MAX_CELLS = 900  # of a confusion matrix that is shown as a table; a larger one is drawn
_MAX_SKIPPED = 50  # skipped images that are listed
_NO_THUMBNAIL = f"no thumbnail: the page has at most {MAX_THUMBNAILS:,}"


class Dots(NamedTuple):
    """The points of a cluster, as an SVG path."""

    cluster: int
    css: str
    d: str


def render(data: ReportData, *, umap: bool = True) -> str:
    """The HTML of a report; the same run, features and images give the same text.

    A line on stderr names each part that the page lacks.

    Args:
        data: The data of the report.
        umap: Lay out the map by UMAP too, if that is installed.
    """
    spaces, labels = data.spaces, data.labels
    geometry = measure(data.model, spaces, data.clusters) if spaces else None
    duplicates = find_near_duplicates(spaces[0], data.config["settings"]) if spaces else None
    scores = compare(data.clusters, labels, spaces[0].class_names) if labels is not None else None
    chosen = cards.choose_images(data, geometry)
    points = sample_rows(data.clusters) if spaces else np.empty(0, np.int64)
    kinds = ("pca", "umap") if umap else ("pca",)
    layouts, no_map = _layouts(data, points, kinds)

    source = find_source(data)
    first = cards.thumbnail_rows(chosen, duplicates)
    thumbnails = make_thumbnails(source, [*first, *_shuffled(points, first)])
    clusters = cards.make_cards(data, chosen, geometry, thumbnails, scores)
    pairs = cards.make_pairs(data, duplicates, chosen, thumbnails) if duplicates and duplicates.pairs else []
    embedded = {picture.row for card in clusters for strip in card.strips for picture in strip.pictures}
    embedded |= {picture.row for pair in pairs for picture in (pair.first, pair.second)}
    remarks = overview.remarks(data, source, thumbnails, duplicates)
    for remark in remarks:
        if remark.kind == "info":
            note(f"{remark.title} {remark.text}")
    context = {
        **_head(data),
        **_top(data, clusters, duplicates, pairs),
        "remarks": remarks,
        **_map(data, points, layouts, umap),
        "no_map": no_map,
        **_scored(data, scores),
        **_making(data, source),
        "data": _json(_data(data, points, thumbnails, embedded)),
    }
    return _fill(context)


def _layouts(data: ReportData, points: NDArray[np.int64], kinds: Sequence[str]) -> tuple[list[Layout], str]:
    """The layouts of the map, and if there are none, a sentence with the reason; the rest of the page needs no map."""
    if not data.spaces:
        return [], f"There is no map, because the feature file is not available. {data.problem}"
    try:
        return make_layouts(data.model, data.spaces, points, kinds), ""
    except DataError as error:
        reason = f"There is no map: {one_line(error)}"
        note(reason)
        return [], reason


def _shuffled(points: NDArray[np.int64], without: Sequence[int]) -> list[int]:
    """Points of the map in random order, without those in `without`; the first n are spread over all clusters."""
    rest = np.setdiff1d(points, np.array(without, np.int64))
    return [int(row) for row in np.random.default_rng(0).permutation(rest)]


def _head(data: ReportData) -> dict[str, Any]:
    provenance, config = data.provenance, data.config
    n_samples, used = len(data.sample_ids), data.metrics["clusters_used"]
    split = provenance.get("split", "all")
    dataset = f"{provenance.get('dataset', 'images')}{'' if split == 'all' else f', {split}'}"
    backbones = [str(space.get("backbone", "a backbone")) for space in config["features"]]
    sections = {"overview": "Overview", "map": "Map", "clusters": "Clusters"}
    if data.labels is not None:
        sections["labels"] = "Labels"
    images, clusters = "image" if n_samples == 1 else "images", "cluster" if used == 1 else "clusters"
    return {
        "title": str(provenance.get("dataset") or data.name or "run"),
        "headline": f"{n_samples:,} {images} in {used} {clusters}",
        "origin": data.name,
        "lead": f"{dataset}; features of {' and '.join(backbones)}, clustered by {config['method']}.",
        "sections": [*sections.items(), ("making", "Recipe")],
        "version": __version__,
    }


def _top(
    data: ReportData, clusters: list[cards.Card], duplicates: NearDuplicates | None, pairs: list[cards.Pair]
) -> dict[str, Any]:
    limit = overview.threshold(data.n_clusters)
    unsure = int((data.confidence < limit).sum())
    empty = np.setdiff1d(np.arange(data.n_clusters), [card.number for card in clusters]).tolist()
    return {
        "tiles": overview.tiles(data),
        "clusters": clusters,
        "even": f"{len(data.sample_ids) / data.n_clusters:,.0f}",
        "empty": ", ".join(map(str, empty[:100])) + (" and more" if len(empty) > 100 else ""),
        "unsure": f"{unsure:,} of {len(data.sample_ids):,} are",
        "threshold": f"{limit:.2f}",
        "bins": overview.histogram(data),
        "histogram_title": f"Images by confidence: mean {data.confidence.mean(dtype=float):.2f}, {unsure:,} unsure",
        **_near_duplicates(data, duplicates, pairs),
        "clusters_text": f"The numbers are those of assignments.csv and have no order. {_selection_text(data)}",
    }


def _near_duplicates(data: ReportData, duplicates: NearDuplicates | None, pairs: list[cards.Pair]) -> dict[str, Any]:
    if duplicates is None:
        return {"among": "", "near_duplicates": None}
    searched = among = ""
    if duplicates.n_searched < len(data.sample_ids):
        searched = f" The search took a random {duplicates.n_searched:,} of the {len(data.sample_ids):,} images."
        among = f" among the {duplicates.n_searched:,} images that were searched"
    n_apart = sum(int(data.clusters[first] != data.clusters[second]) for first, second, _ in duplicates.pairs)
    apart = f", {n_apart:,} of them in different clusters" if n_apart else ""
    text = (
        f"{len(duplicates.pairs):,} pairs whose features have a cosine similarity of {MIN_SIMILARITY} or more{apart}; "
        f"the most similar {'come first' if len(pairs) > 1 else 'is shown'}.{searched}"
    )
    return {"among": among, "near_duplicates": {"text": text, "pairs": pairs} if pairs else None}


def _selection_text(data: ReportData) -> str:
    """A sentence on how the images of a cluster were selected."""
    unsure = "least sure are those of the lowest confidence. The number below an image is its confidence"
    if not data.spaces:
        return f"Typical images are those of the highest confidence; {unsure}."
    return (
        "Typical images are the most central among the more confident half of a cluster; borderline images are nearly "
        f"as near to the center of another cluster; {unsure}, below a borderline image it is the other cluster."
    )


def _map(data: ReportData, points: NDArray[np.int64], layouts: list[Layout], umap: bool) -> dict[str, Any]:
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
        "map_text": "Each dot is an image, placed by its features; color, shape and number are those of its cluster."
        f"{sampled}{hint}",
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


def _scored(data: ReportData, scores: Scores | None) -> dict[str, Any]:
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


def _making(data: ReportData, source: Source) -> dict[str, Any]:
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
            "rows": _flat({key: config.get(key) for key in ("method", "preset", "seed", "device", "threads")}),
        },
        {"heading": "Settings", "rows": _flat(config["settings"])},
        {"heading": "Versions", "rows": _flat(config.get("versions", {}))},
    ]
    more = f" The first {_MAX_SKIPPED} are listed." if len(skipped) > _MAX_SKIPPED else ""
    return {
        "commands": repeat(data, source),
        "making_text": "On one machine, with the same versions, device and number of threads, these commands give the "
        "same clusters, bit for bit. The config.json of the run folder records the same settings.",
        "facts": [table for table in tables if table["rows"]],
        "skipped": skipped[:_MAX_SKIPPED],
        "skipped_text": f"{len(skipped):,} could not be read when the features were made.{more}",
    }


def _flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]


def _data(data: ReportData, points: NDArray[np.int64], thumbnails: Thumbnails, embedded: set[int]) -> dict[str, Any]:
    """Data of the map's points for the script, in the order of the paths: by cluster, then by row."""
    numbered = [(number, row) for number, row in enumerate(points.tolist()) if row in thumbnails.made]
    return {
        "names": [printable(data.sample_ids[row]) for row in points.tolist()],
        "confidence": np.rint(1000 * data.confidence[points].astype(float)).astype(int).tolist(),
        "embedded": {number: row for number, row in numbered if row in embedded},
        "thumbs": {
            number: thumbnails.made[row].uri.partition(",")[2] for number, row in numbered if row not in embedded
        },
        "tiny": bool(thumbnails.made) and all(thumb.is_tiny for thumb in thumbnails.made.values()),
        "noThumbnail": _NO_THUMBNAIL if thumbnails.made else "no thumbnail: the images are not available",
    }


def _json(value: Any) -> Markup:
    """`value` as JSON in which no text can end the script element."""
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  # no character of it can be markup


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
    """Text with control characters and lone surrogates escaped, as file names may hold any."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
