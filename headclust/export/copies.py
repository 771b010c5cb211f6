"""An export to folders without copies of images, or with the copies in a folder of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headclust.choices import Duplicates
from headclust.duplicates import find_duplicates, find_nearest
from headclust.errors import DataError
from headclust.export.folders import MARKER
from headclust.export.images import FoundImages
from headclust.export.table import Table
from headclust.features import Features
from headclust.progress import note, printable

APART = "duplicates"  # the folder of copies
_RECORD = "copies"  # in the mark of an export


def find_copies(
    target: Path, space: Features | None, images: FoundImages, settings: Mapping[str, Any]
) -> dict[str, str]:
    """The copies among the images, by their sample ids, with the best image of each.

    An export that was begun has its copies in its mark: images that were moved are no longer there to be compared.

    Args:
        target: The folder of the export.
        space: Features of the samples.
        images: Their images.
        settings: Settings of the run, whose neighbor graph is used if it is cached.

    Raises:
        DataError: There are no features.
    """
    if (stored := _stored(target)) is not None:
        return stored
    if space is None:
        raise DataError("--duplicates compares images by their features, which are not available: name their file.")
    rows = np.array([-1 if row is None else row for row in images.rows], np.int64)
    duplicates = find_duplicates(space, find_nearest(space, settings, every=True), images.images, rows)
    if not duplicates.by_pixels:
        note("the images cannot be compared with one another: copies are those with almost the same features.")
    if duplicates.n_not_compared:
        note(f"similar pairs that were not compared, as there are too many: {duplicates.n_not_compared:,}.")
    ids = space.sample_ids
    return {ids[row]: ids[group.best] for group in duplicates.groups for row in group.copies}


def without_copies(
    table: Table, images: FoundImages, copies: Mapping[str, str], how: Duplicates
) -> tuple[Table, FoundImages]:
    """The table and its images without copies, or with the copies in a group of their own.

    Args:
        table: The table.
        images: The images of its rows.
        copies: As `find_copies` returns them.
        how: "leave-out" or "apart"; a line on stderr tells how many.
    """
    is_copy = [sample_id in copies for sample_id in table.sample_ids]
    done = "left out" if how == "leave-out" else f"in the folder {APART}"
    first = next((f" ({printable(copy)} of {printable(best)})" for copy, best in copies.items()), "")
    note(f"copies of other images, {done}: {sum(is_copy):,}{first}.")
    if how == "leave-out":
        rows = [row for row, copy in enumerate(is_copy) if not copy]
        return _taken(table, rows), replace(
            images, paths=tuple(_at(images.paths, rows)), rows=tuple(_at(images.rows, rows))
        )
    number = max(table.groups) + 1
    name = APART
    while name in table.groups.values():
        name = f"{name}-of-images"
    clusters = [number if copy else group for group, copy in zip(table.clusters, is_copy, strict=True)]
    groups = {**table.groups, number: name} if any(is_copy) else table.groups
    return replace(table, clusters=clusters, groups=groups), images


def mark_of(copies: Mapping[str, str], how: Duplicates) -> dict[str, Any]:
    """The copies as the mark of an export records them."""
    return {"duplicates": how, _RECORD: dict(copies)}


def _stored(target: Path) -> dict[str, str] | None:
    try:
        copies = json.loads((target / MARKER).read_bytes())[_RECORD]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return {str(copy): str(best) for copy, best in copies.items()} if isinstance(copies, dict) else None


def _taken(table: Table, rows: Sequence[int]) -> Table:
    return replace(
        table,
        sample_ids=_at(table.sample_ids, rows),
        paths=_at(table.paths, rows),
        clusters=_at(table.clusters, rows),
        confidence=_at(table.confidence, rows),
        novelty=None if table.novelty is None else _at(table.novelty, rows),
        labels=None if table.labels is None else _at(table.labels, rows),
        more={name: values[list(rows)] for name, values in table.more.items()},
    )


def _at(values: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    return [values[row] for row in rows]
