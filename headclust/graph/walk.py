"""A random walk on the neighbor graph that averages rows over the samples to which it leads."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from headclust.features.rows import unit_length
from headclust.graph.eigenvectors import sparse_rows
from headclust.graph.matrix import normalized
from headclust.seeding import torch_generator

_PROBES = 32  # random vectors by which modes are counted: the count has a standard deviation of a few percent


class Walk:
    """Rows averaged over a lazy random walk: at each step it stays, or goes to a neighbor, with equal probability.

    The longer the walk, the less samples differ that are near each other on the graph: first within small regions, then
    within larger ones. Smoothing features so is a graph convolution without weights: Wu et al., "Simplifying graph
    convolutional networks", ICML 2019 (https://arxiv.org/abs/1902.07153); for clustering Zhang et al., "Attributed
    graph clustering via adaptive graph convolution", IJCAI 2019 (https://arxiv.org/abs/1906.01210).

    Args:
        weights: Symmetric edge weights, (n_samples, n_samples).
        rows: Shape (n_samples, dim); the walk is computed on their device.
        seed: Seed of the random vectors by which modes are counted.
    """

    def __init__(self, weights: sparse.csr_array, rows: Tensor, *, seed: int) -> None:
        self._dim = rows.shape[1]
        self._matrix = sparse_rows(normalized(weights), rows.device)
        # S = D^-1/2 W D^-1/2 has the powers of the walk up to D: (D^-1 W)^t x = D^-1/2 S^t D^1/2 x. So it averages
        # D^1/2 x, and the factor D^-1/2 of each row drops out when rows get unit length.
        degrees = np.asarray(weights.sum(axis=1)).ravel()
        root = torch.from_numpy(np.sqrt(np.where(degrees > 0, degrees, 1))).float().to(rows.device)
        probes = torch.randint(2, (len(rows), _PROBES), generator=torch_generator(seed)) * 2.0 - 1
        self._state = torch.cat((rows * root[:, None], probes.to(rows)), 1)

    @property
    def n_modes(self) -> float:
        """Number of modes that the walk has not averaged out: the sum of their squared remaining amplitudes.

        It falls from n_samples to the number of connected components. If the graph had that many equal parts without
        edges between them, and each were averaged out, as many modes would be left.
        """
        # With L = (I + S) / 2 and random signs g: E |L^t g|^2 = trace L^2t = sum over eigenvalues of L of value^2t.
        return float(self._state[:, self._dim :].square().sum() / _PROBES)

    def step(self) -> None:
        """Walk one step on."""
        moved = (self._matrix @ self._state.to(self._matrix.device)).to(self._state)
        self._state = self._state.add_(moved).mul_(0.5)

    def rows(self) -> Tensor:
        """The averaged rows, at unit length, (n_samples, dim)."""
        return unit_length(self._state[:, : self._dim])
