"""Arithmetic on feature rows that holds at any finite scale: powers of two, unit length, equal rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 8_192
_EXPONENT = 126  # 2^-126 is the smallest float32 that is not subnormal


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


def distinct_rows(*spaces: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The groups of equal samples: equal in every space, with 0 and -0 equal.

    Args:
        *spaces: One (n_samples, dim) per space, float32.

    Returns:
        The first row of each group, ascending, int64 (n_groups,), and the group of each row, int64 (n_samples,).
    """
    digests = sum(_digests(rows, space) for space, rows in enumerate(spaces))
    _, first, group = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    if len(first) < len(group) and not all(_equal(rows, first[group]) for rows in spaces):
        # Two different rows have one digest: compare all columns.
        columns = np.concatenate([rows.cpu().numpy() + np.float32(0) for rows in spaces], axis=1)
        _, first, group = np.unique(columns, axis=0, return_index=True, return_inverse=True)
    # Groups in the order of their first rows.
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[group.reshape(-1)].astype(np.int64)


def _digests(rows: Tensor, space: int) -> NDArray[np.int64]:
    """A number per row, int64 (n_samples,), the same for equal rows: sum of weight_d * bits_d modulo 2^64."""
    import torch

    weights = np.random.default_rng(space).integers(-(2**63), 2**63 - 1, rows.shape[1], dtype=np.int64) | 1
    factors = torch.from_numpy(weights).to(rows.device)
    # Adding 0 turns -0 into 0.
    blocks = [
        ((block + 0.0).view(torch.int32) * factors).sum(1).cpu() for block in torch.split(rows.contiguous(), _ROWS)
    ]
    digests: NDArray[np.int64] = torch.cat(blocks).numpy()
    return digests


def _equal(rows: Tensor, numbers: NDArray[np.intp]) -> bool:
    """True if each row equals the row of the number given for it, (n_samples,)."""
    import torch

    other = torch.from_numpy(numbers).to(rows.device)
    starts = range(0, len(rows), _ROWS)
    return all(torch.equal(rows[start : start + _ROWS], rows[other[start : start + _ROWS]]) for start in starts)
