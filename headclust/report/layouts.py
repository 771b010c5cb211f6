"""The map: samples on a plane, so that what looks alike lies together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from headclust.features import Features
from headclust.model import ClusterModel, fit_transform
from headclust.report.geometry import seen

MOST = 6_000  # points on the map
WIDTH, HEIGHT = 4_000, 2_600  # of the grid they lie on
_MARGIN = 0.035
_COMPONENTS, _EPOCHS = 50, 200  # that UMAP is given
_FEWEST = 16  # samples that UMAP is asked to lay out
_LABEL = (150, 90)  # room that a cluster's number takes


@dataclass(frozen=True)
class Layout:
    """Where points lie: `name`, what it `means`, and `places`, int64 (n_points, 2), x to the right and y down."""

    name: str
    means: str
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Label:
    """A cluster's number on the map; `crowded` where a larger cluster's is in the way."""

    cluster: int
    x: int
    y: int
    crowded: bool


def sample(clusters: NDArray[np.int64], most: int = MOST) -> NDArray[np.int64]:
    """Rows to show, by cluster and then ascending: all of them, or a random `most` with a share of each cluster.

    Small clusters keep more than their share, so that none is lost.
    """
    rows = np.argsort(clusters, kind="stable")
    if len(clusters) <= most:
        return rows
    sizes = np.bincount(clusters)
    used = int((sizes > 0).sum())
    least = max(1, most // (4 * used))
    kept = np.minimum(sizes, least + sizes * max(0, most - least * used) // len(clusters))
    generator = np.random.default_rng(0)
    chosen = []
    for cluster in np.flatnonzero(sizes):
        members = rows[np.searchsorted(clusters[rows], cluster) :][: sizes[cluster]]
        chosen.append(np.sort(generator.choice(members, kept[cluster], replace=False)))
    return np.concatenate(chosen)


def lay_out(
    model: ClusterModel, spaces: Sequence[Features], rows: NDArray[np.int64], kinds: Sequence[str]
) -> list[Layout]:
    """Layouts of some samples, of what the model's heads see of them.

    Args:
        model: The fitted pipeline.
        spaces: The features.
        rows: Samples to lay out.
        kinds: "pca", and "umap", which is left out where it is not installed or there are too few samples.
    """
    points = seen(model, spaces, rows)
    layouts = []
    plane = _components(points, 2)
    if "pca" in kinds:
        means = "Principal components: distances are true as far as two dimensions can hold them."
        layouts.append(Layout("PCA", means, _on_grid(plane)))
    if "umap" in kinds and len(rows) >= _FEWEST:
        found = _umap(_components(points, _COMPONENTS), plane)
        if found is not None:
            means = "UMAP: neighbors stay together; how far groups are apart and how large they look means little."
            layouts.insert(0, Layout("UMAP", means, _on_grid(found)))
    return layouts


def has_umap() -> bool:
    """Whether UMAP is installed."""
    from importlib.util import find_spec

    return find_spec("umap") is not None


def _components(points: torch.Tensor, count: int) -> NDArray[np.float32]:
    """The leading principal components, zeros where there are fewer."""
    if len(points) > 2 and bool((points != points[0]).any()):
        points = fit_transform(points, "pca", n_components=count)(points)
    places = np.zeros((len(points), count), np.float32)
    width = min(count, points.shape[1])
    places[:, :width] = points[:, :width].numpy()
    return places


def _umap(points: NDArray[np.float32], start: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """A layout that begins with `start`, so that the same samples give the same map."""
    if not has_umap():
        return None
    with warnings.catch_warnings(action="ignore"):  # of numba and of settings that only cost time
        from umap import UMAP

        spread = float(np.abs(start).max()) or 1.0
        umap = UMAP(
            n_neighbors=min(15, len(points) - 1), random_state=0, n_jobs=1, n_epochs=_EPOCHS, init=start * (10 / spread)
        )
        return np.asarray(umap.fit_transform(points), np.float32)


def _on_grid(places: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places on the grid; each axis is stretched to fill it."""
    low, high = places.min(0), places.max(0)
    share = (places - low) / np.where(high > low, high - low, 1) + np.where(high > low, 0, 0.5)
    share[:, 1] = 1 - share[:, 1]
    room = np.array([WIDTH, HEIGHT])
    grid: NDArray[np.int64] = np.rint((_MARGIN + share * (1 - 2 * _MARGIN)) * room).astype(np.int64)
    return grid


def labels(layout: Layout, clusters: NDArray[np.int64]) -> list[Label]:
    """Where the clusters' numbers go: each at the median of its points, the largest cluster first."""
    placed: list[Label] = []
    sizes = np.bincount(clusters)
    for cluster in sorted(np.flatnonzero(sizes).tolist(), key=lambda cluster: (-sizes[cluster], cluster)):
        x, y = np.median(layout.places[clusters == cluster], axis=0).astype(int).tolist()
        free = all(abs(x - one.x) > _LABEL[0] or abs(y - one.y) > _LABEL[1] for one in placed if not one.crowded)
        placed.append(Label(cluster, x, y, not free))
    return placed
