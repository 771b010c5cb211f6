"""Pairs of images that look the same or nearly so, found by the cosine similarity of their features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headclust.report.nearest import NearestImages

MIN_SIMILARITY = 0.97  # cosine similarity; no pair of 10,000 different photos reached it


@dataclass(frozen=True)
class NearDuplicates:
    """Near-duplicates among the samples.

    Attributes:
        pairs: (row, row, cosine similarity), the most similar first; each image with its nearest one.
        n_searched: Number of images that were searched: all, or a random sample of many.
    """

    pairs: tuple[tuple[int, int, float], ...]
    n_searched: int


def find_near_duplicates(nearest: NearestImages) -> NearDuplicates:
    """Pairs of an image and its nearest one, of cosine similarity `MIN_SIMILARITY` or more."""
    if not nearest.indices.shape[1]:
        return NearDuplicates((), len(nearest.rows))
    similarities = nearest.similarities[:, 0]
    similarity_of: dict[tuple[int, int], float] = {}
    for index in np.flatnonzero(similarities >= MIN_SIMILARITY).tolist():
        first, second = int(nearest.rows[index]), int(nearest.indices[index, 0])
        similarity_of.setdefault((min(first, second), max(first, second)), min(1.0, float(similarities[index])))
    pairs = sorted(
        ((first, second, similarity) for (first, second), similarity in similarity_of.items()),
        key=lambda pair: (-pair[2], pair),
    )
    return NearDuplicates(tuple(pairs), len(nearest.rows))
