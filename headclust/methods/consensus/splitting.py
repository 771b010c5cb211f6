"""Groups that a person has asked to split, cut as the default cuts all samples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.group import current
from headclust.methods.consensus.partitions import (
    GRAPH_SIZES,
    Partitions,
    find_partitions,
    neighbors_within_cluster,
)
from headclust.methods.constraints import Constraints

if TYPE_CHECKING:
    from torch import Tensor


def split_groups(rows: Tensor, constraints: Constraints, stage: Partitions, seed: int) -> Constraints:
    """The constraints with their splits done: each group is cut as the default cuts all samples.

    The part with the group's pinned samples, else the largest, keeps the group's number.

    Args:
        rows: Unit rows (n_samples, dim).
        constraints: Of these samples.
        stage: The settings of the cuts.
        seed: The fit's seed.

    Raises:
        DataError: A group has fewer samples than parts.
    """
    groups = constraints.groups.copy()
    for group, parts in constraints.splits.items():
        members = np.flatnonzero(constraints.groups == group)
        if len(members) < len(parts):
            raise DataError(f"a group of {len(members)} different images cannot be split into {len(parts)}.")
        clusters = _cut(rows[members], len(parts), stage, seed)
        sizes = np.bincount(clusters[clusters >= 0], minlength=len(parts))
        fixed = clusters[(constraints.pinned[members] == group) & (clusters >= 0)]
        sizes += len(members) * np.bincount(fixed, minlength=len(parts))
        order = np.argsort(-sizes, kind="stable")
        number = np.full(len(parts) + 1, -1, np.int64)
        number[order] = parts
        groups[members] = number[clusters]
    return replace(constraints, groups=groups)


def _cut(rows: Tensor, n_parts: int, stage: Partitions, seed: int) -> NDArray[np.int64]:
    """The parts of samples by the cut with the highest neighbor information; -1 in small components of the graph."""
    from headclust.graph.neighbors import shared_neighbors
    from headclust.model import ensemble

    if len(rows) <= n_parts:
        return np.arange(len(rows))
    k = neighbors_within_cluster(stage.n_neighbors, len(rows), n_parts)
    graph = shared_neighbors(rows, min(math.ceil(k * GRAPH_SIZES[-1]), len(rows) - 1), current())
    cuts, samples = find_partitions(rows, graph, replace(stage, n_clusters=n_parts), k, seed)
    clusters = np.full((len(cuts), len(rows) + 1), n_parts, np.int64)
    clusters[:, samples.numpy()] = cuts.numpy()
    neighbors = graph.indices.numpy()
    best = max(clusters[:, :-1], key=lambda cut: ensemble.neighbor_information(cut, neighbors, n_parts + 1))
    return np.where(best < n_parts, best, -1)
