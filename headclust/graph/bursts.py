"""Bursts: slight variants of one image, such as copies saved again or pictures taken in a row, found by distances."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from headclust.features import Features
from headclust.features.source import row_blocks
from headclust.graph.neighbors import nearest_among
from headclust.graph.search import note_search, search_neighbors
from headclust.graph.unit_rows import UnitRows
from headclust.group import current

Ints = NDArray[np.int64]

_RATIO = 0.75  # largest distance inside a burst, as a share of the smallest one to any other row
_CHANCE = 0.01  # share of rows that may be in pairs of this ratio by chance: in few dimensions the ratio is smaller
_LARGEST = 128  # rows of a burst
_LISTED = 1 << 25  # neighbors of all rows: of more than 262,144 rows, bursts are smaller
_FEW, _FEW_BURSTS = 3, 2  # groups and bursts per cluster: with fewer, they may be clusters themselves
_SHARE = 0.1  # share of rows in bursts below which they do no harm, and the rows are fitted as they are
_SAMPLE = 200  # rows that are looked at first
_ROUNDING = 1e-3  # distances below which it is rounding


def find_bursts(
    *spaces: Features, n_clusters: int, largest: int = _LARGEST, device: torch.device | None = None
) -> Ints:
    """Groups of rows that are slight variants of one image: much closer to each other than to any other row.

    A group is a burst if the largest link of its minimum spanning tree, in Euclidean distance of unit rows, is at most
    0.75 times the smallest link to any row outside, in every space. Few rows in natural data are so by chance, except
    in few dimensions: among the neighbors of a point in d dimensions, the two nearest have a ratio of distances below r
    with the probability r^d (Facco et al., "Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information", 2017, https://doi.org/10.1038/s41598-017-11873-y), so r is lowered until this is 1 % at most.

    Clear clusters are isolated too. So the links of a burst are not larger than the median distance of different images
    to their nearest ones, and a burst holds at most n_samples / (3 n_clusters) rows, and `largest`. If there are no
    such bursts, it may hold `largest` rows, provided that there are 2 n_clusters of them and 3 n_clusters groups in
    all. Each row is its own group if bursts replace less than 10 % of the rows. First 200 rows are looked at, and all
    rows only if these have bursts.

    Args:
        *spaces: Feature spaces of the same different samples.
        n_clusters: Number of clusters of the fit; 1 if it is not known.
        largest: Rows of a burst, at most.
        device: Where to compute; the CPU by default.

    Returns:
        The first row of the group of each row, int64 (n_samples,).
    """
    n_samples, fewest = spaces[0].n_samples, _FEW * n_clusters
    first, most = np.arange(n_samples), min(largest, n_samples - 1, _LISTED // n_samples)
    if 1 <= fewest <= n_samples // 2 and most >= 2 and all(_may_have_bursts(space, most, device) for space in spaces):
        limits = min(most, n_samples // fewest), most
        # The groups of every space by limit, (n_spaces, 2, n_samples): a burst is one in all of them.
        parts = np.stack([_isolated_groups(space, limits, device) for space in spaces])
        for number in range(len(limits)):
            _, heads, group, sizes = np.unique(
                parts[:, number], axis=1, return_index=True, return_inverse=True, return_counts=True
            )
            enough = len(heads) >= fewest and (sizes > 1).sum() >= _FEW_BURSTS * n_clusters
            if len(heads) <= (1 - _SHARE) * n_samples and (enough or number == 0):
                first = heads[group.reshape(-1)]
                break
    # Rounding may differ between processes: that of the first one decides.
    return current().broadcast_(torch.from_numpy(first), 0).numpy()


def _may_have_bursts(space: Features, k: int, device: torch.device | None) -> bool:
    """False if less than 10 % of a sample of rows have a gap among the distances to their nearest rows."""
    distances = _nearest(space, k, device)
    return bool((distances[:, :-1] <= _ratio(distances) * distances[:, 1:]).any(1).mean() >= _SHARE)


def _ratio(distances: NDArray[np.floating]) -> float:
    """The ratio of a burst, for distances of rows to their nearest ones, ascending, (n_rows, k)."""
    ratios = distances[:, :-1] / distances[:, 1:]
    # (d_j / d_(j + 1))^(j d) is uniform, so its median is 1/2; bursts of j + 1 rows hide this for one j, not for all.
    ranks = enumerate(np.median(ratios[:, :4], axis=0).tolist(), 1)
    dimension = max((math.log(0.5) / (j * min(math.log(median), -1e-6)) for j, median in ranks), default=math.inf)
    return min(_RATIO, math.pow(_CHANCE, 1 / dimension))


def _nearest(space: Features, k: int, device: torch.device | None) -> NDArray[np.floating]:
    """Distances, ascending, of a sample of rows to the k nearest ones, (n_sampled, k)."""
    sample = np.sort(np.random.default_rng(1).permutation(space.n_samples)[:_SAMPLE])
    step = next(row_blocks(space.n_samples, space.feature_dim)).stop
    rows = UnitRows(space, device=device, rows_per_block=step)
    queries = torch.cat([rows.take(part) for part in np.split(sample, range(step, len(sample), step))])
    scores, _ = nearest_among(queries, rows, k, own=sample)
    return _distances(rows.cosines(scores))


def _distances(cosines: torch.Tensor) -> NDArray[np.floating]:
    """Euclidean distances of unit rows with these cosines: |x - y|^2 = 2 - 2 <x, y>."""
    distances: NDArray[np.floating] = (2 - 2 * cosines).clamp_min(_ROUNDING**2).sqrt().numpy()
    return distances


def _isolated_groups(space: Features, limits: tuple[int, ...], device: torch.device | None) -> Ints:
    """Number of the isolated group of each row, of at most so many rows as each limit says, (n_limits, n_samples)."""
    # Every row of a group of at most k rows has another row among its k nearest: links inside and out are exact.
    graph = search_neighbors(space, max(limits), device=device)
    note_search(graph)
    parent, height, size = _single_linkage(graph.indices.numpy(), _distances(graph.similarities))

    def groups(most: int, ratio: float, link: float) -> Ints:
        """The largest nodes whose height is at most `ratio` of that of their parent, and at most `link`."""
        isolated = (size > 1) & (size <= most) & (height <= np.minimum(link, ratio * height[parent]))
        top = np.where(isolated, np.arange(len(parent)), -1).tolist()
        for node in range(len(parent) - 1, -1, -1):  # parents have higher numbers
            above = top[parent[node]]
            top[node] = above if above >= 0 else top[node]
        numbers = np.array(top[: space.n_samples])
        return np.where(numbers >= 0, numbers, np.arange(len(numbers)))

    parts = []
    for most in limits:
        # Distances between the first rows of isolated groups, which stand for different images, (n_sampled, 2).
        heads = np.unique(groups(most, _RATIO, np.inf), return_index=True)[1]
        nearest = _nearest(space.select(np.sort(heads)), min(2, len(heads) - 1), device)
        parts.append(groups(most, _ratio(nearest), float(np.median(nearest[:, 0]))))
    return np.stack(parts)


def _single_linkage(
    neighbors: NDArray[np.int32], distances: NDArray[np.floating]
) -> tuple[Ints, NDArray[np.float64], Ints]:
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
    # Indices of 32 bits, which _LISTED neighbors do not exceed: older versions of SciPy have trees of these only.
    starts = np.arange(0, n_samples * k + 1, k, dtype=np.int32)
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
