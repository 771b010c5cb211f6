"""The map: positions of samples on a plane, by PCA and by UMAP."""

from __future__ import annotations

import warnings
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
_COMPONENTS, _EPOCHS = 50, 200  # of UMAP: principal components of its input, and training epochs
_MIN_SAMPLES = 16  # for UMAP
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
    from headclust.model import transformed_rows

    points = transformed_rows(model, spaces, rows)
    if not bool(points.isfinite().all()):
        raise DataError("features are too large to compute distances.")
    if len(rows) > 2 and bool(((points - points[0]).abs() <= _ROUNDING).all()):
        raise DataError("the features of all images point the same way, so that all dots would be in one place.")
    layouts = []
    plane = _components(points, 2)
    if "pca" in kinds:
        description = "Principal components: distances are as accurate as two dimensions allow."
        layouts.append(Layout("PCA", description, _on_grid(plane)))
    if "umap" in kinds and len(rows) >= _MIN_SAMPLES:
        embedded = _umap(_components(points, _COMPONENTS), plane)
        if embedded is not None:
            description = "UMAP: neighbors stay together; distances between groups and their sizes mean little."
            layouts.insert(0, Layout("UMAP", description, _on_grid(embedded)))
    return layouts


def has_umap() -> bool:
    """True if UMAP is installed."""
    from importlib.util import find_spec

    return find_spec("umap") is not None


def _components(points: torch.Tensor, count: int) -> NDArray[np.float32]:
    """The leading principal components, float32 (n_points, count); zeros if there are fewer.

    Raises:
        DataError: All points are the same up to rounding.
    """
    from headclust.model import fit_transform

    if len(points) > 2 and bool((points != points[0]).any()):
        points = fit_transform(points, "pca", n_components=count)(points)
    components = np.zeros((len(points), count), np.float32)
    width = min(count, points.shape[1])
    components[:, :width] = points[:, :width].cpu().numpy()
    return components


def _umap(points: NDArray[np.float32], start: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The UMAP embedding, started from `start` so that the same samples give the same map; None without one."""
    if not has_umap():
        return None
    with warnings.catch_warnings(action="ignore"):  # from numba, and about settings that only affect speed
        from umap import UMAP

        spread = float(np.abs(start).max()) or 1.0
        umap = UMAP(
            n_neighbors=min(15, len(points) - 1), random_state=0, n_jobs=1, n_epochs=_EPOCHS, init=start * (10 / spread)
        )
        embedded = np.asarray(umap.fit_transform(points), np.float32)
        return embedded if np.isfinite(embedded).all() else None  # NaN where many points are equal


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
