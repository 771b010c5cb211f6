"""Pairs of near-duplicate images, found by the cosine similarity of their features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headclust.features import Features

MIN_SIMILARITY = 0.97  # cosine similarity; no pair of 10,000 different photos reached it
_MAX_SEARCHED = 20_000  # rows; their search takes half a minute for 1,280 dimensions on one core


@dataclass(frozen=True)
class NearDuplicates:
    """Near-duplicates among the samples.

    Attributes:
        pairs: (row, row, cosine similarity), the most similar first; each image with its nearest one.
        n_searched: Number of images that were searched: all, or a random sample of many.
    """

    pairs: tuple[tuple[int, int, float], ...]
    n_searched: int


def find_near_duplicates(
    space: Features, settings: Mapping[str, Any], *, max_searched: int = _MAX_SEARCHED
) -> NearDuplicates:
    """Pairs of cosine similarity `MIN_SIMILARITY` or more, by exact search in bounded time.

    Args:
        space: Features of the samples.
        settings: Settings of the run: if its neighbor graph is cached, that is used, for any number of rows.
        max_searched: Rows to search if it is not.
    """
    from headclust.graph.neighbors import cached_neighbors, is_cached, nearest_neighbors

    if space.n_samples < 2:
        return NearDuplicates((), space.n_samples)
    n_neighbors = settings.get("n_neighbors")
    rows = np.arange(space.n_samples)
    if isinstance(n_neighbors, int) and is_cached(space, n_neighbors):
        graph = cached_neighbors(space, n_neighbors)
    else:
        if space.n_samples > max_searched:
            rows = np.sort(np.random.default_rng(0).choice(space.n_samples, max_searched, replace=False))
        graph = nearest_neighbors(space.rows(rows), 1)
    nearest, similarities = graph.indices[:, 0].numpy(), graph.similarities[:, 0].numpy()
    similarity_of: dict[tuple[int, int], float] = {}
    for index in np.flatnonzero(similarities >= MIN_SIMILARITY).tolist():
        first, second = int(rows[index]), int(rows[nearest[index]])
        similarity_of.setdefault((min(first, second), max(first, second)), min(1.0, float(similarities[index])))
    pairs = sorted(
        ((first, second, similarity) for (first, second), similarity in similarity_of.items()),
        key=lambda pair: (-pair[2], pair),
    )
    return NearDuplicates(tuple(pairs), len(rows))
