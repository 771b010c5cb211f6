"""Leading eigenvectors of a sparse symmetric matrix, by subspace iteration with a Chebyshev filter, on any device."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import scipy.linalg
import torch
from scipy import sparse
from torch import Tensor

from headclust.device import reuse_memory
from headclust.errors import SettingError
from headclust.seeding import torch_generator

_DENSE = 600  # rows up to which the dense solver is faster
# Vectors of the subspace per vector that is computed, and beside them: the more, the further apart the last of the one
# and the last of the other eigenvalue, and the fewer rounds.
_WIDTH, _BESIDE = 1.25, 10
# Largest growth of a vector in one round: the smallest are then above the rounding errors of float32 by two digits.
_GROWTH = 1e5
_DEGREE = 40  # of the filter at most
_ACCURACY = 1e-3  # residual |A v - lambda v| of unit vectors at which rounds end; eigenvalues are then right to 1e-5
_ROUNDS = 40
_CRUDE = 0.05  # residual above which the vectors are of no use
_ROWS = 8_192  # rows of a block that are rotated or made orthonormal at once


def leading_eigenvectors(
    matrix: sparse.csr_array,
    count: int,
    *,
    seed: int,
    device: torch.device | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues of a symmetric matrix with eigenvalues in [-1, 1], descending, and their eigenvectors.

    Small matrices are solved densely by LAPACK, others in float32 by subspace iteration: a polynomial of the matrix
    that is large on the leading eigenvalues only is applied to a block of vectors, which are made orthonormal and
    rotated to eigenvectors of the matrix in their span (Rayleigh and Ritz), until their residuals are small. Copies of
    a repeated eigenvalue, such as 1 in a graph of several connected components, come out together, as the block has
    more vectors than asked for. Saad, "Chebyshev acceleration techniques for solving nonsymmetric eigenvalue problems",
    1984; Zhou, Saad, Tiago and Chelikowsky, "Self-consistent-field calculations using Chebyshev-filtered subspace
    iteration", 2006 (https://doi.org/10.1016/j.jcp.2006.03.017).

    Args:
        matrix: Shape (n, n).
        count: Number of eigenvectors, 1 to n.
        seed: Seed of the vectors that the iteration starts from.
        device: Where to compute; the CPU by default.
        start: Vectors (n, any number) that are near the result, such as those of a similar matrix.

    Returns:
        Values (count,), float64 on the CPU, and orthonormal vectors, float32 (n, count) on the device.

    Raises:
        SettingError: The iteration is far from convergence.
    """
    n, width, device = matrix.shape[0], _width(count), device or torch.device("cpu")
    if _is_dense(n, width):
        # LAPACK gives eigenvalues in ascending order: the last `count`, reversed.
        ascending, columns = scipy.linalg.eigh(matrix.toarray(), subset_by_index=(n - count, n - 1))
        return torch.from_numpy(ascending[::-1].copy()), torch.from_numpy(columns[:, ::-1].astype(np.float32)).to(
            device
        )
    operator = sparse_rows(matrix, device)
    with reuse_memory(operator.device):
        values, vectors = _iterate(operator, _start_block((n, width), seed, start, operator.device), count)
    return values, vectors.to(device)


def eigenvector_bytes(n: int, count: int) -> int:
    """Largest memory in bytes of `leading_eigenvectors` for `count` vectors of n rows, without the matrix itself."""
    width = _width(count)
    # Dense: the matrix and LAPACK's copy in float64, and its vectors. Otherwise five blocks in float32.
    return 8 * n * (2 * n + count) if _is_dense(n, width) else 4 * 5 * n * width


def _width(count: int) -> int:
    """Vectors of the subspace that `count` eigenvectors are computed in."""
    return math.ceil(_WIDTH * count) + _BESIDE


def _is_dense(n: int, width: int) -> bool:
    """True if a matrix of n rows is solved densely."""
    return n <= _DENSE or 2 * width >= n


def sparse_rows(matrix: sparse.csr_array, device: torch.device) -> Tensor:
    """The matrix as sparse float32 rows on the device; MPS has no sparse products, so there it stays on the CPU."""
    columns, starts = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    with warnings.catch_warnings():
        # PyTorch calls the layout a beta state.
        warnings.simplefilter("ignore", UserWarning)
        rows = torch.sparse_csr_tensor(
            torch.from_numpy(starts),
            torch.from_numpy(columns),
            torch.from_numpy(matrix.data).float(),
            matrix.shape,
            check_invariants=False,
        )
    return rows if device.type == "mps" else rows.to(device)


