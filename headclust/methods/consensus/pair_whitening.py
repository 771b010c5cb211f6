"""Within-pair whitening: directions in which samples that belong together differ count less. No labels are used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from headclust.model import FeatureTransform


def scatter(differences: Iterable[Tensor]) -> Tensor:
    """Covariance within pairs: half the mean outer product of the differences of pairs.

    Args:
        differences: Blocks (n_pairs, dim), each the first samples of pairs minus the second samples.

    Returns:
        Shape (dim, dim), float64, on the CPU.
    """
    total, n_pairs = torch.zeros(1), 0
    for block in differences:
        # Sum over pairs of (x - x')(x - x')', (dim, dim).
        rows = block.cpu().double()
        total, n_pairs = total + rows.T @ rows, n_pairs + len(rows)
    # The difference of two independent draws has twice the covariance of each, hence the factor 2.
    return total / (2 * max(1, n_pairs))


def whiten_within(transform: FeatureTransform, within: Tensor, *, shrinkage: float) -> FeatureTransform:
    """`transform` followed by the inverse square root of the covariance within pairs, then by unit length.

    Afterwards the samples of a pair differ equally in all directions: those in which pairs differ much (pose, light,
    background) no longer dominate distances, and distances between samples that do not belong together stand out.
    Pairs may be views of an image, or neighbors.

    The idea of relevant component analysis (Bar-Hillel et al., "Learning a Mahalanobis Metric from Equivalence
    Constraints", JMLR 2005, https://www.jmlr.org/papers/v6/bar-hillel05a.html) and of within-class covariance
    normalization (Hatch, Kajarekar and Stolcke, Interspeech 2006).

    Args:
        transform: A transform with a matrix; `within` is the covariance in its output.
        within: Covariance within pairs of transformed samples, (dim, dim).
        shrinkage: Weight of the multiple of the identity with the same trace, in (0, 1]; it bounds the stretching of
            directions in which pairs hardly differ.
    """
    assert transform.matrix is not None
    dim = len(within)
    # Mean variance per direction, which shrinkage keeps.
    level = within.trace() / dim
    if not level > 0:  # all pairs are copies of each other: nothing to whiten
        return replace(transform, unit=True)
    # S = (1 - shrinkage) within + shrinkage level I = V diag(values) V', all values at least shrinkage * level.
    values, vectors = torch.linalg.eigh((1 - shrinkage) * within + shrinkage * level * torch.eye(dim).double())
    # S^-1/2 = V diag(values^-1/2) V', (dim, dim): the symmetric root, which adds no rotation.
    root = (vectors * values.rsqrt()) @ vectors.T
    # One matrix for both maps, (feature_dim, dim). Contiguous, as it will be when read from a file.
    matrix = (transform.matrix.cpu().double() @ root).float().contiguous().to(transform.matrix.device)
    return replace(transform, matrix=matrix, unit=True)
