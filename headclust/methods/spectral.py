"""Spectral clustering: cuts of the neighbor graph through few edges, so clusters may have any shape.

Papers: Shi and Malik, "Normalized Cuts and Image Segmentation", TPAMI 2000 (https://doi.org/10.1109/34.868688); Ng,
Jordan and Weiss, "On Spectral Clustering", NeurIPS 2001
(https://papers.nips.cc/paper/2092-on-spectral-clustering-analysis-and-an-algorithm); von Luxburg, "A Tutorial on
Spectral Clustering", 2007 (https://arxiv.org/abs/0711.0189). How `ours` deviates, and why: docs/methods/spectral.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from headclust.choices import NeighborSearch
from headclust.device import available_memory
from headclust.errors import FINITE, SettingError, check_choices, check_ranges
from headclust.features import Features
from headclust.methods.gradient import usable_neighbors
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit
from headclust.seeding import RESTART_STREAM, stream_seed

if TYPE_CHECKING:
    import torch

_RANGES = {
    "n_clusters": (0, math.inf),
    "n_heads": (1, math.inf),
    "n_neighbors": (1, math.inf),
    "temperature": (0.001, 1e6),  # below, exp(similarity / temperature) overflows
    "vectors": (0.1, 1e6),
    "diffusion": (0, 1_000_000),
    "smallest_part": (0, 1),
    "n_components": (1, math.inf),
    "max_iter": (1, math.inf),
    "tolerance": (0, FINITE),
}


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The one stage of a spectral recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labeled classes.
        n_heads: Restarts of k-means on the eigenvectors; the one with the lowest inertia is used.
        n_neighbors: Nearest neighbors per sample in the graph, at most n_samples - 1; the same number votes on a
            new sample.
        neighbor_search: Way to find neighbors: exact; ivf (lists by k-means) or cuvs (CUDA, if installed), which are
            approximate; or auto: exact up to 300,000 samples on a CPU and 3,000,000 on CUDA, approximate above.
        temperature: Decrease in cosine similarity over which the weight of an edge falls to 1/e, at least 0.001; a
            large value weighs all edges alike.
        vectors: Eigenvectors per cluster; their number is rounded up.
        diffusion: Steps of a random walk on the graph, which weigh eigenvectors by eigenvalue to that power.
        smallest_part: Smallest size of a connected component that is clustered, as a share of an even cluster, in
            [0, 1]; samples of smaller ones are assigned by their neighbors.
        n_components: Principal components of the fitted features that the model stores for votes on new samples.
        max_iter: Largest number of iterations per restart.
        tolerance: Relative decrease of the inertia below which a restart stops.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 10
    n_neighbors: int = 10
    neighbor_search: str = "auto"
    temperature: float = 0.1
    vectors: float = 1.3
    diffusion: int = 6
    smallest_part: float = 0.1
    n_components: int = 256
    max_iter: int = 300
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        check_choices(self, {"neighbor_search": get_args(NeighborSearch)})
        check_ranges(self, _RANGES)


PRESETS: dict[str, tuple[Cut, ...]] = {
    # Ng, Jordan and Weiss, on a graph of neighbors: as many vectors as clusters, not scaled.
    "authors": (Cut(neighbor_search="exact", vectors=1.0, diffusion=0, smallest_part=0.0),),
    "ours": (Cut(),),
}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Cut, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Cut the neighbor graph: its leading eigenvectors are coordinates of the samples, which k-means clusters.

    Args:
        spaces: Exactly one feature space.
        stages: One stage, its n_clusters resolved.
        seed: The fit's seed.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: More than one space, a number of clusters that is not possible, or not enough memory.
        DataError: A single sample, which has no neighbors.
    """
    import torch

    from headclust.graph.cached import cached_neighbors
    from headclust.graph.eigenvectors import leading_eigenvectors
    from headclust.graph.matrix import affinity, diffusion_map, large_parts, normalized
    from headclust.methods.lloyd import restarts

    check_fit(spaces, stages, at_least=2)
    (space,), (stage,) = spaces, stages
    _check_memory(space.n_samples, stage)
    # The graph: symmetric weights (n_samples, n_samples), sparse; its large connected components, n_kept samples.
    n_neighbors = usable_neighbors(stage.n_neighbors, space.n_samples, stage.n_clusters)
    neighbors = cached_neighbors(space, n_neighbors, search=stage.neighbor_search, device=device)
    weights = affinity(neighbors, temperature=stage.temperature)
    large = large_parts(weights, stage.n_clusters, smallest=stage.smallest_part)
    # D^-1/2 W D^-1/2 (Ng, Jordan and Weiss), then its leading eigenvectors: rows (n_kept, n_vectors).
    matrix = normalized(weights[large][:, large])
    n_vectors = min(math.ceil(stage.vectors * stage.n_clusters), len(large))
    start = stream_seed(seed, RESTART_STREAM)
    if len(large) > stage.n_clusters:
        values, vectors = leading_eigenvectors(matrix, n_vectors, seed=start, device=device)
        rows = diffusion_map(values, vectors, steps=stage.diffusion)
    else:  # each sample is its own cluster
        rows = torch.eye(len(large))
    runs = restarts(
        rows,
        stage.n_clusters,
        n_heads=stage.n_heads,
        max_iter=stage.max_iter,
        tolerance=stage.tolerance,
        seed=seed,
    )
    return conclude_partition(
        space,
        [restart.assignments for restart in runs],
        rows=large,
        n_clusters=stage.n_clusters,
        n_votes=n_neighbors,
        temperature=stage.temperature,
        n_components=stage.n_components,
        losses=[restart.inertia for restart in runs],
        graph=neighbors,
        history=neighbors.history
        + [{"restart": number, "inertia": restart.inertia} for number, restart in enumerate(runs)],
        device=device,
    )


def _check_memory(n_samples: int, stage: Cut) -> None:
    """Raise if the eigenvectors do not fit into memory; nothing has been computed yet.

    Raises:
        SettingError: They do not.
    """
    from headclust.graph.eigenvectors import eigenvector_bytes

    n_vectors = min(math.ceil(stage.vectors * stage.n_clusters), n_samples)
    needed, free = eigenvector_bytes(n_samples, n_vectors), available_memory()
    if needed > free:
        raise SettingError(
            f"spectral: {n_vectors:,} eigenvectors of {n_samples:,} samples take {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free: lower vectors ({stage.vectors:g} per cluster) or the number of clusters, "
            "fit fewer samples, or take the default method, which fits a part of them."
        )
