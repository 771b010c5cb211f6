"""Partitions of one neighbor graph into many numbers of clusters, all from one eigendecomposition, and their scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from headclust.features.rows import unit_length
from headclust.graph.eigenvectors import leading_eigenvectors
from headclust.graph.matrix import affinity, diffusion_map, normalized
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods.lloyd import Restart, restarts
from headclust.progress import bar
from headclust.seeding import RESTART_STREAM, stream_seed

# As the default cuts: temperature of the edges, steps of the random walk, eigenvectors per cluster.
_TEMPERATURE, _DIFFUSION, _VECTORS = 0.1, 6, 1.3
_MAX_ITER, _TOLERANCE = 50, 1e-4


class Scores(NamedTuple):
    """Modularity, prediction strength and silhouette of a cut; see `suggestion.Curves`."""

    modularity: float
    prediction_strength: float
    silhouette: float


@dataclass(frozen=True, eq=False)
class Cuts:
    """Partitions into several numbers of clusters, with their scores.

    Attributes:
        assignments: Clusters of the samples per number of clusters, int64 (n_samples,).
        scores: Scores per number of clusters.
        eigenvalues: Leading eigenvalues of the normalized graph, descending, (n_vectors,).
    """

    assignments: dict[int, NDArray[np.int64]] = field(repr=False)
    scores: dict[int, Scores]
    eigenvalues: Tensor = field(repr=False)


def cut(
    rows: Tensor,
    counts: Sequence[int],
    is_enough: Callable[[Mapping[int, Scores]], bool],
    *,
    n_neighbors: int,
    seed: int,
    tries: int,
    splits: int,
) -> Cuts:
    """Cut the neighbor graph of unit rows into each number of clusters.

    Args:
        rows: Unit rows (n_samples, dim).
        counts: Numbers of clusters, ascending, below n_samples / 2.
        is_enough: True if, with these scores, larger numbers need not be tried.
        n_neighbors: Neighbors in the graph.
        seed: Seed of the starts and of the halves.
        tries: Starts of k-means per number; the one with the lowest inertia counts.
        splits: Pairs of random halves for the prediction strength.
    """
    n_samples = len(rows)
    weights = affinity(nearest_neighbors(rows, n_neighbors), temperature=_TEMPERATURE)
    n_vectors = min(math.ceil(_VECTORS * counts[-1]), n_samples - 1)
    start = stream_seed(seed, RESTART_STREAM)
    values, vectors = leading_eigenvectors(normalized(weights), n_vectors, seed=start, device=rows.device)
    map_ = diffusion_map(values, vectors, steps=_DIFFUSION)
    halves = _halves(n_samples, splits, seed)
    assignments, scores = dict[int, NDArray[np.int64]](), dict[int, Scores]()
    with bar("cutting the graph", len(counts)) as advance:
        for count in counts:
            # Coordinates (n_samples, n_vectors) of the cut, at unit length.
            points = unit_length(map_[:, : math.ceil(_VECTORS * count)])
            best = min(_k_means(points, count, seed, tries), key=lambda run: run.inertia)
            clusters = assignments[count] = best.assignments
            scores[count] = Scores(
                modularity(weights, clusters),
                float(np.mean([_strength(points, count, pair, seed) for pair in halves])),
                silhouette(rows, clusters),
            )
            advance(1)
            if is_enough(scores):
                break
    return Cuts(assignments, scores, values)


def _k_means(points: Tensor, count: int, seed: int, tries: int) -> list[Restart]:
    return restarts(points, count, n_heads=tries, max_iter=_MAX_ITER, tolerance=_TOLERANCE, seed=seed)


def _halves(n_samples: int, splits: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs of random halves of the samples, row numbers in order."""
    generator = np.random.default_rng(stream_seed(seed, RESTART_STREAM, n_samples))
    orders = [generator.permutation(n_samples) for _ in range(splits)]
    middle = n_samples // 2
    return [(torch.from_numpy(np.sort(order[:middle])), torch.from_numpy(np.sort(order[middle:]))) for order in orders]


