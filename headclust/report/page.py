"""The page: the text of one HTML file, made from the data of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headclust.duplicates import find_duplicates, find_nearest
from headclust.errors import DataError, one_line
from headclust.progress import note
from headclust.report import cards, overview, sections
from headclust.report.data import ReportData
from headclust.report.geometry import measure
from headclust.report.html import as_json, fill
from headclust.report.images import MAX_THUMBNAILS, find_source, make_thumbnails
from headclust.report.layouts import Layout, make_layouts, sample_rows
from headclust.report.samples import files_of, listed_rows, page_samples
from headclust.report.scores import compare


def render(
    data: ReportData,
    *,
    labels: bool = False,
    thumbnails: int = MAX_THUMBNAILS,
    umap: bool = True,
    place: Path | None = None,
) -> str:
    """The HTML of a report; the same run, features, images and place give the same text.

    A line on stderr names each part that the page lacks.

    Args:
        data: The data of the report.
        labels: Compare the clusters with the labels, and name each cluster's majority class.
        thumbnails: Images that the page has a small copy of, at most; at least 0.
        umap: Lay out the map by UMAP too, if that is installed.
        place: The file that the page is written to; without it, images are not found at another place after they and
            the page are moved together.
    """
    spaces = data.spaces
    geometry = measure(data.model, spaces, data.clusters) if spaces else None
    nearest = find_nearest(spaces[0], data.config["settings"], device=data.model.device) if spaces else None
    scores = None
    if labels and data.labels is not None:
        scores = compare(data.clusters, data.labels, spaces[0].class_names)
    chosen = cards.choose_images(data, geometry)
    points = sample_rows(data.clusters) if spaces else np.empty(0, np.int64)
    kinds = ("pca", "umap") if umap else ("pca",)
    layouts, no_map = _layouts(data, points, kinds)

    source = find_source(data)
    duplicates = find_duplicates(spaces[0], nearest, source.images, source.rows) if nearest else None
    order = _in_order(cards.first_rows(chosen, duplicates), points, len(data.sample_ids))
    made = make_thumbnails(source, order, thumbnails)
    clusters = cards.make_cards(data, chosen, geometry, made, scores)
    copies = cards.make_copies(data, duplicates, chosen, made) if duplicates else []
    embedded = {picture.row for card in clusters for strip in card.strips for picture in strip.pictures}
    embedded |= {picture.row for group in copies for picture in group.pictures}
    rows = listed_rows(data, order)
    remarks = overview.remarks(data, source, made, duplicates, labels=labels)
    for remark in remarks:
        if remark.kind == "info":
            note(f"{remark.title} {remark.text}")
    samples = page_samples(data, rows, points, made, embedded, nearest)
    return fill(
        {
            **sections.head(data, scores),
            **sections.top(data, clusters, duplicates, copies),
            **sections.levels(data),
            "remarks": remarks,
            **sections.plane(data, points, layouts, umap),
            "no_map": no_map,
            **sections.finding(data, len(rows), scores),
            **sections.scored(data, scores),
            **sections.making(data, source),
            "data": as_json({**samples, "files": files_of(data, source, rows, place)}),
        }
    )


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


def _in_order(first: Sequence[int], points: NDArray[np.int64], n_samples: int) -> list[int]:
    """All rows: `first`, then the points of the map, then the others, each part of these in random order."""
    generator = np.random.default_rng(0)
    dots = np.setdiff1d(points, np.array(first, np.int64))
    others = np.setdiff1d(np.arange(n_samples), np.concatenate((dots, np.array(first, np.int64))))
    return [*first, *generator.permutation(dots).tolist(), *generator.permutation(others).tolist()]
