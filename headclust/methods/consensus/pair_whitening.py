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
    import torch
    from torch import Tensor

    from headclust.model import FeatureTransform

# Samples whose neighbors are searched for pairs; with ten each, 390 pairs per dimension of 256.
_ANCHORS = 10_000


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

    Pairs are an image and its cached views; if there are no views, a sample and its neighbors.

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
    return whiten_within(transform, within, shrinkage=shrinkage)


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
    n_independent = n_samples * n_views if n_views else min(n_samples, _ANCHORS) * n_neighbors
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

    If there are many samples, neighbors are searched for some of them, spread evenly over the rows.
    """
    import numpy as np
    import torch

    from headclust.graph.neighbors import COLUMNS, nearest_among
    from headclust.graph.unit_rows import UnitRows

    if len(versions) > 1:
        yield from (first - second for first, second in itertools.combinations(versions, 2))
        return
    (plain,) = versions
    n_anchors = min(len(plain), _ANCHORS)
    anchors = np.arange(n_anchors) * len(plain) // n_anchors
    rows = UnitRows(plain, rows_per_block=COLUMNS)
    indices = nearest_among(rows.take(anchors), rows, n_neighbors, own=anchors)[1].to(plain.device)
    anchored = plain[torch.from_numpy(anchors).to(plain.device)]
    yield from (anchored - plain[indices[:, column]] for column in range(n_neighbors))
