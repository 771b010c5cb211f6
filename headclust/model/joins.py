"""The joins of the clusters of a fit, from fine to coarse, by their centers. No labels are used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features
from headclust.features.rows import unit_length
from headclust.features.source import row_blocks
from headclust.model.model import ClusterModel
from headclust.model.transform import transformed_rows

MOST_CLUSTERS = 10_000  # whose distances take 400 MB
_SAMPLES, _LEAST = 65_536, 16  # samples that centers are computed from: in all, and at least per cluster


def join_clusters(
    model: ClusterModel, spaces: Sequence[Features], clusters: NDArray[np.int64]
) -> list[tuple[int, int, float]]:
    """The joins of the clusters that have samples, from fine to coarse: (cluster kept, cluster joined to it, distance).

    Ward's linkage (https://doi.org/10.1080/01621459.1963.10500845) of the clusters' centers, which are unit vectors in
    the space that the heads work in, all with the same weight. The union has the id of the part with more samples;
    ties: the smaller id. The distances ascend.

    Args:
        model: The fitted model.
        spaces: The fitted samples, one per space of the model.
        clusters: The cluster of each sample, int64 (n_samples,); at most `MOST_CLUSTERS` are used.
    """
    from scipy.cluster.hierarchy import linkage

    sizes = np.bincount(clusters, minlength=model.n_clusters)
    used = np.flatnonzero(sizes)
    if len(used) < 2:
        return []
    # Rows of `merged`: two nodes, their distance, and a count; node i < n is cluster used[i], the others are unions.
    merged = linkage(_centers(model, spaces, clusters, sizes)[used], method="ward")
    ids, weights = used.tolist(), sizes[used].tolist()
    joins = []
    for first, second, distance, _ in merged.tolist():
        parts = sorted((int(first), int(second)), key=lambda node: (-weights[node], ids[node]))
        union, joined = (ids[node] for node in parts)
        joins.append((union, joined, float(distance)))
        ids.append(union)
        weights.append(weights[parts[0]] + weights[parts[1]])
    return joins


def _centers(
    model: ClusterModel, spaces: Sequence[Features], clusters: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Center of each cluster, a unit vector, float64 (n_clusters, dim); zeros for an empty cluster.

    Of large clusters only some samples are used, at even steps, so that time and memory have a bound.
    """
    import torch

    most = max(_LEAST, _SAMPLES // int((sizes > 0).sum()))
    order, starts = np.argsort(clusters, kind="stable"), np.cumsum(sizes) - sizes
    rows = np.sort(
        np.concatenate(
            [
                order[start + np.arange(min(size, most)) * size // min(size, most)]
                for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
                if size
            ]
        )
    )
    assigned = torch.from_numpy(clusters[rows])
    sums: torch.Tensor | None = None
    for block in row_blocks(len(rows), max(space.feature_dim for space in spaces)):
        unit_rows = transformed_rows(model, spaces, rows[block]).double().cpu()
        if sums is None:
            sums = unit_rows.new_zeros(len(sizes), unit_rows.shape[1])
        sums.index_add_(0, assigned[block], unit_rows)
    assert sums is not None
    # Features too large to compute with have no direction.
    centers: NDArray[np.float64] = unit_length(torch.nan_to_num(sums, 0, 0, 0).float()).double().numpy()
    return centers
