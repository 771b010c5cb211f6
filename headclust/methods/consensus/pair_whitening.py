"""Within-pair whitening: directions in which samples that belong together differ count less. No labels are used."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from headclust.features import Features
from headclust.group import current
from headclust.methods.consensus.partitions import Partitions, neighbors_within_cluster

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from headclust.model import FeatureTransform

_PAIRED = 10_000  # samples among which neighbors are searched for pairs, at most
_REACH = 2.0  # longest difference from a neighbor, in units of the distance to that neighbor's own last neighbor
# Samples that are clustered to move the mean, at least, and per cluster; restarts, and clusters in all of these.
_CENTERED, _CENTERED_PER_CLUSTER, _RESTARTS, _RESTARTED = 10_000, 25, 8, 600


def scatter(differences: Iterable[Tensor]) -> Tensor:
    """Covariance within pairs: half the mean outer product of the differences of pairs.

    Args:
        differences: Blocks (n_pairs, dim), each the first samples of pairs minus the second samples.

    Returns:
        Shape (dim, dim), float64.
    """
    import torch

    from headclust.device import float64_device

    total, n_pairs = torch.zeros(()), 0
    for block in differences:
        # Sum over pairs of (x - x')(x - x')', (dim, dim).
        rows = block.to(float64_device(block.device)).double()
        total, n_pairs = total + rows.T @ rows, n_pairs + len(rows)
    # The difference of two independent draws has twice the covariance of each, hence the factor 2.
    return total / (2 * max(1, n_pairs))


def whiten_within(transform: FeatureTransform, within: Tensor, *, shrinkage: float) -> FeatureTransform:
    """`transform` followed by the inverse square root of the covariance within pairs, then by unit length.

    Afterwards the samples of a pair differ equally in all directions: directions in which pairs differ much (pose,
    light, background) no longer dominate the distances, and samples that do not belong together are further apart.
    Pairs may be views of an image, or neighbors.

    This is relevant component analysis (Bar-Hillel et al., "Learning a Mahalanobis Metric from Equivalence
    Constraints", JMLR 2005, https://www.jmlr.org/papers/v6/bar-hillel05a.html) or within-class covariance
    normalization (Hatch, Kajarekar and Stolcke, Interspeech 2006).

    Args:
        transform: A transform with a matrix; `within` is the covariance in its output.
        within: Covariance within pairs of transformed samples, (dim, dim).
        shrinkage: Weight of the multiple of the identity with the same trace, in (0, 1]; it bounds the stretching of
            directions in which pairs hardly differ.
    """
    import torch

    assert transform.matrix is not None
    dim = len(within)
    # Mean variance per direction; shrinkage does not change it.
    level = within.trace() / dim
    if not level > 0:  # all pairs are copies of each other: nothing to whiten
        return replace(transform, unit=True)
    # S = (1 - shrinkage) within + shrinkage level I = V diag(values) V', all values at least shrinkage * level.
    values, vectors = torch.linalg.eigh((1 - shrinkage) * within + shrinkage * level * torch.eye(dim).to(within))
    # S^-1/2 = V diag(values^-1/2) V', (dim, dim): the symmetric root, which adds no rotation.
    root = (vectors * values.rsqrt()) @ vectors.T
    # One matrix for both maps, (feature_dim, dim). Contiguous, as it will be when read from a file.
    matrix = (transform.matrix.to(root.device).double() @ root).float().contiguous().to(transform.matrix.device)
    return replace(transform, matrix=matrix, unit=True)


def space_transform(space: Features, stage: Partitions, device: torch.device) -> FeatureTransform:
    """Principal components of unit rows, whitened within pairs if the stage asks for it, then unit length.

    Pairs are an image and its cached views; if there are no views, a sample and its neighbors. After whitening, lengths
    are measured from the mean of the samples, or of clusters where these are clear.

    Args:
        space: The fitted samples, and their views if there are any.
        stage: Its settings.
        device: Where to compute.
    """
    from headclust.model import fit_transform

    transform = fit_transform(space, "pca", n_components=stage.n_components, device=device, group=current())
    if not stage.whiten:
        return replace(transform, unit=True)
    versions = pair_versions(transform, space, device, views=stage.views)
    k = neighbors_within_cluster(stage.n_neighbors, space.n_samples, stage.n_clusters)
    within, shrinkage = within_pairs(versions, k, at_least=stage.shrinkage)
    transform = whiten_within(transform, within, shrinkage=shrinkage)
    return replace(transform, mean=cluster_mean(transform, space, stage.n_clusters, device))


def cluster_mean(transform: FeatureTransform, space: Features, n_clusters: int, device: torch.device) -> Tensor:
    """`transform.mean`, (feature_dim,), moved towards the mean of the means of k-means clusters, if these are certain.

    If sizes differ much, the mean of all samples lies in the largest cluster. Seen from there, its samples are in all
    directions, and those of the other clusters in few. In the mean of clusters each counts once. Restarts of k-means
    agree on it where clusters are clear; where they do not, the mean of the samples is left as it is.

    Args:
        transform: A transform with a mean and a matrix.
        space: The fitted samples.
        n_clusters: Number of clusters.
        device: Where to compute.
    """
    import torch

    from headclust.methods.lloyd import restarts

    assert transform.mean is not None
    assert transform.matrix is not None
    chosen = _spread(space.n_samples, max(_CENTERED, _CENTERED_PER_CLUSTER * n_clusters))
    # Rows that the mean is subtracted from, (n_chosen, feature_dim); then whitened ones, (n_chosen, dim).
    rows = replace(transform, mean=None, matrix=None, unit=False).rows(space.select(chosen), device=device)
    points = (rows - transform.mean) @ transform.matrix
    count = max(2, min(_RESTARTS, _RESTARTED // n_clusters))
    means = []
    for run in restarts(points, n_clusters, n_heads=count, max_iter=50, tolerance=1e-4, seed=0):
        clusters = torch.from_numpy(run.assignments).to(rows.device)
        sizes = torch.bincount(clusters)
        # The mean of the samples of each cluster, (n_clusters, feature_dim), then of these means.
        sums = rows.new_zeros(len(sizes), rows.shape[1]).index_add_(0, clusters, rows)
        means.append((sums[sizes > 0] / sizes[sizes > 0, None]).mean(0))
    shifts = torch.stack(means) - transform.mean
    shift = shifts.mean(0)
    # Variance over restarts, and squared length, of the shift after whitening.
    variance = ((shifts - shift) @ transform.matrix).square().sum() / (count - 1)
    squared = (shift @ transform.matrix).square().sum().clamp_min(1e-30)
    # 1 - variance / squared length, 0 if it is below: the shrinkage of James and Stein (1961) towards the mean.
    return transform.mean + (1 - variance / squared).clamp(0, 1) * shift


def pair_versions(
    transform: FeatureTransform, space: Features, device: torch.device, *, views: bool = True
) -> list[Tensor]:
    """The transformed images, and with `views` their cached views: up to 1 + n_views tensors (n_samples, dim)."""
    versions = [transform.rows(space, device=device)]
    if space.n_views and views:
        versions += [transform.rows(space, view=number, device=device) for number in range(space.n_views)]
    return versions


def within_pairs(versions: list[Tensor], n_neighbors: int, *, at_least: float) -> tuple[Tensor, float]:
    """Covariance within pairs, float64 (dim, dim), and its shrinkage, `at_least` or more with few pairs.

    Args:
        versions: As of `pair_versions`. Pairs are any two versions of an image; of one version, a sample and each of
            its neighbors.
        n_neighbors: Neighbors per sample where there is one version.
        at_least: Smallest shrinkage, in (0, 1].
    """
    within = scatter(_differences(versions, n_neighbors))
    n_samples, n_views = len(versions[0]), len(versions) - 1
    n_paired = min(n_samples, _PAIRED)
    n_independent = n_samples * n_views if n_views else n_paired * _neighbors_among(n_paired, n_samples, n_neighbors)
    return within, max(at_least, _chance(len(within), n_independent))


def _chance(dim: int, n_independent: int) -> float:
    """Dimensions over independent differences, at most 1: the spread of the eigenvalues that chance causes.

    The eigenvalues of the covariance of n draws with identity covariance in d dimensions have variance d / n and lie
    between (1 - sqrt(d / n))^2 and (1 + sqrt(d / n))^2 (Marchenko and Pastur, 1967). Each sample contributes one
    independent difference per partner: its views, or its neighbors.
    """
    return min(1.0, dim / n_independent)


def _differences(versions: list[Tensor], n_neighbors: int) -> Iterator[Tensor]:
    """Blocks of differences within pairs, (n_pairs, dim): any two versions of an image, or a sample and a neighbor.

    A sample of a group that is smaller than its neighbor list has neighbors in others. Their differences would be the
    longest, and whitening would remove the direction between both groups, so a difference is shortened to twice the
    distance at which the neighbor itself has its last neighbor.

    If there are many samples, pairs are searched among some of them, spread evenly over the rows; fewer neighbors of
    each are then as near as `n_neighbors` among all.
    """
    from headclust.graph.neighbors import nearest_neighbors

    if len(versions) > 1:
        yield from (first - second for first, second in itertools.combinations(versions, 2))
        return
    (plain,) = versions
    n_samples, plain = len(plain), plain[_spread(len(plain), _PAIRED)]
    graph = nearest_neighbors(plain, _neighbors_among(len(plain), n_samples, n_neighbors))
    indices = graph.indices.to(plain.device)
    # Distance of each sample to its last neighbor, (n_samples,).
    reach = (plain - plain[indices[:, -1]]).norm(dim=1)
    for column in indices.T:
        difference = plain - plain[column]
        length = difference.norm(dim=1)
        # min(1, 2 reach / length), 1 for copies.
        share = (_REACH * reach[column] / length.clamp_min(1e-30)).clamp_max(1)
        yield difference * share[:, None]


def _neighbors_among(n_paired: int, n_samples: int, n_neighbors: int) -> int:
    """Neighbors among a part of the samples that are about as near as `n_neighbors` among all of them, at least 1."""
    return max(1, round(n_neighbors * n_paired / n_samples))


def _spread(n_samples: int, at_most: int) -> NDArray[np.int64]:
    """Row numbers, at most so many, spread evenly over all rows."""
    import numpy as np

    count = min(n_samples, at_most)
    return np.arange(count) * n_samples // count