def _start_block(shape: tuple[int, int], seed: int, start: Tensor | None, device: torch.device) -> Tensor:
    """Random vectors, the first of them replaced by those of `start`."""
    block = torch.randn(shape, generator=torch_generator(seed)).to(device)
    if start is not None:
        n_given = min(start.shape[1], shape[1])
        block[:, :n_given] = start[:, :n_given]
    return block


def _iterate(operator: Tensor, block: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (count,), descending, float64, and eigenvectors (n, count), from start vectors (n, width).

    `block` is overwritten: a block of many vectors is large, so each step works in the memory of the one before.
    """
    values, images = _rayleigh_ritz_(operator, block)
    worst = math.inf
    for _ in range(_ROUNDS):
        block = _filter_(operator, block, images, cut=float(values[-1]))
        del images  # before the next ones are computed
        values, images = _rayleigh_ritz_(operator, block)
        # |A v - lambda v| per vector, (count,).
        scale, squares = values.to(block), block.new_zeros(len(values))
        for rows in _chunks(block):
            squares += (images[rows] - block[rows] * scale).square().sum(0)
        worst = float(squares[:count].max().sqrt())
        if worst <= _ACCURACY:
            break
    if not worst <= _CRUDE:
        raise SettingError(
            f"{count} eigenvectors of the neighbor graph did not converge: raise n_neighbors or temperature."
        )
    return values[:count], block[:, :count]


def _rayleigh_ritz_(operator: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a block into approximate eigenvectors V in its span; their eigenvalues, descending, (width,), and A V."""
    _orthonormalize_(block)
    images = operator @ block
    # The matrix in that span, Q' A Q, (width, width), symmetric up to rounding; small, so in float64 on the CPU.
    inner = (block.T @ images).cpu().double()
    values, rotation = torch.linalg.eigh((inner + inner.T) / 2)
    rotation = rotation.flip(1).to(block)
    for rows in _chunks(block):
        block[rows], images[rows] = block[rows] @ rotation, images[rows] @ rotation
    return values.flip(0), images


def _orthonormalize_(block: Tensor) -> None:
    """Replace the columns of a tall block by orthonormal ones with the same span.

    By chunks of rows (TSQR; Demmel, Grigori, Hoemmen and Langou, https://doi.org/10.1137/080731992), as a decomposition
    of the whole needs three times its memory.
    """
    chunks = _chunks(block)
    # X_i = Q_i R_i; the R_i below each other = [P_1; P_2; ...] R; so X = [Q_1 P_1; Q_2 P_2; ...] R.
    factors = []
    for rows in chunks:
        block[rows], factor = torch.linalg.qr(block[rows])
        factors.append(factor)
    if len(chunks) == 1:
        return
    joined, _ = torch.linalg.qr(torch.cat(factors))
    for rows, inner in zip(chunks, joined.split([len(factor) for factor in factors]), strict=True):
        block[rows] = block[rows] @ inner


def _chunks(block: Tensor) -> list[slice]:
    """Slices of the rows of a block, each of at least as many rows as columns."""
    n, width = block.shape
    n_chunks = max(1, n // max(_ROWS, 2 * width))
    edges = [n * number // n_chunks for number in range(n_chunks + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def _filter_(operator: Tensor, vectors: Tensor, images: Tensor, *, cut: float) -> Tensor:
    """T(A) V with the Chebyshev polynomial T of the interval [-1, cut], which is at most 1 there and grows above it.

    Args:
        operator: A, (n, n).
        vectors: V, (n, width), overwritten.
        images: A V, (n, width), overwritten.
        cut: The smallest of the approximate eigenvalues.
    """
    # x -> (x - center) / half maps [-1, cut] to [-1, 1]; between 1 and the cut there has to be some distance.
    cut = min(max(cut, -0.9), 1 - 1e-4)
    center, half = (cut - 1) / 2, (cut + 1) / 2
    # T_d(x) = cosh(d arccosh x) above 1: the largest degree whose growth at the eigenvalue 1 is within bounds.
    degree = int(math.acosh(_GROWTH) / math.acosh((1 - center) / half))
    before, now = vectors, images.sub_(vectors, alpha=center).div_(half)
    for _ in range(min(max(degree, 2), _DEGREE) - 1):
        # T_{d+1}(x) = 2 x T_d(x) - T_{d-1}(x).
        before.neg_().add_(operator @ now, alpha=2 / half).sub_(now, alpha=2 * center / half)
        before, now = now, before
    return now
