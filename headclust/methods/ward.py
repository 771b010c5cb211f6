"""Ward's method on the neighbor graph: images that are neighbors are merged, bottom up, where it costs least spread.

Paper: Ward, "Hierarchical Grouping to Optimize an Objective Function", JASA 1963
(https://doi.org/10.1080/01621459.1963.10500845). Merging only what a graph joins is scikit-learn's.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import AgglomerativeClustering

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.matrix import affinity
from headclust.graph.neighbors import cached_neighbors
from headclust.methods.gradient import usable_neighbors
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit
from headclust.model import fit_transform


@dataclass(frozen=True, kw_only=True)
class Merging:
    """The one stage of a Ward recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labelled classes.
        n_neighbors: Nearest neighbors a sample may be merged with at first; at most n_samples - 1. As many vote on a
            new sample.
        temperature: Cosine similarity by which the weight of a vote on a new sample falls to 1/e, at least 0.001.
        n_components: Principal components of the unit features that are clustered, and kept for the votes.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_neighbors: int = 10
    temperature: float = 0.1
    n_components: int = 256

    def __post_init__(self) -> None:
        for name, least in (("n_clusters", 0), ("n_neighbors", 1), ("temperature", 0.001), ("n_components", 1)):
            if not least <= getattr(self, name) < np.inf:
                raise SettingError(f"{name} is {getattr(self, name)}: expected {least} or more.")


PRESETS: dict[str, tuple[Merging, ...]] = {"ours": (Merging(),)}


def fit(
    spaces: tuple[Features, ...], recipe: tuple[Merging, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Ward's method by scikit-learn, which merges only what the neighbor graph joins.

    Args:
        spaces: The feature space; exactly one.
        recipe: One stage, its n_clusters resolved.
        seed: Not used: nothing is drawn.
        device: Where to search for neighbors; the CPU by default.

    Raises:
        SettingError: More than one space, or a number of clusters that is not possible.
        DataError: A single sample, which has no neighbors.
    """
    check_fit(spaces, recipe, at_least=2)
    (space,), (stage,) = spaces, recipe
    n_neighbors = usable_neighbors(stage.n_neighbors, space.n_samples, stage.n_clusters)
    joined = affinity(cached_neighbors(space, n_neighbors, device=device), temperature=stage.temperature)
    features = space.all()
    points = fit_transform(features, "pca", n_components=stage.n_components)(features).double().numpy()
    ward = AgglomerativeClustering(stage.n_clusters, connectivity=joined.astype(bool), linkage="ward")
    with warnings.catch_warnings():
        # Parts that nothing joins are joined at their nearest samples, which is what we want of it.
        warnings.filterwarnings("ignore", message="the number of connected components", category=UserWarning)
        assignments = ward.fit_predict(points).astype(np.int64)
    centroids = np.stack([points[assignments == cluster].mean(0) for cluster in range(stage.n_clusters)])
    spread = float(np.square(points - centroids[assignments]).sum())
    return conclude_partition(
        space,
        [assignments],
        rows=np.arange(space.n_samples),
        n_clusters=stage.n_clusters,
        n_votes=n_neighbors,
        temperature=stage.temperature,
        n_components=stage.n_components,
        losses=[spread],
        history=[{"inertia": spread}],
        device=device,
    )
