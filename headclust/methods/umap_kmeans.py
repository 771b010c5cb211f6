"""k-means of a UMAP embedding: neighbors are drawn together in few dimensions before they are clustered.

Papers: McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction", 2018
(https://arxiv.org/abs/1802.03426), whose code is used; with k-means on features of frozen backbones, "Dimensionally
Reduced Open-World Clustering: DROWCULA", 2025 (https://arxiv.org/abs/2509.07184).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from headclust.choices import NeighborSearch
from headclust.errors import DataError, SettingError, check_choices, check_ranges
from headclust.features import Features
from headclust.methods.gradient import usable_neighbors
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit
from headclust.seeding import OBJECTIVE_STREAM, stream_seed

if TYPE_CHECKING:
    import torch

_RANGES = {
    "n_clusters": (0, math.inf),
    "n_heads": (1, math.inf),
    "n_neighbors": (1, math.inf),
    "dimensions": (1, math.inf),
    "min_dist": (0, 1),
    "temperature": (0.001, 1e6),
    "n_components": (1, math.inf),
}
_MAX_ITER, _TOLERANCE = 300, 1e-5  # of k-means, as in the method kmeans


@dataclass(frozen=True, kw_only=True)
class Unfolding:
    """The one stage of a recipe of k-means after UMAP. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labeled classes.
        n_heads: Restarts of k-means on the embedding; the one with the lowest inertia is used.
        n_neighbors: Nearest neighbors per sample in the graph, at most n_samples - 1; the same number votes on a
            new sample.
        neighbor_search: Way to find neighbors: exact; ivf (lists by k-means) or cuvs (CUDA, if installed), which are
            approximate; or auto: exact up to 300,000 samples on a CPU and 3,000,000 on CUDA, approximate above.
        dimensions: Dimensions of the embedding, at most those of the features and n_samples - 1.
        min_dist: Distance in the embedding, in [0, 1], at which UMAP no longer draws neighbors together; 0 packs
            groups most densely.
        temperature: Decrease in cosine similarity over which the weight of a vote on a new sample falls to 1/e, at
            least 0.001.
        n_components: Principal components of the fitted features that the model stores for votes on new samples.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 10
    n_neighbors: int = 15
    neighbor_search: str = "auto"
    dimensions: int = 3
    min_dist: float = 0.0
    temperature: float = 0.1
    n_components: int = 256

    def __post_init__(self) -> None:
        check_choices(self, {"neighbor_search": get_args(NeighborSearch)})
        check_ranges(self, _RANGES)


PRESETS: dict[str, tuple[Unfolding, ...]] = {"ours": (Unfolding(),)}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Unfolding, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """k-means of a UMAP embedding of the neighbor graph, which starts from principal components.

    The embedding is not stored: neighbors vote on new samples.

    Args:
        spaces: Exactly one feature space.
        stages: One stage, its n_clusters resolved.
        seed: The fit's seed.
        device: Where to search for neighbors and to run k-means; the CPU by default.

    Raises:
        SettingError: More than one space, a number of clusters that is not possible, or umap-learn is not installed.
        DataError: A single sample, which has no neighbors, or an embedding that is not finite.
    """
    import torch

    from headclust.graph.cached import cached_neighbors
    from headclust.graph.umap import has_umap, umap_positions
    from headclust.methods.lloyd import restarts
    from headclust.model import fit_transform

    if not has_umap():
        raise SettingError('umap-kmeans needs umap-learn, which is not installed: pip install "headclust[maps]".')
    check_fit(spaces, stages, at_least=2)
    (space,), (stage,) = spaces, stages
    n_neighbors = usable_neighbors(stage.n_neighbors, space.n_samples, stage.n_clusters)
    neighbors = cached_neighbors(space, n_neighbors, search=stage.neighbor_search, device=device)
    # Leading principal components of the unit rows, (n_samples, dimensions), from which UMAP starts.
    start = fit_transform(space, "pca", n_components=stage.dimensions).rows(space).numpy()
    positions = umap_positions(
        neighbors, start, min_dist=stage.min_dist, seed=stream_seed(seed, OBJECTIVE_STREAM) % 2**32
    )
    if positions is None:
        raise DataError("UMAP gives positions that are not finite: try another method.")
    runs = restarts(
        torch.from_numpy(positions).to(device or torch.device("cpu")),
        stage.n_clusters,
        n_heads=stage.n_heads,
        max_iter=_MAX_ITER,
        tolerance=_TOLERANCE,
        seed=seed,
    )
    inertias = [run.inertia for run in runs]
    return conclude_partition(
        space,
        [run.assignments for run in runs],
        rows=np.arange(space.n_samples),
        n_clusters=stage.n_clusters,
        n_votes=n_neighbors,
        temperature=stage.temperature,
        n_components=stage.n_components,
        losses=inertias,
        graph=neighbors,
        history=[*neighbors.history, *({"restart": n, "inertia": inertia} for n, inertia in enumerate(inertias))],
        device=device,
    )
