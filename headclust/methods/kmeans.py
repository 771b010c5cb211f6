"""k-means, the baseline of every table: several restarts on all samples, without subsampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headclust.errors import FINITE, DataError, check_ranges
from headclust.features import Features
from headclust.group import current
from headclust.methods.result import FitResult, check_fit, conclude

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from headclust.methods.lloyd import Restart
    from headclust.model import FeatureTransform

_ROUNDING = 2.0**-22  # share of the largest coordinate that is rounding
RANGES = {"n_clusters": (0, math.inf), "n_heads": (1, math.inf), "max_iter": (1, math.inf), "tolerance": (0, FINITE)}


@dataclass(frozen=True, kw_only=True)
class Lloyd:
    """The one stage of a k-means recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labeled classes.
        n_heads: Restarts; the one with the lowest inertia is used.
        normalize: Feature transform before clustering: none, l2, standardize or pca.
        max_iter: Largest number of iterations per restart.
        tolerance: Relative decrease of the inertia below which a restart stops.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 10
    normalize: str = "l2"
    max_iter: int = 300
    tolerance: float = 1e-5

    several_spaces: ClassVar[bool] = True
    counts_copies: ClassVar[bool] = True
    over_processes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)


PRESETS: dict[str, tuple[Lloyd, ...]] = {
    # https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (baseline_kmeans.py): raw features, 2 restarts.
    "authors": (Lloyd(normalize="none", n_heads=2, tolerance=1e-4),),
    "ours": (Lloyd(),),
}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Lloyd, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Lloyd's algorithm from greedy k-means++ seeds, on all samples: see `lloyd.restarts`.

    Args:
        spaces: Feature spaces of the same samples; the columns of several are concatenated.
        stages: One stage, its n_clusters resolved.
        seed: The fit's seed; restart r draws from its own stream.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: A number of clusters that is not possible.
    """
    import torch

    from headclust.methods.lloyd import restarts
    from headclust.model import fit_transform, side_by_side

    (stage,) = stages
    check_fit(spaces, stages, at_least=1)
    device = device or torch.device("cpu")
    transforms = tuple(fit_transform(space, stage.normalize, device=device, group=current()) for space in spaces)
    pairs = zip(transforms, spaces, strict=True)
    points = side_by_side([transform.rows(space, device=device) for transform, space in pairs])
    if stage.normalize == "l2":
        check_spread(points, stage.n_clusters)
    runs = restarts(
        points,
        stage.n_clusters,
        n_heads=stage.n_heads,
        max_iter=stage.max_iter,
        tolerance=stage.tolerance,
        seed=seed,
        group=current(),
    )
    return conclude_centroids(runs, transforms, *spaces)


def check_spread(points: Tensor, n_clusters: int) -> None:
    """Raise if unit rows (n_points, dim) that several clusters are asked of differ by rounding only.

    Raises:
        DataError: They do, as rows that point the same way.
    """
    low, high = points.aminmax(dim=0)
    if len(points) > 1 and n_clusters > 1 and (high - low).max() <= 4 * _ROUNDING * points.abs().max():
        raise DataError(
            "all rows point the same way: at unit length they are the same. Try --method kmeans --set normalize=none."
        )


def conclude_centroids(runs: list[Restart], transforms: tuple[FeatureTransform, ...], *spaces: Features) -> FitResult:
    """The result of restarts on the transformed rows of all spaces; the lowest inertia is used."""
    import torch

    from headclust.model import ClusterModel, ensemble
    from headclust.model.heads.centroids import CentroidHeads

    inertias = [restart.inertia for restart in runs]
    # Mean squared distance to the nearest centroid: the temperature of the confidence, per restart.
    scale = (torch.tensor(inertias) / spaces[0].n_samples).clamp_min(torch.finfo(torch.float32).tiny)
    centroids = torch.stack([restart.centroids for restart in runs])
    heads = CentroidHeads(centroids=centroids, scale=scale.to(centroids.device))
    model = ClusterModel(transforms, heads, (ensemble.choose(inertias),), temperature=1.0)
    history = [{"restart": restart, "inertia": inertia} for restart, inertia in enumerate(inertias)]
    return conclude(model, *spaces, losses=inertias, history=history)
