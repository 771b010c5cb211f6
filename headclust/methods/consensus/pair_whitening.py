"""Directions in which samples that belong together differ: learned from pairs without labels, made to count less."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from headclust.model import FeatureTransform


def scatter(differences: Iterable[Tensor]) -> Tensor:
    """Mean outer product of the differences of pairs, halved: the covariance within a pair.

    Args:
        differences: Blocks (n_pairs, dim), each the first samples of pairs less the second ones.

    Returns:
        Shape (dim, dim), float64, on the CPU.
    """
    total, n_pairs = torch.zeros(1), 0
    for block in differences:
        rows = block.cpu().double()
        total, n_pairs = total + rows.T @ rows, n_pairs + len(rows)
    return total / (2 * max(1, n_pairs))


def whiten_within(transform: FeatureTransform, within: Tensor, *, shrinkage: float) -> FeatureTransform:
    """`transform` followed by the inverse square root of the covariance within pairs, and by unit length.

    Afterwards the two of a pair differ alike in all directions, so directions in which they differ much (pose, light,
    background) count for as little as any other, and what remains of a distance tells samples apart that do not belong
    together. Pairs may be views of an image, or neighbors.

    The idea is that of relevant component analysis (Bar-Hillel et al., "Learning a Mahalanobis Metric from Equivalence
    Constraints", JMLR 2005, https://www.jmlr.org/papers/v6/bar-hillel05a.html) and of within-class covariance
    normalization (Hatch, Kajarekar and Stolcke, Interspeech 2006).

    Args:
        transform: A linear transform, to which `within` belongs; it has a matrix.
        within: Covariance within pairs of transformed samples, (dim, dim).
        shrinkage: Share of a multiple of the identity with the same trace that is mixed in, in (0, 1]: directions
            in which pairs hardly differ are not blown up without bounds.
    """
    assert transform.matrix is not None
    dim = len(within)
    level = within.trace() / dim
    if not level > 0:  # all pairs are copies: there is nothing to make count less
        return replace(transform, unit=True)
    values, vectors = torch.linalg.eigh((1 - shrinkage) * within + shrinkage * level * torch.eye(dim).double())
    root = (vectors * values.rsqrt()) @ vectors.T
    matrix = (transform.matrix.cpu().double() @ root).float().contiguous().to(transform.matrix.device)
    return replace(transform, matrix=matrix, unit=True)
