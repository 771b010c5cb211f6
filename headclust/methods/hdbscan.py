"""HDBSCAN: dense regions are clusters, as many as there are; what lies between them is noise.

Paper: Campello, Moulavi and Sander, "Density-Based Clustering Based on Hierarchical Density Estimates", PAKDD 2013
(https://doi.org/10.1007/978-3-642-37456-2_14). Done by scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import HDBSCAN

from headclust.errors import DataError, SettingError
from headclust.features import Features
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.result import FitResult, check_fit
from headclust.model import fit_transform
from headclust.progress import note

_VOTES, _TEMPERATURE = 10, 0.1  # as in spectral clustering


@dataclass(frozen=True, kw_only=True)
class Density:
    """The one stage of an HDBSCAN recipe. Every field is a setting.

    Args:
        n_clusters: Clusters kept at most, the largest ones; 0 stands for the number of labelled classes.
        smallest: Samples that a cluster must have, as a share of an even cluster's.
        n_neighbors: Neighbors whose distance says how dense it is around a sample.
        n_components: Principal components of the unit features that are clustered, and kept for the votes.

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    smallest: float = 0.1
    n_neighbors: int = 10
    n_components: int = 32

    def __post_init__(self) -> None:
        for name, least in (("n_clusters", 0), ("smallest", 0), ("n_neighbors", 1), ("n_components", 1)):
            if not least <= getattr(self, name) < np.inf:
                raise SettingError(f"{name} is {getattr(self, name)}: expected {least} or more.")


PRESETS: dict[str, tuple[Density, ...]] = {"ours": (Density(),)}


def fit(
    spaces: tuple[Features, ...], recipe: tuple[Density, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """HDBSCAN on principal components. It finds a number of clusters of its own, which a note tells.

    At most n_clusters of them are kept, the largest; the neighbors vote on the samples of others and on noise. With
    fewer, the remaining clusters stay empty.

    Args:
        spaces: The feature space; exactly one.
        recipe: One stage, its n_clusters resolved.
        seed: Not used: nothing is drawn.
        device: Where to search for neighbors; the CPU by default.

    Raises:
        SettingError: More than one space, or a number of clusters that is not possible.
        DataError: A single sample, or nothing dense enough to be a cluster.
    """
    check_fit(spaces, recipe, at_least=2)
    (space,), (stage,) = spaces, recipe
    features = space.all()
    points = fit_transform(features, "pca", n_components=stage.n_components)(features).double().numpy()
    smallest = max(2, int(stage.smallest * space.n_samples / stage.n_clusters))
    samples = min(stage.n_neighbors, space.n_samples)
    found = HDBSCAN(min_cluster_size=smallest, min_samples=samples, copy=True).fit_predict(points)
    sizes = np.bincount(found[found >= 0], minlength=1)
    if not sizes.any():
        raise DataError(
            f"hdbscan finds no cluster of {smallest} or more among {space.n_samples} samples: lower smallest or "
            "n_neighbors, or try another method."
        )
    if len(sizes) != stage.n_clusters or (found < 0).any():
        noise = np.mean(found < 0)
        note(f"hdbscan finds {len(sizes)} clusters where {stage.n_clusters} were expected, and {noise:.0%} noise.")
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    rows = np.flatnonzero((found >= 0) & (rank[found] < stage.n_clusters))
    return conclude_partition(
        space,
        [rank[found[rows]]],
        rows=rows,
        n_clusters=stage.n_clusters,
        n_votes=_VOTES,
        temperature=_TEMPERATURE,
        n_components=stage.n_components,
        losses=[float(np.mean(found < 0))],
        history=[{"clusters": len(sizes), "noise": int((found < 0).sum())}],
        device=device,
    )
