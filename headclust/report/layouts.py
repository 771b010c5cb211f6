"""The map: positions of samples on a plane, by PCA and by UMAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.features import Features

if TYPE_CHECKING:
    import torch

    from headclust.model import ClusterModel

MAX_POINTS = 6_000  # on the map
WIDTH, HEIGHT = 4_000, 2_600  # of the grid of positions
_MARGIN = 0.035  # share of the grid
_NEIGHBORS = 15  # of UMAP
_ROUNDING = 1e-6  # difference of two unit rows below which it is rounding
_LABEL = (150, 90)  # width and height of a cluster's number on the grid


@dataclass(frozen=True)
class Layout:
    """Positions of points: int64 (n_points, 2), x to the right and y down; with a name and a line that explains it."""

    name: str
    description: str
    positions: NDArray[np.int64]


@dataclass(frozen=True)
class Label:
    """Position of a cluster's number on the map; `crowded` if it would overlap the number of a larger cluster."""

    cluster: int
    x: int
    y: int
    crowded: bool


def sample_rows(clusters: NDArray[np.int64], max_points: int = MAX_POINTS) -> NDArray[np.int64]:
    """Rows to show, by cluster and then ascending: all, or a random sample of at most `max_points`.

    Small clusters get more than their share of the sample, so that none is lost.
    """
    rows = np.argsort(clusters, kind="stable")
    if len(clusters) <= max_points:
        return rows
    sizes = np.bincount(clusters)
    n_used = int((sizes > 0).sum())
    minimum = max(1, max_points // (4 * n_used))
    # Points per cluster: the minimum, and a share of the rest in proportion to its size.
    counts = np.minimum(sizes, minimum + sizes * max(0, max_points - minimum * n_used) // len(clusters))
    generator = np.random.default_rng(0)
    chosen = []
    for cluster in np.flatnonzero(sizes):
        members = rows[np.searchsorted(clusters[rows], cluster) :][: sizes[cluster]]
        chosen.append(np.sort(generator.choice(members, counts[cluster], replace=False)))
    return np.concatenate(chosen)


def make_layouts(
    model: ClusterModel, spaces: Sequence[Features], rows: NDArray[np.int64], kinds: Sequence[str]
) -> list[Layout]:
    """Layouts of some samples by their transformed features, UMAP first.

    Args:
        model: The fitted pipeline.
        spaces: The features.
        rows: Samples to lay out.
        kinds: "pca", and "umap", which is left out if it is not installed or there are too few samples.

    Raises:
        DataError: The samples have no positions on a plane: their transformed features are all the same, or not
            finite.
    """
    from headclust.graph.search import search_neighbors
    from headclust.graph.umap import has_umap, umap_positions
    from headclust.model import transformed_rows

    points = transformed_rows(model, spaces, rows)
    if not bool(points.isfinite().all()):
        raise DataError("features are too large to compute distances.")
    if len(rows) > 2 and bool(((points - points[0]).abs() <= _ROUNDING).all()):
        raise DataError("the features of all images point the same way, so that all dots would be in one place.")
    layouts = []
    plane = _plane(points)
    if "pca" in kinds:
        description = "Principal components: distances are as accurate as two dimensions allow."
        layouts.append(Layout("PCA", description, _on_grid(plane)))
    if "umap" in kinds and has_umap() and len(rows) > _NEIGHBORS:
        embedded = umap_positions(search_neighbors(points, _NEIGHBORS), plane)
        if embedded is not None:
            description = "UMAP: neighbors stay together; distances between groups and their sizes mean little."
            layouts.insert(0, Layout("UMAP", description, _on_grid(embedded)))
    return layouts


def _plane(points: torch.Tensor) -> NDArray[np.float32]:
    """The first two principal components, float32 (n_points, 2); zeros if there are fewer.

    Raises:
        DataError: All points are the same up to rounding.
    """
    from headclust.model import fit_transform

    if len(points) > 2 and bool((points != points[0]).any()):
        points = fit_transform(points, "pca", n_components=2)(points)
    plane = np.zeros((len(points), 2), np.float32)
    plane[:, : points.shape[1]] = points[:, :2].cpu().numpy()
    return plane


def _on_grid(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions on the grid; each axis is stretched to fill it."""
    low, high = points.min(0), points.max(0)
    share = (points - low) / np.where(high > low, high - low, 1) + np.where(high > low, 0, 0.5)
    share[:, 1] = 1 - share[:, 1]
    size = np.array([WIDTH, HEIGHT])
    positions: NDArray[np.int64] = np.rint((_MARGIN + share * (1 - 2 * _MARGIN)) * size).astype(np.int64)
    return positions


def cluster_labels(layout: Layout, clusters: NDArray[np.int64]) -> list[Label]:
    """Positions of the clusters' numbers: each at the median of its points, the largest cluster first."""
    placed: list[Label] = []
    sizes = np.bincount(clusters)
    for cluster in sorted(np.flatnonzero(sizes).tolist(), key=lambda cluster: (-sizes[cluster], cluster)):
        x, y = np.median(layout.positions[clusters == cluster], axis=0).astype(int).tolist()
        free = all(
            abs(x - label.x) > _LABEL[0] or abs(y - label.y) > _LABEL[1] for label in placed if not label.crowded
        )
        placed.append(Label(cluster, x, y, not free))
    return placed
