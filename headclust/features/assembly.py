"""A feature file from staged blocks, in the order of their rows and without the bad ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError, Reason
from headclust.features.checks import check_labels
from headclust.features.format import FEATURE_DTYPES, STAMP_DTYPE
from headclust.features.left_out import Stamp, stored_kinds
from headclust.features.staged import StagedBlocks
from headclust.features.writing import Table, side_tables, write_file
from headclust.progress import printable


class Samples(NamedTuple):
    """The images of a feature file, unreadable ones included.

    Attributes:
        sample_ids: Their names.
        labels: int64 (n_listed,), or None.
        stamps: Size and time of the file of each; without them the kinds of reasons are not stored either.
    """

    sample_ids: Sequence[str]
    labels: NDArray[np.int64] | None
    stamps: Sequence[Stamp] | None


def write_parts(path: Path, plan: Mapping[str, Any], parts: Sequence[StagedBlocks], samples: Samples) -> Path:
    """Write a feature file of the rows of consecutive parts, without the bad rows; return its path.

    Args:
        path: The file. The caller holds its lock.
        plan: Its attributes.
        parts: Complete blocks.
        samples: All images, of which the parts have some or all.

    Raises:
        DataError: No image could be read.
        HeadclustError: The file cannot be written.
    """
    rows = range(parts[0].layout.rows_of_shard.start, parts[-1].layout.rows_of_shard.stop)
    reasons: dict[int, Reason] = {}
    for part in parts:
        reasons |= part.bad
    good, bad = [row for row in rows if row not in reasons], sorted(reasons)
    ids, labels, stamps = samples
    if not good:
        first = f"{printable(ids[rows[0]])}: {printable(reasons[rows[0]])}"
        raise DataError(f"none of {len(rows)} images can be read (the first: {first}): check the source.")
    check_labels(labels, plan["class_names"])
    skipped = [(ids[row], reasons[row]) for row in bad]
    times = None if stamps is None else np.array([stamps[row] for row in good], STAMP_DTYPE).reshape(-1, 2)
    others = side_tables([ids[row] for row in good], None if labels is None else labels[good], skipped, times)
    kinds = {"skipped_kinds": stored_kinds((reasons[row], stamps[row]) for row in bad)} if bad and stamps else {}
    return write_file(path, [*_feature_tables(parts, len(good)), *others], {**plan, **kinds})


def _feature_tables(parts: Sequence[StagedBlocks], n_good: int) -> list[Table]:
    layout = parts[0].layout
    dtype, shape = FEATURE_DTYPES[layout.dtype], (n_good, layout.feature_dim)

    def rows(planes: range) -> Iterator[NDArray[np.floating[Any]]]:
        return chain.from_iterable(part.good_rows(plane) for plane in planes for part in parts)

    tables = [Table("features", dtype, shape, rows(range(1)))]
    if layout.n_views:
        tables.append(Table("views", dtype, (layout.n_views, *shape), rows(range(1, 1 + layout.n_views))))
    return tables
