"""HDBSCAN: dense regions are clusters, samples between them are noise. The method determines the number of clusters.

Paper: Campello, Moulavi and Sander, "Density-Based Clustering Based on Hierarchical Density Estimates", PAKDD 2013
(https://doi.org/10.1007/978-3-642-37456-2_14). Computed by scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headclust.errors import FINITE, DataError, check_ranges
from headclust.features import Features
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit
from headclust.progress import note, percent

if TYPE_CHECKING:
    import torch

_VOTES, _TEMPERATURE = 10, 0.1  # as in spectral clustering


@dataclass(frozen=True, kw_only=True)
class Density:
    """The one stage of an HDBSCAN recipe. Every field is a setting.

    Args:
        n_clusters: Largest number of clusters; of more, the largest clusters are used. 0 stands for the number of
            labeled classes.
        smallest: Smallest size of a cluster, as a share of an even cluster.
        n_neighbors: Neighbors whose distance measures the density around a sample.
        n_components: Principal components of the unit features that are clustered, and stored for votes on new samples.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    smallest: float = 0.1
    n_neighbors: int = 10
    n_components: int = 32

    def __post_init__(self) -> None:
        least = {"n_clusters": 0, "smallest": 0, "n_neighbors": 1, "n_components": 1}
        check_ranges(self, {name: (low, FINITE) for name, low in least.items()})


PRESETS: dict[str, tuple[Density, ...]] = {"ours": (Density(),)}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Density, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """HDBSCAN on principal components. A line on stderr gives the number of clusters that it finds.

    The n_clusters largest are used; neighbors vote on the samples of the others and on noise. If there are fewer, the
    remaining clusters stay empty.

    Args:
        spaces: Exactly one feature space.
        stages: One stage, its n_clusters resolved.
        seed: Not used, the method is deterministic.
        device: Where to search for neighbors; the CPU by default.

    Raises:
        SettingError: More than one space, or a number of clusters that is not possible.
        DataError: A single sample, or nothing dense enough to be a cluster.
    """
    from sklearn.cluster import HDBSCAN

    from headclust.model import fit_transform

    check_fit(spaces, stages, at_least=2)
    (space,), (stage,) = spaces, stages
    points = fit_transform(space, "pca", n_components=stage.n_components).rows(space).double().numpy()
    smallest = max(2, int(stage.smallest * space.n_samples / stage.n_clusters))
    samples = min(stage.n_neighbors, space.n_samples)
    clusters = HDBSCAN(min_cluster_size=smallest, min_samples=samples, copy=True).fit_predict(points)
    sizes = np.bincount(clusters[clusters >= 0], minlength=1)
    if not sizes.any():
        raise DataError(
            f"hdbscan finds no cluster of {smallest} or more among {space.n_samples} samples: lower smallest or "
            "n_neighbors, or try another method."
        )
    if len(sizes) != stage.n_clusters or (clusters < 0).any():
        noise = np.mean(clusters < 0)
        note(f"hdbscan finds {len(sizes)} clusters instead of {stage.n_clusters}, and {percent(noise)} noise.")
    # Clusters are numbered by size, the largest first.
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    rows = np.flatnonzero((clusters >= 0) & (rank[clusters] < stage.n_clusters))
    return conclude_partition(
        space,
        [rank[clusters[rows]]],
        rows=rows,
        n_clusters=stage.n_clusters,
        n_votes=_VOTES,
        temperature=_TEMPERATURE,
        n_components=stage.n_components,
        losses=[float(np.mean(clusters < 0))],
        history=[{"clusters": len(sizes), "noise": int((clusters < 0).sum())}],
        device=device,
    )
