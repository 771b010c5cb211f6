"""Ward's method on the neighbor graph: neighbors are merged bottom up, with the least increase of the inertia.

Paper: Ward, "Hierarchical Grouping to Optimize an Objective Function", JASA 1963
(https://doi.org/10.1080/01621459.1963.10500845). Computed by scikit-learn.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from headclust.choices import NeighborSearch
from headclust.errors import FINITE, check_choices, check_ranges
from headclust.features import Features
from headclust.methods.gradient import usable_neighbors
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Merging:
    """The one stage of a Ward recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labeled classes.
        n_neighbors: Nearest neighbors that a sample may be merged with first, at most n_samples - 1; the same number
            votes on a new sample.
        neighbor_search: Way to find neighbors: exact; ivf (lists by k-means) or cuvs (CUDA, if installed), which are
            approximate; or auto: exact up to 300,000 samples on a CPU and 3,000,000 on CUDA, approximate above.
        temperature: Decrease in cosine similarity over which the weight of a vote on a new sample falls to 1/e, at
            least 0.001.
        n_components: Principal components of the unit features that are clustered, and stored for votes on new samples.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_neighbors: int = 10
    neighbor_search: str = "auto"
    temperature: float = 0.1
    n_components: int = 256

    def __post_init__(self) -> None:
        check_choices(self, {"neighbor_search": get_args(NeighborSearch)})
        least = {"n_clusters": 0, "n_neighbors": 1, "temperature": 0.001, "n_components": 1}
        check_ranges(self, {name: (low, FINITE) for name, low in least.items()})


PRESETS: dict[str, tuple[Merging, ...]] = {"ours": (Merging(),)}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Merging, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Ward's method by scikit-learn; only clusters that the neighbor graph connects are merged.

    Args:
        spaces: Exactly one feature space.
        stages: One stage, its n_clusters resolved.
        seed: Not used, the method is deterministic.
        device: Where to search for neighbors; the CPU by default.

    Raises:
        SettingError: More than one space, or a number of clusters that is not possible.
        DataError: A single sample, which has no neighbors.
    """
    from sklearn.cluster import AgglomerativeClustering

    from headclust.graph.cached import cached_neighbors
    from headclust.graph.matrix import affinity
    from headclust.model import fit_transform

    check_fit(spaces, stages, at_least=2)
    (space,), (stage,) = spaces, stages
    n_neighbors = usable_neighbors(stage.n_neighbors, space.n_samples, stage.n_clusters)
    neighbors = cached_neighbors(space, n_neighbors, search=stage.neighbor_search, device=device)
    graph = affinity(neighbors, temperature=stage.temperature)
    points = fit_transform(space, "pca", n_components=stage.n_components).rows(space).double().numpy()
    ward = AgglomerativeClustering(stage.n_clusters, connectivity=graph.astype(bool), linkage="ward")
    with warnings.catch_warnings():
        # scikit-learn joins connected components at their nearest samples, as intended.
        warnings.filterwarnings("ignore", message="the number of connected components", category=UserWarning)
        assignments = ward.fit_predict(points).astype(np.int64)
    centroids = np.stack([points[assignments == cluster].mean(0) for cluster in range(stage.n_clusters)])
    # Inertia: sum of squared distances to the mean of the cluster.
    inertia = float(np.square(points - centroids[assignments]).sum())
    return conclude_partition(
        space,
        [assignments],
        rows=np.arange(space.n_samples),
        n_clusters=stage.n_clusters,
        n_votes=n_neighbors,
        temperature=stage.temperature,
        n_components=stage.n_components,
        losses=[inertia],
        graph=neighbors,
        history=[*neighbors.history, {"inertia": inertia}],
        device=device,
    )
