"""k-means, the baseline every table needs: strong, fair, and without silent subsampling."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import kmeans_plusplus

from headclust import ensemble
from headclust.cache import Features
from headclust.errors import SettingError
from headclust.heads import CentroidHeads
from headclust.methods.result import FitResult, conclude, one_space
from headclust.model import ClusterModel, fit_transform
from headclust.progress import bar
from headclust.seeding import stream_seed

_RESTART_STREAM = 3


@dataclass(frozen=True, kw_only=True)
class Lloyd:
    """The one stage of a k-means recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labelled classes.
        n_heads: Restarts; the one with the lowest inertia speaks.
        normalize: Feature transform before clustering: none, l2, standardize or pca.
        max_iter: Iterations at most a restart.
        tolerance: Relative fall of the inertia below which a restart stops.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 10
    normalize: str = "l2"
    max_iter: int = 300
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        for name, least in (("n_clusters", 0), ("n_heads", 1), ("max_iter", 1), ("tolerance", 0)):
            if not getattr(self, name) >= least:
                raise SettingError(f"{name} is {getattr(self, name)}: wanted {least} or more.")


PRESETS: dict[str, tuple[Lloyd, ...]] = {
    # https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (baseline_kmeans.py): raw features, 2 restarts.
    "authors": (Lloyd(normalize="none", n_heads=2, tolerance=1e-4),),
    "ours": (Lloyd(),),
}


def fit(
    spaces: tuple[Features, ...], recipe: tuple[Lloyd, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Lloyd's algorithm by faiss from scikit-learn's greedy k-means++ seeds, on every sample.

    faiss because it is repeatable to the bit with any number of threads, where scikit-learn's sums depend on which
    thread finishes first. It is not the faster of the two here: docs/benchmarks.md.

    Args:
        spaces: The feature space; exactly one.
        recipe: One stage, its n_clusters resolved.
        seed: The fit's seed; restart r draws from its own stream.
        device: Not used, faiss computes on the CPU.

    Raises:
        SettingError: More than one space or stage, or a number of clusters that is not possible.
    """
    space, stage = one_space(spaces, recipe, at_least=1)
    features = space.all()
    transform = fit_transform(features, stage.normalize)
    points = np.ascontiguousarray(transform(features).numpy())
    centroids, inertias = [], []
    with bar("k-means restarts", stage.n_heads) as advance:
        for restart in range(stage.n_heads):
            found, inertia = _lloyd(points, stage, stream_seed(seed, _RESTART_STREAM, restart) % 2**31)
            centroids.append(torch.from_numpy(found))
            inertias.append(inertia)
            advance(1)
    scale = (torch.tensor(inertias) / len(points)).clamp_min(torch.finfo(torch.float32).tiny)
    heads = CentroidHeads(centroids=torch.stack(centroids), scale=scale)
    model = ClusterModel(transform, heads, ensemble.choose(inertias), temperature=1.0)
    history = [{"restart": restart, "inertia": inertia} for restart, inertia in enumerate(inertias)]
    return conclude(model, features, losses=inertias, history=history)


def _lloyd(points: NDArray[np.float32], stage: Lloyd, seed: int) -> tuple[NDArray[np.float32], float]:
    seeds, _ = kmeans_plusplus(points, stage.n_clusters, random_state=seed)
    kmeans = faiss.Kmeans(
        points.shape[1],
        stage.n_clusters,
        niter=min(stage.max_iter, 2**31 - 1),
        seed=seed,
        early_stop_threshold=stage.tolerance,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    kmeans.train(points, init_centroids=seeds)
    distances, _ = kmeans.index.search(points, 1)
    centroids = np.asarray(kmeans.centroids, dtype=np.float32).reshape(stage.n_clusters, -1)
    return centroids, float(distances.sum(dtype=np.float64))
