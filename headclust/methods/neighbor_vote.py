"""For methods that only partition the fitted samples: neighbors vote on new samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features
from headclust.methods.result import FitResult, result_of

if TYPE_CHECKING:
    import torch

    from headclust.graph.neighbors import NeighborGraph
    from headclust.model import ClusterModel
    from headclust.model.model import Assignment

_ROWS = 2_048
# Squared distance, as a share of the largest squared length, a hundred times that up to which the heads take a sample
# for a fitted one; and components in which it is bounded from below.
_CROWDED, _BOUNDING = 1e-4, 8


def conclude_partition(
    space: Features,
    assignments: Sequence[NDArray[np.int64]],
    *,
    rows: NDArray[np.int64],
    n_clusters: int,
    n_votes: int,
    temperature: float,
    n_components: int,
    losses: list[float],
    history: list[dict[str, Any]],
    graph: NeighborGraph | None = None,
    device: torch.device | None = None,
) -> FitResult:
    """The result of a fit that partitioned samples, with a model that stores them and assigns by votes of neighbors.

    The partitioned samples keep their clusters, in the result and in later predictions, except samples that coincide in
    the stored principal components: they get the same cluster.

    Args:
        space: The fitted samples.
        assignments: Clusters by each head, int64 (len(rows),).
        rows: The samples that were partitioned, int64; they vote on the others.
        n_clusters: Number of clusters, used or not.
        n_votes: Fitted samples that vote on a sample.
        temperature: Decrease in cosine similarity over which the weight of a vote falls to 1/e.
        n_components: Principal components of the unit features that the model stores.
        losses: Training loss of each head.
        history: Records of the fit.
        graph: Nearest neighbors of the samples, if they have been searched, at least `n_votes` if there are so many.
            Then they vote on the partitioned samples: their confidence in the result is that of the votes among them,
            and differs a little from that of the model, whose votes are those of the nearest in the components.
        device: Where to search for neighbors; the CPU by default.
    """
    import torch

    from headclust.model import ClusterModel, ensemble, fit_transform
    from headclust.model.heads.neighbors import NeighborHeads

    # A fifth of EfficientNet-Lite0's 1,280 dimensions, with equally good votes: docs/methods/spectral.md.
    transform = fit_transform(space, "pca", n_components=n_components)
    assert transform.matrix is not None
    partition = np.stack(assignments)
    stored = transform.rows(space.select(rows))[None]
    device = device or torch.device("cpu")
    # Half precision, unless samples lie so close together that it mixes them up.
    for dtype in (torch.float16, torch.float32):
        heads = NeighborHeads(
            assignments=torch.from_numpy(partition).int(),
            features=stored.to(dtype),
            n_clusters=n_clusters,
            n_votes=n_votes,
            # Squared distances of unit rows are 2 (1 - cosine similarity), and pca scales all components alike.
            temperature=temperature * float(transform.matrix[:, 0].square().sum()),
        )
        model = ClusterModel((transform,), heads, (ensemble.choose(losses),), temperature=1.0).to(device)
        assigned = model.assign(space) if graph is None else _assign_by_graph(model, space, rows, graph)
        if np.array_equal(assigned.by_head[:, rows], partition):
            break
    return result_of(model, assigned, losses, history)


def _assign_by_graph(model: ClusterModel, space: Features, rows: NDArray[np.int64], graph: NeighborGraph) -> Assignment:
    """Clusters of all samples, by the votes of graph neighbors where the model need not search for voters.

    It searches for those on samples that were not partitioned, have too few partitioned neighbors, or are so close to
    another that rounding could mix them up, so the clusters are those that it predicts.
    """
    import torch

    from headclust.model.heads.neighbors import NeighborHeads
    from headclust.model.model import Assignment

    heads, (transform,), n_samples = model.heads, model.transforms, space.n_samples
    assert isinstance(heads, NeighborHeads)
    # Numbers of the voters on each partitioned sample, itself first, (n_rows, 1 + k); -1 if it was not partitioned.
    number = np.full(n_samples, -1)
    number[rows] = np.arange(len(rows))
    voters = number[np.column_stack((rows, graph.indices.numpy()[rows]))]
    enough = (voters >= 0).sum(1) >= min(heads.n_votes, len(rows))
    clear = np.flatnonzero(enough & ~_is_crowded(heads.features[0].float().cpu().numpy()))
    by_head = np.empty((model.n_heads, n_samples), dtype=np.int32)
    clusters, confidence = np.empty(n_samples, dtype=np.int64), np.empty(n_samples, dtype=np.float32)
    for start in range(0, len(clear), _ROWS):
        block = clear[start : start + _ROWS]
        samples = rows[block]
        points = transform(space.rows(samples).to(model.device))
        shares = heads.shares_among(points, torch.from_numpy(voters[block]).to(model.device))
        # Probabilities as in `ClusterModel.probs`, (heads, n, clusters).
        probs = torch.softmax(shares.log() / model.temperature, dim=-1)
        by_head[:, samples] = probs.argmax(-1).cpu()
        best = probs[list(model.used_heads)].mean(0).max(-1)
        clusters[samples], confidence[samples] = best.indices.cpu(), best.values.cpu()
    others = np.setdiff1d(np.arange(n_samples), rows[clear])
    if len(others):
        searched = model.assign(space.select(others))
        by_head[:, others], clusters[others] = searched.by_head, searched.clusters
        confidence[others] = searched.confidence
    return Assignment(clusters, confidence, by_head)


def _is_crowded(stored: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True for rows (n, dim) that may have another row so near that the model takes one for the other, (n,).

    Distances in the first components are lower bounds, and a tree finds small ones among few.
    """
    from scipy.spatial import KDTree

    squared = max(float(np.square(block).sum(1).max()) for block in np.array_split(stored, -(-len(stored) // _ROWS)))
    nearby = math.sqrt(_CROWDED * max(squared, stored.shape[1]))
    points = stored[:, :_BOUNDING].astype(np.float64)
    distances, _ = KDTree(points).query(points, k=[2], distance_upper_bound=nearby)
    crowded: NDArray[np.bool_] = np.isfinite(distances[:, 0])
    return crowded