def modularity(weights: sparse.csr_array, clusters: NDArray[np.int64]) -> float:
    """Share of the edge weight inside clusters, minus the share expected if edges kept their ends' degrees only.

    Newman and Girvan, "Finding and evaluating community structure in networks", 2004
    (https://doi.org/10.1103/PhysRevE.69.026113).
    """
    n_samples = len(clusters)
    member = sparse.csr_array((np.ones(n_samples), (np.arange(n_samples), clusters)))
    # Weight between clusters, (n_clusters, n_clusters), each inner edge twice; degrees of the clusters.
    between = (member.T @ weights @ member).toarray()
    total, degrees = between.sum(), between.sum(axis=1)
    return float(np.trace(between) / total - np.square(degrees / total).sum())


def silhouette(rows: Tensor, clusters: NDArray[np.int64]) -> float:
    """Mean silhouette of unit rows with the distance 1 - cosine, exact; samples alone in a cluster count 0.

    Rousseeuw, "Silhouettes", 1987 (https://doi.org/10.1016/0377-0427(87)90125-7).
    """
    own = torch.from_numpy(clusters).to(rows.device)
    counts = torch.bincount(own)
    sums = torch.zeros(len(counts), rows.shape[1], device=rows.device).index_add_(0, own, rows)
    # Mean distance of each sample to the samples of each cluster, (n_samples, n_clusters): 1 - <x, mean>.
    distances = 1 - rows @ (sums / counts.clamp_min(1)[:, None]).T
    size = counts[own]
    # Within the own cluster the sample itself, at distance 0, does not count.
    inner = distances.gather(1, own[:, None])[:, 0] * size / (size - 1).clamp_min(1)
    distances.scatter_(1, own[:, None], torch.inf)
    distances[:, counts == 0] = torch.inf
    outer = distances.min(1).values
    values = (outer - inner) / torch.maximum(outer, inner).clamp_min(torch.finfo(torch.float32).tiny)
    return float(torch.where(size > 1, values, 0.0).double().mean())


def _strength(points: Tensor, count: int, pair: tuple[Tensor, Tensor], seed: int) -> float:
    """Prediction strength, mean over both halves: each is clustered, and divided by the centroids of the other."""
    halves = [points[half.to(points.device)] for half in pair]
    runs = [
        _k_means(half, min(count, len(half)), stream_seed(seed, number), 1)[0] for number, half in enumerate(halves)
    ]
    predicted = [_nearest(half, run.centroids) for half, run in zip(halves, reversed(runs), strict=True)]
    return float(np.mean([strength(run.assignments, other) for run, other in zip(runs, predicted, strict=True)]))


def _nearest(points: Tensor, centroids: Tensor) -> NDArray[np.int64]:
    # |x - c|^2 = |x|^2 - 2 (<x, c> - |c|^2 / 2).
    nearest: NDArray[np.int64] = (points @ centroids.T - centroids.square().sum(1) / 2).argmax(1).cpu().numpy()
    return nearest


def strength(own: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Mean share of the pairs in a cluster of `own` that `other` keeps together too, corrected for chance.

    The mean is over samples, so each cluster counts by its size; the minimum over clusters, as in Tibshirani and
    Walther, "Cluster validation by prediction strength", 2005 (https://doi.org/10.1198/106186005X59243), is decided by
    one small cluster.

    Args:
        own: Clusters of samples, int64 (n_samples,).
        other: Clusters of the same samples by centroids of other samples, int64 (n_samples,).

    Returns:
        1 if all pairs stay together, 0 at chance level; 0 if `other` has a single cluster.
    """
    table = np.asarray(sparse.csr_array((np.ones(len(own)), (own, other))).toarray())
    sizes = table.sum(axis=1)
    many = sizes > 1
    # Pairs kept together over all pairs, per cluster with two samples or more.
    shares = (table * (table - 1)).sum(axis=1)[many] / (sizes * (sizes - 1))[many]
    # Share of all pairs that `other` has together: that of a cluster of samples drawn at random.
    chance = np.square(table.sum(axis=0) / table.sum()).sum()
    if not many.any() or chance >= 1:
        return 0.0
    return float((np.average(shares, weights=sizes[many]) - chance) / (1 - chance))
