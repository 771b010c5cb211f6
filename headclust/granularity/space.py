"""The whitened space of the default, and its null: the same principal components with shuffled columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headclust.features import Features
from headclust.methods.consensus.pair_whitening import pair_versions, whiten_within, within_pairs
from headclust.methods.consensus.partitions import Partitions
from headclust.model import FeatureTransform, fit_transform, side_by_side

_STAGE = Partitions()  # the default's settings


@dataclass(frozen=True, eq=False)
class PairSpace:
    """Principal components of a space, and their covariance within pairs.

    Attributes:
        rows: Principal components of unit rows, float32 (n_samples, dim).
        n_neighbors: Neighbors per sample that are pairs where there are no views.
        within: Covariance within pairs of an image and its views, (dim, dim); None without views.
        shrinkage: Shrinkage of `within`.
    """

    rows: Tensor
    n_neighbors: int
    within: Tensor | None
    shrinkage: float

    @classmethod
    def of(cls, space: Features, n_neighbors: int, device: torch.device) -> PairSpace:
        """The components of a feature space, as the default computes them.

        Raises:
            DataError: All rows point the same way.
        """
        transform = fit_transform(space, "pca", n_components=_STAGE.n_components, device=device)
        versions = pair_versions(transform, space, device)
        if len(versions) == 1:
            return cls(versions[0], n_neighbors, None, _STAGE.shrinkage)
        return cls(versions[0], n_neighbors, *within_pairs(versions, n_neighbors, at_least=_STAGE.shrinkage))

    def whitened(self) -> Tensor:
        """The rows, whitened within pairs, at unit length, (n_samples, dim)."""
        return self._whiten(self.rows)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """As `whitened`, of rows with the same covariance, but without clusters.

        Columns of components can have two humps, one per cluster, which shuffling keeps. So the columns of a random
        rotation are shuffled: sums of all components, which have one hump.
        """
        n_samples, dim = self.rows.shape
        # Deviations of the components, (dim,), which are uncorrelated: divided by them, they have covariance I.
        deviations = self.rows.std(0).clamp_min(torch.finfo(torch.float32).tiny)
        # A random rotation Q, (dim, dim), by which that covariance stays I, as it does by shuffling.
        rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator).to(self.rows))
        mixed = (self.rows / deviations) @ rotation
        orders = torch.rand(n_samples, dim, generator=generator).argsort(dim=0).to(mixed.device)
        # Back: rotated by Q' and scaled, the covariance is that of the rows.
        return self._whiten((mixed.gather(0, orders) @ rotation.T) * deviations)

    def _whiten(self, rows: Tensor) -> Tensor:
        within, shrinkage = self.within, self.shrinkage
        if within is None:  # pairs are neighbors: shuffled rows have their own
            within, shrinkage = within_pairs([rows], self.n_neighbors, at_least=self.shrinkage)
        identity = FeatureTransform(matrix=torch.eye(rows.shape[1]).to(rows))
        return whiten_within(identity, within, shrinkage=shrinkage)(rows)


def whitened(spaces: Sequence[PairSpace]) -> Tensor:
    """The rows of all spaces side by side, at unit length, (n_samples, sum of dims)."""
    return side_by_side([space.whitened() for space in spaces])


def shuffled(spaces: Sequence[PairSpace], generator: torch.Generator) -> Tensor:
    """The null of `whitened`: columns of every space shuffled, each on its own."""
    return side_by_side([space.shuffled(generator) for space in spaces])
