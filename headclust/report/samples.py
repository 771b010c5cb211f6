"""The samples of a page in compact form, for its script: names, clusters, confidence, thumbnails, nearest images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from headclust.duplicates import NearestImages
from headclust.images.datasets.ignored import is_image_name
from headclust.images.datasets.joined import added_source
from headclust.images.datasets.reopen import SeparateFiles, separate_files
from headclust.progress import printable
from headclust.report.data import ReportData
from headclust.report.images import Source, Thumbnails

MAX_NAMES = 8_000_000  # bytes of all names, each without what it shares with the one before
_MAX_NEAREST = 100_000  # images with a list of the nearest ones


def listed_rows(data: ReportData, order: Sequence[int]) -> NDArray[np.int64]:
    """The samples that the page lists, ascending: all, or the first of `order` whose names stay below `MAX_NAMES`."""
    rows = np.arange(len(data.sample_ids))
    share = 1.0
    while (size := len(front_coded([data.sample_ids[row] for row in rows.tolist()]).encode())) > MAX_NAMES:
        share *= 0.95 * MAX_NAMES / size
        rows = np.sort(np.array(order[: int(share * len(order))], np.int64))
    return rows


def front_coded(names: Sequence[str]) -> str:
    """Names, one per line, as "N|REST": the first N UTF-16 units of the name before, and the rest.

    Control characters and lone surrogates are escaped, so that a name is one line of printable text.
    """
    lines, before = [], ""
    for name in map(printable, names):
        pairs = zip(before, name, strict=False)
        shared = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(before), len(name)))
        units = shared if name.isascii() else len(name[:shared].encode("utf-16-le")) // 2
        lines.append(f"{units}|{name[shared:]}")
        before = name
    return "\n".join(lines)


def page_samples(
    data: ReportData,
    rows: NDArray[np.int64],
    points: NDArray[np.int64],
    thumbnails: Thumbnails,
    embedded: set[int],
    nearest: NearestImages | None,
) -> dict[str, Any]:
    """The samples that the page lists.

    Args:
        data: The data of the report.
        rows: The samples, ascending.
        points: Rows of the map's points, in the order of its paths.
        thumbnails: Thumbnails by row.
        embedded: Rows whose thumbnail is an image of the page.
        nearest: Nearest images of each image; None if unknown.
    """
    n_samples = len(data.sample_ids)
    return {
        "n": n_samples,
        "rows": None if len(rows) == n_samples else rows.tolist(),
        "names": front_coded([data.sample_ids[row] for row in rows.tolist()]),
        "clusters": data.clusters[rows].tolist(),
        "groupNames": dict(data.groups.names),
        "unions": joins_of(data),
        "confidence": np.rint(1000 * data.confidence[rows].astype(float)).astype(int).tolist(),
        "points": points.tolist(),
        "nearest": _nearest(nearest, rows),
        "thumbs": {row: thumb.uri.partition(",")[2] for row, thumb in thumbnails.made.items() if row not in embedded},
        "tiny": bool(thumbnails.made) and all(thumb.is_tiny for thumb in thumbnails.made.values()),
        "noThumbnails": not thumbnails.made,
    }


def joins_of(data: ReportData) -> list[tuple[int, int, str | None]]:
    """The joins of the groups of the page, from fine to coarse: group kept, group joined to it, name of the union.

    Of other images than the fitted ones, groups without an image join nothing.
    """
    present = dict(zip((ids := np.unique(data.clusters).tolist()), ids, strict=True))
    joins = []
    for union, joined, name in data.groups.unions:
        first, second = present.get(union), present.get(joined)
        if first is not None and second is not None:
            joins.append((first, second, name))
        elif second is not None:
            present[union] = second
    return joins


def _nearest(nearest: NearestImages | None, rows: NDArray[np.int64]) -> dict[int, list[int]]:
    """The nearest images of each sample, those that the page lists; of the first `_MAX_NEAREST` of many samples."""
    if nearest is None:
        return {}
    listed = np.zeros(max(int(rows.max(initial=0)), int(nearest.rows.max())) + 1, bool)
    listed[rows] = True
    places = np.flatnonzero(listed[nearest.rows])[:_MAX_NEAREST]
    pairs = zip(nearest.rows[places].tolist(), nearest.indices[places], strict=True)
    return {row: near[listed[near]].tolist() for row, near in pairs}


def files_of(data: ReportData, source: Source, rows: NDArray[np.int64], place: Path | None) -> dict[str, Any] | None:
    """Addresses of the image files, for the script; None if the images are not separate files, or cannot be listed.

    The address of a sample is one of `folders` followed by its name, each part percent-encoded, unless `addresses` has
    that of its name. The first folder is relative to the page, so that page and images can be moved together.

    Args:
        data: The data of the report.
        source: The images.
        rows: The samples that the page lists.
        place: The file of the page; None if unknown.
    """
    files = separate_files(str(data.provenance.get("source")), data.provenance) if source.images is not None else None
    if source.images is None or files is None:
        return None
    ids = source.images.sample_ids
    names = [ids[row] if row >= 0 else None for row in source.rows[rows].tolist()]
    if not files.is_list and not any(name is not None and is_image_name(name) for name in names):
        return None
    folder = os.path.realpath(files.folder)
    folders = [_address("/" + folder.lstrip("/")) or ""]
    if place is not None:
        relative = os.path.relpath(folder, os.path.realpath(place.parent))
        folders.insert(0, _address(f"./{relative}") or "")
    shown = (printable(data.sample_ids[row]) for row in rows.tolist())
    triples = zip(rows.tolist(), names, shown, strict=True)
    return {
        "folders": folders,
        "shown": printable(str(folder)),
        "addresses": {
            row: _address(_below(files, folder, name))
            for row, name, text in triples
            if name is not None and (name != text or added_source(name, [*files.added]))
        },
    }


def _below(files: SeparateFiles, folder: str, name: str) -> str:
    """The path of an image file from the folder of the source; those of added sources lie outside of it."""
    return os.path.relpath(os.path.realpath(files.path(name)), folder) if added_source(name, [*files.added]) else name


def _address(path: str) -> str | None:
    """A path, percent-encoded; None if no file can have it."""
    try:
        return quote(os.fsencode(path), safe="/")
    except UnicodeEncodeError:
        return None
