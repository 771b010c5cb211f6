"""Spherical k-means: unit rows and unit centroids, so that the similarity is the cosine throughout.

Paper: Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering", Machine Learning 2001
(https://doi.org/10.1023/A:1007612920971).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headclust.errors import check_ranges
from headclust.features import Features
from headclust.group import current
from headclust.methods.kmeans import RANGES, check_spread, conclude_centroids
from headclust.methods.result import FitResult, check_fit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class SphericalLloyd:
    """The one stage of a spherical k-means recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labeled classes.
        n_heads: Restarts; the one with the lowest inertia is used.
        max_iter: Largest number of iterations per restart.
        tolerance: Relative gain in similarity below which a restart stops.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 10
    max_iter: int = 300
    tolerance: float = 1e-5

    counts_copies: ClassVar[bool] = True
    over_processes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)


PRESETS: dict[str, tuple[SphericalLloyd, ...]] = {"ours": (SphericalLloyd(),)}


def fit(
    spaces: tuple[Features, ...], stages: tuple[SphericalLloyd, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Spherical k-means from greedy k-means++ seeds, on every sample: see `lloyd.restarts`.

    Args:
        spaces: Exactly one feature space.
        stages: One stage, its n_clusters resolved.
        seed: The fit's seed; restart r draws from its own stream.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: More than one space, or a number of clusters that is not possible.
    """
    import torch

    from headclust.methods.lloyd import restarts
    from headclust.model import fit_transform

    check_fit(spaces, stages, at_least=1)
    (space,), (stage,) = spaces, stages
    device = device or torch.device("cpu")
    transform = fit_transform(space, "l2", device=device)
    points = transform.rows(space, device=device)
    check_spread(points, stage.n_clusters)
    runs = restarts(
        points,
        stage.n_clusters,
        n_heads=stage.n_heads,
        max_iter=stage.max_iter,
        tolerance=stage.tolerance,
        seed=seed,
        group=current(),
        spherical=True,
    )
    return conclude_centroids(runs, (transform,), space)
