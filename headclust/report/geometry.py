"""Which images stand for a cluster, which lie at its border, and which clusters are near each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from headclust.features import Features
from headclust.model import ClusterModel

_ROWS = 8_192
_NEAREST = 3  # clusters named as the nearest of another


class Geometry(NamedTuple):
    """Where samples lie among the clusters, in the space the heads see.

    Attributes:
        alike: Cosine similarity of every two clusters' centers, float32 (n_clusters, n_clusters); -1 with unused ones.
        own: Of each sample to its own cluster's center, float32 (n_samples,).
        other: To the nearest other center.
        neighbor: That center's cluster, int64 (n_samples,); -1 where there is no other.
    """

    alike: NDArray[np.float32]
    own: NDArray[np.float32]
    other: NDArray[np.float32]
    neighbor: NDArray[np.int64]


@dataclass(frozen=True)
class Shown:
    """The images of a cluster to show, as rows, none of them twice.

    Attributes:
        typical: Central among the cluster's surer half, the most central first.
        borderline: Nearly as near to another cluster, the nearest first.
        unsure: Of the lowest confidence, the lowest first.
    """

    typical: tuple[int, ...]
    borderline: tuple[int, ...]
    unsure: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """All of them, what matters most first."""
        return (*self.typical, *self.unsure, *self.borderline)


@torch.no_grad()
def seen(model: ClusterModel, spaces: Sequence[Features], rows: slice | NDArray[np.int64]) -> torch.Tensor:
    """Rows as the heads see them, transformed and side by side where there are several spaces, each of length one."""
    parts = [
        F.normalize(transform(space.rows(rows)), dim=-1)
        for transform, space in zip(model.transforms, spaces, strict=True)
    ]
    return torch.cat(parts, dim=1) / math.sqrt(len(parts))


def measure(model: ClusterModel, spaces: Sequence[Features], clusters: NDArray[np.int64]) -> Geometry:
    """Where samples lie among the clusters; two passes over the features, in bounded memory."""
    n_samples, n_clusters = len(clusters), model.n_clusters
    assigned = torch.from_numpy(clusters)
    sums: torch.Tensor | None = None
    for block, rows in _blocks(model, spaces, n_samples):
        if sums is None:
            sums = torch.zeros(n_clusters, rows.shape[1])
        sums.index_add_(0, assigned[block], rows)
    assert sums is not None
    used = torch.bincount(assigned, minlength=n_clusters) > 0
    centers = F.normalize(sums, dim=-1)
    alike = (centers @ centers.T).masked_fill(~(used[:, None] & used[None]), -1)
    own, other, neighbor = np.empty(n_samples, np.float32), np.empty(n_samples, np.float32), np.empty(n_samples, int)
    for block, rows in _blocks(model, spaces, n_samples):
        near = (rows @ centers.T).masked_fill(~used, -torch.inf)
        mine = assigned[block, None]
        own[block] = near.gather(1, mine)[:, 0].numpy()
        best = near.scatter(1, mine, -torch.inf).max(1)
        other[block] = best.values.numpy()
        neighbor[block] = torch.where(best.values.isfinite(), best.indices, -1).numpy()
    return Geometry(alike.numpy(), own, other, neighbor)


def _blocks(model: ClusterModel, spaces: Sequence[Features], n_samples: int) -> Iterator[tuple[slice, torch.Tensor]]:
    for start in range(0, n_samples, _ROWS):
        block = slice(start, min(start + _ROWS, n_samples))
        yield block, seen(model, spaces, block)


def choose(
    members: NDArray[np.int64], confidence: NDArray[np.float32], geometry: Geometry | None, n_each: int
) -> Shown:
    """The images of a cluster to show.

    Args:
        members: Its rows, ascending.
        confidence: Of all samples.
        geometry: Where they lie; without it the surest stand for the cluster, and none is at the border.
        n_each: Most images a kind; twice as many typical ones.
    """
    sure = confidence[members]
    candidates = members[sure >= np.median(sure)] if len(members) else members
    central = confidence if geometry is None else geometry.own
    typical = _first(candidates, -central, 2 * n_each, ())
    unsure = _first(members, confidence, n_each, typical)
    if geometry is None:
        return Shown(typical, (), unsure)
    at_border = members[geometry.neighbor[members] >= 0]
    return Shown(typical, _first(at_border, geometry.own - geometry.other, n_each, (*typical, *unsure)), unsure)


def _first(rows: NDArray[np.int64], order: NDArray[np.float32], count: int, without: Sequence[int]) -> tuple[int, ...]:
    """The `count` rows of lowest `order`, equals by row, leaving some out."""
    rows = np.setdiff1d(rows, np.array(without, np.int64))
    return tuple(rows[np.argsort(order[rows], kind="stable")][:count].tolist())


def nearest(cluster: int, geometry: Geometry) -> list[tuple[int, float]]:
    """The nearest clusters of one and how alike the centers are, nearest first."""
    alike = geometry.alike[cluster].astype(float)
    alike[cluster] = -1
    order = np.argsort(-alike, kind="stable")[:_NEAREST]
    return [(int(other), float(alike[other])) for other in order if alike[other] > -1]
