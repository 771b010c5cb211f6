"""Drift of later images from the fitted ones: how many are unlike anything fitted, and how their groups are spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headclust.progress import percent
from headclust.runs.novelty import UNUSUAL

# A refit pays with this share of images unlike anything fitted, and at least this many of them; or when the added
# images are this share of all. benchmarks/add.py measures both.
MANY_UNLIKE, FEWEST_UNLIKE, MANY_ADDED = 0.025, 5, 0.5


@dataclass(frozen=True)
class Drift:
    """Differences of added images from the fitted ones.

    Attributes:
        n_added: Number of added images.
        n_fitted: Number of fitted images.
        n_unlike: Added images of a novelty of `UNUSUAL` or more; 1 % of the fitted ones have that. -1 if unknown.
        shift: Half the sum of the absolute differences between the groups' shares of the added and of the fitted
            images, 0 to 1: the share of the added images that would be in other groups if they were spread like the
            fitted ones.
        shift_by_chance: The expected shift of as many images drawn from the fitted ones at random.
    """

    n_added: int
    n_fitted: int
    n_unlike: int
    shift: float
    shift_by_chance: float

    @property
    def unlike_share(self) -> float:
        """Share of the added images that are unlike anything fitted; NaN if unknown."""
        return self.n_unlike / self.n_added if self.n_added and self.n_unlike >= 0 else math.nan

    @property
    def refit_reason(self) -> str:
        """Reason why a refit pays, as part of a sentence; empty if it does not."""
        if self.n_unlike >= FEWEST_UNLIKE and self.unlike_share >= MANY_UNLIKE:
            return (
                f"{percent(self.unlike_share)} of them are unlike anything fitted, and some may be groups of their own"
            )
        if self.n_added >= MANY_ADDED * (self.n_added + self.n_fitted):
            return "they are as many as the images that the groups were made of"
        return ""


def measure_drift(
    fitted: NDArray[np.int64], added: NDArray[np.int64], novelty: NDArray[np.floating] | None, n_clusters: int
) -> Drift:
    """The drift of added images.

    Args:
        fitted: Clusters of the fitted images, (n_fitted,).
        added: Clusters of the added images, (n_added,).
        novelty: Novelty of the added images, (n_added,); None if the run stores no fitted samples.
        n_clusters: Number of clusters.
    """
    # Shares of the clusters among the fitted and the added images, (n_clusters,).
    before, now = (np.bincount(part, minlength=n_clusters) / max(1, len(part)) for part in (fitted, added))
    # Total variation distance, and its expectation for n_added draws from the fitted shares: a share is binomial, and
    # E|x| of a normal variable with the standard deviation s is s * sqrt(2 / pi).
    shift = float(np.abs(now - before).sum() / 2)
    deviation = np.sqrt(before * (1 - before) / max(1, len(added)))
    by_chance = float(math.sqrt(2 / math.pi) * deviation.sum() / 2)
    n_unlike = -1 if novelty is None else int((novelty >= UNUSUAL).sum())
    return Drift(len(added), len(fitted), n_unlike, shift, by_chance)
