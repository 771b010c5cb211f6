"""The nearest images of each image, by the cosine similarity of their features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features

if TYPE_CHECKING:
    import torch

N_NEAREST = 6  # per image
_MAX_SEARCHED = 20_000  # rows; their search takes half a minute for 1,280 dimensions on one core


@dataclass(frozen=True)
class NearestImages:
    """The nearest of the other images, for those that were searched: all, or a random sample of many.

    Attributes:
        rows: The images that were searched, ascending, int64 (n_searched,).
        indices: Rows of the nearest among them, the nearest first, int64 (n_searched, at most `N_NEAREST`).
        similarities: Their cosine similarities, float32, of the same shape.
    """

    rows: NDArray[np.int64]
    indices: NDArray[np.int64]
    similarities: NDArray[np.float32]


def find_nearest(
    space: Features,
    settings: Mapping[str, Any],
    *,
    max_searched: int = _MAX_SEARCHED,
    every: bool = False,
    device: torch.device | None = None,
) -> NearestImages:
    """The nearest images, by exact search in bounded time; none for a single image.

    Args:
        space: Features of the samples.
        settings: Settings of the run: if its neighbor graph is cached, that is used, for any number of rows.
        max_searched: Rows to search if it is not.
        every: Search all rows even if there are more, by inverted lists.
        device: Where to search; the CPU by default.
    """
    from headclust.graph.cached import cached_neighbors, is_cached
    from headclust.graph.neighbors import nearest_neighbors

    n_neighbors, search = settings.get("n_neighbors"), settings.get("neighbor_search", "exact")
    rows = np.arange(space.n_samples)
    if len(rows) < 2:
        return NearestImages(rows, np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0), np.float32))
    if isinstance(n_neighbors, int) and is_cached(space, n_neighbors, search=search, device=device):
        graph = cached_neighbors(space, n_neighbors, search=search, device=device)
    elif every and len(rows) > max_searched:
        graph = cached_neighbors(space, N_NEAREST, search="ivf", device=device)
    else:
        if len(rows) > max_searched:
            rows = np.sort(np.random.default_rng(0).choice(space.n_samples, max_searched, replace=False))
        graph = nearest_neighbors(space.rows(rows).to(device or "cpu"), min(N_NEAREST, len(rows) - 1))
    return NearestImages(rows, rows[graph.indices[:, :N_NEAREST].numpy()], graph.similarities[:, :N_NEAREST].numpy())
