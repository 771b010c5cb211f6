"""Pairs of images that are nearly the same, as far as the features tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headclust.features import Features
from headclust.graph.neighbors import cached_neighbors, is_cached, nearest_neighbors

ALIKE = 0.97  # cosine similarity; of 10,000 different photos not one pair reached it
_MOST = 20_000  # rows that are searched: half a minute for 1,280 dimensions on one core


@dataclass(frozen=True)
class NearDuplicates:
    """Near-duplicates.

    Attributes:
        pairs: (row, row, cosine similarity), the most alike first; each image with its nearest one.
        n_searched: Images that were compared with each other: a random sample where there are very many.
    """

    pairs: tuple[tuple[int, int, float], ...]
    n_searched: int


def find_near_duplicates(space: Features, settings: Mapping[str, Any], *, most: int = _MOST) -> NearDuplicates:
    """Pairs of cosine similarity `ALIKE` or more; exact, in bounded time.

    Args:
        space: The samples.
        settings: The run's: where it kept a graph of nearest neighbors, that is used, whatever its size.
        most: Rows to search where it did not.
    """
    if space.n_samples < 2:
        return NearDuplicates((), space.n_samples)
    kept = settings.get("n_neighbors")
    rows = np.arange(space.n_samples)
    if isinstance(kept, int) and is_cached(space, kept):
        graph = cached_neighbors(space, kept)
    else:
        if space.n_samples > most:
            rows = np.sort(np.random.default_rng(0).choice(space.n_samples, most, replace=False))
        graph = nearest_neighbors(space.rows(rows), 1)
    first, alike = graph.indices[:, 0].numpy(), graph.similarities[:, 0].numpy()
    found: dict[tuple[int, int], float] = {}
    for here in np.flatnonzero(alike >= ALIKE).tolist():
        one, two = int(rows[here]), int(rows[first[here]])
        found.setdefault((min(one, two), max(one, two)), min(1.0, float(alike[here])))
    pairs = sorted(((one, two, sure) for (one, two), sure in found.items()), key=lambda pair: (-pair[2], pair))
    return NearDuplicates(tuple(pairs), len(rows))
