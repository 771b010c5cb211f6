"""Similarities to the cluster centers, and the images to show per cluster: typical, borderline, least confident."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features

if TYPE_CHECKING:
    import torch

    from headclust.model import ClusterModel

_ROWS = 8_192  # per block
_N_NEAREST = 3  # nearest clusters listed per cluster


class Geometry(NamedTuple):
    """Cosine similarities of samples and cluster centers, in the space the heads work in.

    Attributes:
        centers: Similarity of every two centers, float32 (n_clusters, n_clusters); -1 with an empty cluster.
        own: Similarity of each sample to the center of its cluster, float32 (n_samples,).
        other: Similarity of each sample to the nearest other center, float32 (n_samples,).
        neighbor: The cluster of that other center, int64 (n_samples,); -1 if there is only one cluster.
    """

    centers: NDArray[np.float32]
    own: NDArray[np.float32]
    other: NDArray[np.float32]
    neighbor: NDArray[np.int64]


@dataclass(frozen=True)
class ClusterImages:
    """The images to show of one cluster, as rows, each at most once.

    Attributes:
        typical: The most central among the more confident half of the cluster, in that order.
        borderline: Nearly as similar to another center as to their own, the nearest first.
        unsure: Those of the lowest confidence, the lowest first.
    """

    typical: tuple[int, ...]
    borderline: tuple[int, ...]
    unsure: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """All rows, the most important first."""
        return (*self.typical, *self.unsure, *self.borderline)


def measure(model: ClusterModel, spaces: Sequence[Features], clusters: NDArray[np.int64]) -> Geometry:
    """Similarities of samples and centers, in two passes over the features and bounded memory."""
    import torch
    import torch.nn.functional as F

    n_samples, n_clusters = len(clusters), max(model.n_clusters, int(clusters.max()) + 1)
    assigned = torch.from_numpy(clusters).to(model.device)
    # First pass: a center is the normalized sum of the unit rows of its cluster, (n_clusters, dim).
    sums: torch.Tensor | None = None
    for block, rows in _blocks(model, spaces, n_samples):
        if sums is None:
            sums = torch.zeros(n_clusters, rows.shape[1], device=rows.device)
        sums.index_add_(0, assigned[block], rows)
    assert sums is not None
    used = torch.bincount(assigned, minlength=n_clusters) > 0
    centers = F.normalize(sums, dim=-1)
    center_similarities = (centers @ centers.T).masked_fill(~(used[:, None] & used[None]), -1)
    # Second pass: the similarity of each row to its own center, and the largest to any other.
    own, other, neighbor = np.empty(n_samples, np.float32), np.empty(n_samples, np.float32), np.empty(n_samples, int)
    for block, rows in _blocks(model, spaces, n_samples):
        similarities = (rows @ centers.T).masked_fill(~used, -torch.inf)  # (block, n_clusters)
        own_column = assigned[block, None]
        own[block] = similarities.gather(1, own_column)[:, 0].cpu().numpy()
        best = similarities.scatter(1, own_column, -torch.inf).max(1)
        other[block] = best.values.cpu().numpy()
        neighbor[block] = torch.where(best.values.isfinite(), best.indices, -1).cpu().numpy()
    return Geometry(center_similarities.cpu().numpy(), own, other, neighbor)


def _blocks(model: ClusterModel, spaces: Sequence[Features], n_samples: int) -> Iterator[tuple[slice, torch.Tensor]]:
    from headclust.model import transformed_rows

    for start in range(0, n_samples, _ROWS):
        block = slice(start, min(start + _ROWS, n_samples))
        yield block, transformed_rows(model, spaces, block)


def select_images(
    members: NDArray[np.int64], confidence: NDArray[np.float32], geometry: Geometry | None, n_each: int
) -> ClusterImages:
    """The images to show of one cluster.

    Args:
        members: Rows of the cluster, ascending.
        confidence: Confidence of all samples.
        geometry: Similarities of all samples; without it the typical images are the most confident ones, and none is
            borderline.
        n_each: Images per kind at most; twice as many typical ones.
    """
    member_confidence = confidence[members]
    candidates = members[member_confidence >= np.median(member_confidence)] if len(members) else members
    centrality = confidence if geometry is None else geometry.own
    typical = _first(candidates, -centrality, 2 * n_each, ())
    unsure = _first(members, confidence, n_each, typical)
    if geometry is None:
        return ClusterImages(typical, (), unsure)
    at_border = members[geometry.neighbor[members] >= 0]
    borderline = _first(at_border, geometry.own - geometry.other, n_each, (*typical, *unsure))
    return ClusterImages(typical, borderline, unsure)


def _first(rows: NDArray[np.int64], order: NDArray[np.float32], count: int, without: Sequence[int]) -> tuple[int, ...]:
    """The `count` rows of lowest `order`, without those in `without`; ties: the lower row."""
    rows = np.setdiff1d(rows, np.array(without, np.int64))
    return tuple(rows[np.argsort(order[rows], kind="stable")][:count].tolist())


def nearest_clusters(cluster: int, geometry: Geometry) -> list[tuple[int, float]]:
    """The clusters nearest to one, with the cosine similarity of the centers, nearest first."""
    similarities = geometry.centers[cluster].astype(float)
    similarities[cluster] = -1
    order = np.argsort(-similarities, kind="stable")[:_N_NEAREST]
    return [(int(other), float(similarities[other])) for other in order if similarities[other] > -1]
