"""Spectral clustering: the neighbor graph is cut where it is thinnest, so clusters may have any shape.

Papers: Shi and Malik, "Normalized Cuts and Image Segmentation", TPAMI 2000 (https://doi.org/10.1109/34.868688); Ng,
Jordan and Weiss, "On Spectral Clustering", NeurIPS 2001
(https://papers.nips.cc/paper/2092-on-spectral-clustering-analysis-and-an-algorithm); von Luxburg, "A Tutorial on
Spectral Clustering", 2007 (https://arxiv.org/abs/0711.0189). How `ours` deviates, and why: docs/methods/spectral.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.matrix import affinity, diffusion_map, large_parts, normalized
from headclust.graph.neighbors import cached_neighbors
from headclust.methods.gradient import usable_neighbors
from headclust.methods.kmeans import restarts
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit
from headclust.seeding import RESTART_STREAM, stream_seed

_RANGES = {
    "n_clusters": (0, math.inf),
    "n_heads": (1, math.inf),
    "n_neighbors": (1, math.inf),
    "temperature": (0.001, 1e6),  # similarities end at 1, and weights have to stay numbers
    "vectors": (0.1, 1e6),
    "diffusion": (0, 1_000_000),
    "smallest_part": (0, 1),
    "n_components": (1, math.inf),
    "max_iter": (1, math.inf),
    "tolerance": (0, math.inf),
}


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The one stage of a spectral recipe. Every field is a setting.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labelled classes.
        n_heads: Restarts of the k-means on the graph's coordinates; the one with the lowest inertia speaks.
        n_neighbors: Nearest neighbors a sample is joined to; at most n_samples - 1. As many vote on a new sample.
        temperature: Similarity by which an edge's weight falls to 1/e, at least 0.001; a large one weighs all alike.
        vectors: Eigenvectors a cluster: their number is rounded up.
        diffusion: Steps of a random walk on the graph, which favor the vectors that say most of it at large.
        smallest_part: Share of an even cluster that a part of the graph without any edge to the rest must have to count
            as one; the neighbors vote on smaller ones. In [0, 1].
        n_components: Principal components of the fitted features that the model keeps for the votes on new samples.
        max_iter: Iterations at most a restart.
        tolerance: Relative fall of the inertia below which a restart stops.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 10
    n_neighbors: int = 10
    temperature: float = 0.1
    vectors: float = 1.3
    diffusion: int = 6
    smallest_part: float = 0.1
    n_components: int = 256
    max_iter: int = 300
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                wanted = f"{least} or more" if most == math.inf else f"{least} to {most:,g}"
                raise SettingError(f"{name} is {getattr(self, name)}: expected {wanted}.")


PRESETS: dict[str, tuple[Cut, ...]] = {
    # Ng, Jordan and Weiss, on a graph of neighbors: as many vectors as clusters, taken as they are.
    "authors": (Cut(vectors=1.0, diffusion=0, smallest_part=0.0),),
    "ours": (Cut(),),
}


def fit(
    spaces: tuple[Features, ...], recipe: tuple[Cut, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Cuts the neighbor graph: its leading eigenvectors give each sample coordinates, k-means groups these.

    Args:
        spaces: The feature space; exactly one.
        recipe: One stage, its n_clusters resolved.
        seed: The fit's seed.
        device: Where to search for neighbors; the CPU by default. All else is computed on the CPU.

    Raises:
        SettingError: More than one space, or a number of clusters that is not possible.
        DataError: A single sample, which has no neighbors.
    """
    check_fit(spaces, recipe, at_least=2)
    (space,), (stage,) = spaces, recipe
    n_neighbors = usable_neighbors(stage.n_neighbors, space.n_samples, stage.n_clusters)
    weights = affinity(cached_neighbors(space, n_neighbors, device=device), temperature=stage.temperature)
    kept = large_parts(weights, stage.n_clusters, smallest=stage.smallest_part)
    matrix = normalized(weights[kept][:, kept])
    n_vectors = min(math.ceil(stage.vectors * stage.n_clusters), len(kept))
    start = stream_seed(seed, RESTART_STREAM)
    rows = diffusion_map(matrix, n_vectors, steps=stage.diffusion, seed=start)
    found = restarts(
        np.ascontiguousarray(rows, dtype=np.float32),
        stage.n_clusters,
        n_heads=stage.n_heads,
        max_iter=stage.max_iter,
        tolerance=stage.tolerance,
        seed=seed,
    )
    return conclude_partition(
        space,
        [restart.assignments for restart in found],
        rows=kept,
        n_clusters=stage.n_clusters,
        n_votes=n_neighbors,
        temperature=stage.temperature,
        n_components=stage.n_components,
        losses=[restart.inertia for restart in found],
        history=[{"restart": number, "inertia": restart.inertia} for number, restart in enumerate(found)],
        device=device,
    )
