"""Arithmetic on feature rows in blocks, that holds at any finite scale: powers of two, unit length, equal rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.features.source import row_blocks

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from headclust.features.reading import Features

_EXPONENT = 126  # 2^-126 is the smallest float32 that is not subnormal


def size(features: Tensor | Features) -> tuple[int, int]:
    """Numbers of rows and columns."""
    import torch

    if isinstance(features, torch.Tensor):
        return features.shape[0], features.shape[1]
    return features.n_samples, features.feature_dim


def take(
    features: Tensor | Features, index: NDArray[np.int64] | slice, *, view: int | None = None, device: torch.device
) -> Tensor:
    """Rows of a tensor, or of features or one of their views, float32 (n, feature_dim), on `device`."""
    import torch

    if isinstance(features, torch.Tensor):
        return features[index].to(device)
    return features.rows(index, view).to(device)


def blocks(
    features: Tensor | Features, *, view: int | None = None, device: torch.device | None = None
) -> Iterator[Tensor]:
    """All rows in order, in the blocks (n, feature_dim) of `row_blocks`.

    Args:
        features: Features, or a tensor (n_samples, feature_dim) in float32.
        view: A view of features.
        device: The device that a block is moved to; where it is by default.
    """
    import torch

    for block in row_blocks(*size(features)):
        rows = features[block] if isinstance(features, torch.Tensor) else features.rows(block, view)
        yield rows if device is None else rows.to(device)


def power_of_two(largest: Tensor) -> Tensor:
    """The powers of two that bring values (...,) near 1, as float32: a product with one changes no digit.

    The square of a float32 above 1e19 is infinite and that of one below 1e-19 is inexact or zero, so what is squared is
    scaled first. Values from 2^-126 to 2^126 come to [0.5, 1); 0 has the factor 1.
    """
    import torch

    _, exponent = torch.frexp(largest)  # largest = m 2^exponent, m in [0.5, 1)
    return torch.ldexp(torch.ones_like(largest), -exponent.clamp(-_EXPONENT, _EXPONENT))


def unit_length(rows: Tensor) -> Tensor:
    """Rows (..., dim), float32, divided by their length, at any finite scale; rows of zeros stay zero."""
    import torch
    import torch.nn.functional as F

    largest = torch.linalg.vector_norm(rows, ord=torch.inf, dim=-1, keepdim=True)
    return F.normalize(rows * power_of_two(largest), dim=-1)


def distinct_rows(*spaces: Tensor | Features) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The groups of equal samples: equal in every space, with 0 and -0 equal. Rows are read in blocks.

    Args:
        *spaces: Features, or a tensor (n_samples, dim) in float32, per space.

    Returns:
        The first row of each group, ascending, int64 (n_groups,), and the group of each row, int64 (n_samples,).
    """
    _, first, group = np.unique(digests(*spaces), return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[group] != np.arange(len(group)))
    if not all(_equal(space, copies, first[group[copies]]) for space in spaces):
        # Two different rows have one digest: compare all columns of the rows that share theirs with others.
        shared = np.flatnonzero(np.bincount(group)[group] > 1)
        columns = np.concatenate([_columns(space, shared) for space in spaces], axis=1)
        group[shared] = len(first) + np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)
        _, first, group = np.unique(group, return_index=True, return_inverse=True)
    # Groups in the order of their first rows.
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64, copy=False), rank[group].astype(np.int64, copy=False)


def digests(*spaces: Tensor | Features) -> NDArray[np.int64]:
    """A number per sample, int64 (n_samples,), the same for equal samples: sum of weight_d * bits_d modulo 2^64.

    Args:
        *spaces: Features, or a tensor (n_samples, dim) in float32, per space. Rows are read in blocks.
    """
    # Filled in place: small arrays that outlive a block would split the memory that the next block takes again.
    numbers = np.zeros(size(spaces[0])[0], np.int64)
    for seed, space in enumerate(spaces):
        weights = np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, size(space)[1], dtype=np.int64) | 1
        for block, rows in zip(row_blocks(*size(space)), blocks(space), strict=True):
            # Adding 0 turns -0 into 0. einsum makes no int64 copy of the bits: eight times as fast as product and sum.
            numbers[block] += np.einsum("nd,d->n", (rows + 0.0).contiguous().cpu().numpy().view(np.int32), weights)
    return numbers


def _equal(features: Tensor | Features, numbers: NDArray[np.int64], others: NDArray[np.int64]) -> bool:
    """True if each of the rows `numbers` equals the row in `others` beside it, (n,) each."""
    return all(
        bool((_columns(features, numbers[block]) == _columns(features, others[block])).all())
        for block in row_blocks(len(numbers), size(features)[1])
    )


def _columns(features: Tensor | Features, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows of the given numbers, float32 (n, dim), with 0 for -0."""
    import torch

    columns: NDArray[np.float32] = (take(features, numbers, device=torch.device("cpu")) + 0.0).numpy()
    return columns
