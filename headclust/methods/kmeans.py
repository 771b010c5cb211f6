"""k-means, the baseline of every table: several restarts on all samples, without subsampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust.errors import FINITE, DataError, check_ranges
from headclust.features import Features
from headclust.features.rows import distinct_rows, unit_length
from headclust.methods.result import FitResult, check_fit, conclude
from headclust.progress import bar
from headclust.seeding import RESTART_STREAM, stream_seed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from headclust.model import FeatureTransform

_ROUNDING, _TINY = np.float32(2**-22), np.finfo(np.float32).tiny  # share of the largest coordinate that is rounding
_FAR = 256  # distance from the origin, in units of the points' range, from which on points are centered
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
    """Lloyd's algorithm by faiss from scikit-learn's greedy k-means++ seeds, on all samples.

    faiss repeats to the bit with any number of threads; the sums of scikit-learn depend on which thread finishes first.
    It is not faster here: docs/benchmarks.md.

    Args:
        spaces: Feature spaces of the same samples; the columns of several are concatenated.
        stages: One stage, its n_clusters resolved.
        seed: The fit's seed; restart r draws from its own stream.
        device: Not used, faiss computes on the CPU.

    Raises:
        SettingError: A number of clusters that is not possible.
    """
    from headclust.model import fit_transform, side_by_side

    (stage,) = stages
    check_fit(spaces, stages, at_least=1)
    transforms = tuple(fit_transform(space, stage.normalize) for space in spaces)
    points = side_by_side([transform.rows(space) for transform, space in zip(transforms, spaces, strict=True)])
    if stage.normalize == "l2":
        check_spread(points.numpy(), stage.n_clusters)
    runs = restarts(
        np.ascontiguousarray(points.numpy()),
        stage.n_clusters,
        n_heads=stage.n_heads,
        max_iter=stage.max_iter,
        tolerance=stage.tolerance,
        seed=seed,
    )
    return conclude_centroids(runs, transforms, *spaces)


def check_spread(points: NDArray[np.float32], n_clusters: int) -> None:
    """Raise if unit rows (n_points, dim) that several clusters are asked of differ by rounding only.

    Raises:
        DataError: They do, as rows that point the same way.
    """
    if len(points) > 1 and n_clusters > 1 and np.ptp(points, axis=0).max() <= 4 * _ROUNDING * np.abs(points).max():
        raise DataError(
            "all rows point the same way: at unit length they are the same. Try --method kmeans --set normalize=none."
        )


class Restart(NamedTuple):
    """The result of one restart of k-means.

    Attributes:
        centroids: Shape (n_clusters, dim).
        assignments: The nearest centroid of each point, int64 (n_points,).
        inertia: Sum of squared distances to the nearest centroid.
    """

    centroids: Tensor
    assignments: NDArray[np.int64]
    inertia: float


def restarts(
    points: NDArray[np.float32],
    n_clusters: int,
    *,
    n_heads: int,
    max_iter: int,
    tolerance: float,
    seed: int,
    spherical: bool = False,
) -> list[Restart]:
    """Run k-means from several starts.

    Args:
        points: Shape (n_points, dim).
        n_clusters: Number of clusters, at most n_points.
        n_heads: Number of restarts.
        max_iter: Largest number of iterations per restart.
        tolerance: Relative decrease of the inertia below which a restart stops.
        seed: The fit's seed; restart r draws from its own stream of it.
        spherical: Normalize the centroids to unit length; the points must have unit length too.

    Returns:
        The restarts. With at most n_clusters different points, each of them is a centroid, and there are no others;
        points that differ by rounding only are the same.
    """
    import torch

    first, group = distinct_rows(torch.from_numpy(np.round(points / max(_ROUNDING * np.abs(points).max(), _TINY))))
    if len(first) <= n_clusters:
        return [Restart(torch.from_numpy(points[first]), group, 0.0)] * n_heads
    # Distances are |x|^2 + |c|^2 - 2 <x, c>, imprecise for points that are close together but far from the origin:
    # these are centered. On unit rows that are so close together, cosines and Euclidean distances have the same order.
    center = points.mean(0, dtype=np.float64).astype(np.float32)
    far = bool(np.abs(center).max() > _FAR * np.ptp(points, axis=0).max())
    shifted = points - center if far else points
    runs = []
    with bar("k-means restarts", n_heads) as advance:
        for number in range(n_heads):
            stream = stream_seed(seed, RESTART_STREAM, number) % 2**31
            run = _lloyd(shifted, n_clusters, max_iter, tolerance, stream, spherical and not far)
            if far:
                centroids = run.centroids + torch.from_numpy(center)
                run = run._replace(centroids=unit_length(centroids) if spherical else centroids)
            runs.append(run)
            advance(1)
    return runs


def _lloyd(
    points: NDArray[np.float32], n_clusters: int, max_iter: int, tolerance: float, seed: int, spherical: bool
) -> Restart:
    import faiss
    import torch
    from sklearn.cluster import kmeans_plusplus

    seeds, _ = kmeans_plusplus(points, n_clusters, random_state=seed)
    kmeans = faiss.Kmeans(
        points.shape[1],
        n_clusters,
        niter=min(max_iter, 2**31 - 1),
        seed=seed,
        spherical=spherical,
        early_stop_threshold=tolerance,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    kmeans.train(points, init_centroids=seeds)
    distances, nearest = kmeans.index.search(points, 1)
    centroids = np.asarray(kmeans.centroids, dtype=np.float32).reshape(n_clusters, -1)
    if spherical:
        distances = 2 - 2 * distances  # faiss gives cosines then: |x - c|^2 = 2 - 2 cos
    return Restart(torch.from_numpy(centroids), nearest[:, 0].astype(np.int64), float(distances.sum(dtype=np.float64)))


def conclude_centroids(runs: list[Restart], transforms: tuple[FeatureTransform, ...], *spaces: Features) -> FitResult:
    """The result of restarts on the transformed rows of all spaces; the lowest inertia is used."""
    import torch

    from headclust.model import ClusterModel, ensemble
    from headclust.model.heads.centroids import CentroidHeads

    inertias = [restart.inertia for restart in runs]
    # Mean squared distance to the nearest centroid: the temperature of the confidence, per restart.
    scale = (torch.tensor(inertias) / spaces[0].n_samples).clamp_min(torch.finfo(torch.float32).tiny)
    heads = CentroidHeads(centroids=torch.stack([restart.centroids for restart in runs]), scale=scale)
    model = ClusterModel(transforms, heads, (ensemble.choose(inertias),), temperature=1.0)
    history = [{"restart": restart, "inertia": inertia} for restart, inertia in enumerate(inertias)]
    return conclude(model, *spaces, losses=inertias, history=history)
