"""Bursts: slight variants of one image, such as copies saved again or pictures taken in a row, found by distances alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from headclust.features import Features
from headclust.features.source import row_blocks
from headclust.graph.neighbors import nearest_among
from headclust.graph.search import search_neighbors
from headclust.graph.unit_rows import UnitRows
from headclust.group import current

Ints = NDArray[np.int64]

_RATIO = 0.75  # largest distance inside a burst, as a share of the smallest one to any other row
_CHANCE = 0.01  # share of rows that may be in pairs of this ratio by chance: in few dimensions the ratio is smaller
_LARGEST = 128  # rows of a burst
_FEW = 3  # groups per cluster up to which, and groups in a cluster of mean size down to which, they may be clusters
_SHARE = 0.1  # share of rows in bursts below which they do no harm, and the rows are fitted as they are
_SAMPLE = 200  # rows that are looked at first
_ROUNDING = 1e-3  # distances below which it is rounding


def find_bursts(*spaces: Features, n_clusters: int, device: torch.device | None = None) -> Ints:
    """Groups of rows that are slight variants of one image: much closer to each other than to any other row.

    A group is a burst if the largest link of its minimum spanning tree, in Euclidean distance of unit rows, is at most
    0.75 times the smallest link to any row outside, in every space. Few rows in natural data are so by chance, except
    in few dimensions: among the neighbors of a point in d dimensions, the two nearest have a ratio of distances below r
    with the probability r^d (Facco et al., "Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information", 2017, https://doi.org/10.1038/s41598-017-11873-y), so r is lowered until this is 1 % at most.

    Clear clusters are isolated too. So a burst holds at most a third of n_samples / n_clusters rows, and 128; and each
    row is its own group if there are fewer than 3 n_clusters bursts, or if they replace less than 10 % of the rows. Of
    large data, 200 rows are looked at first, and all rows only if some of these are in bursts.

    Args:
        *spaces: Feature spaces of the same different samples.
        n_clusters: Number of clusters of the fit.
        device: Where to compute; the CPU by default.

    Returns:
        The first row of the group of each row, int64 (n_samples,).
    """
    n_samples = spaces[0].n_samples
    most = min(_LARGEST, n_samples // (_FEW * n_clusters)) if n_clusters > 0 else 0
    first = np.arange(n_samples)
    if most >= 2 and all(_may_have_bursts(space, most, device) for space in spaces):
        # The groups of every space, (n_spaces, n_samples): a burst is one in all of them.
        parts = np.stack([_isolated_groups(space, most, device) for space in spaces])
        _, heads, group, sizes = np.unique(parts, axis=1, return_index=True, return_inverse=True, return_counts=True)
        if (sizes > 1).sum() >= _FEW * n_clusters and len(heads) <= (1 - _SHARE) * n_samples:
            first = heads[group.reshape(-1)]
    # Rounding may differ between processes: that of the first one decides.
    return current().broadcast_(torch.from_numpy(first), 0).numpy()


def _may_have_bursts(space: Features, most: int, device: torch.device | None) -> bool:
    """False if less than 10 % of a sample of rows have a gap among the distances to their nearest rows."""
    distances = _nearest(space, most, device)
    return bool(((distances[:, :-1] <= _RATIO * distances[:, 1:]).any(1)).mean() >= _SHARE)


def _nearest(space: Features, k: int, device: torch.device | None) -> NDArray[np.floating]:
    """Distances, ascending, of a sample of rows to the k nearest ones, (n_sampled, k)."""
    sample = np.sort(np.random.default_rng(1).permutation(space.n_samples)[:_SAMPLE])
    blocks = [*row_blocks(space.n_samples, space.feature_dim)]
    rows = UnitRows(space, device=device, rows_per_block=blocks[0].stop)
    scores, _ = nearest_among(torch.cat([rows.take(sample[block]) for block in blocks]), rows, k, own=sample)
    return _distances(rows.cosines(scores))


def _distances(cosines: torch.Tensor) -> NDArray[np.floating]:
    """Euclidean distances of unit rows with these cosines: |x - y|^2 = 2 - 2 <x, y>."""
    distances: NDArray[np.floating] = (2 - 2 * cosines).clamp_min(_ROUNDING**2).sqrt().numpy()
    return distances


def _isolated_groups(space: Features, most: int, device: torch.device | None) -> Ints:
    """Number of the isolated group of each row, of 1 to `most` rows, int64 (n_samples,)."""
    # Every row of a group of at most `most` has another row among its `most` nearest: links inside and out are exact.
    graph = search_neighbors(space, most, device=device)
    parent, height, size = _single_linkage(graph.indices.numpy(), _distances(graph.similarities))
    small = (size > 1) & (size <= most)

    def groups(ratio: float) -> Ints:
        """The largest nodes whose height is at most `ratio` of that of their parent."""
        isolated = small & (height <= ratio * height[parent])
        top = np.where(isolated, np.arange(len(parent)), -1).tolist()
        for node in range(len(parent) - 1, -1, -1):  # parents have higher numbers
            above = top[parent[node]]
            top[node] = above if above >= 0 else top[node]
        rows = np.array(top[: space.n_samples])
        return np.where(rows >= 0, rows, np.arange(len(rows)))

    at_most = groups(_RATIO)
    # Dimension of the first rows of these groups: the median of (d_1 / d_2)^d is 1/2.
    heads = np.unique(at_most, return_index=True)[1]
    nearest = _nearest(space.select(np.sort(heads)), 2, device)
    dimension = math.log(0.5) / min(math.log(np.median(nearest[:, 0] / nearest[:, 1])), -1e-6)
    return groups(min(_RATIO, _CHANCE ** (1 / dimension)))


def _single_linkage(neighbors: NDArray[np.int32], distances: NDArray[np.floating]) -> tuple[Ints, ...]:
    """Parent, height and number of rows of each node of the single-linkage tree of a graph.

    Args:
        neighbors: Shape (n_samples, k).
        distances: Theirs, as `neighbors`, above 0.

    Returns:
        Arrays (2 n_samples - 1,): first the rows, of height 0, then groups in the order in which they join. A node
        without a parent has -1.
    """
    from scipy import sparse

    n_samples, k = neighbors.shape
    starts = np.arange(0, n_samples * k + 1, k)
    graph = sparse.csr_array((distances.ravel(), neighbors.ravel(), starts), shape=(n_samples, n_samples))
    tree = sparse.csgraph.minimum_spanning_tree(graph).tocoo()
    order = np.argsort(tree.data, kind="stable")
    parent, root = [-1] * (2 * n_samples - 1), list(range(2 * n_samples - 1))
    height, size = np.zeros(len(parent)), [1] * n_samples + [0] * (n_samples - 1)
    height[n_samples : n_samples + len(order)] = tree.data[order]
    for node, ends in enumerate(zip(tree.row[order].tolist(), tree.col[order].tolist(), strict=True), n_samples):
        for end in ends:
            while root[end] != end:  # the group that the row is in so far
                root[end] = end = root[root[end]]
            parent[end] = root[end] = node
            size[node] += size[end]
    return np.array(parent), height, np.array(size)
