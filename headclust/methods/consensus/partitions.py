"""Where the default begins: a space in which nuisances count less, and partitions of the samples in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.matrix import affinity, diffusion_map, large_parts, normalized, unit_rows
from headclust.graph.neighbors import NeighborGraph, nearest_neighbors
from headclust.methods.consensus.pair_whitening import scatter, whiten_within
from headclust.methods.kmeans import restarts
from headclust.model import FeatureTransform, fit_transform
from headclust.seeding import HEAD_STREAM, RESTART_STREAM, stream_seed

GRAPHS = (1.0, 1.5, 2.25)  # sizes of the neighborhoods that are cut, as multiples of n_neighbors
_TEMPERATURE = 0.1  # of the graphs' weights, and the steps of the walk: as in the method spectral, whose page says why
_DIFFUSION = 6
_SMALLEST_PART = 0.1
_MAX_ITER, _TOLERANCE = 100, 1e-4  # of k-means: it starts heads, and TEMI goes on
_CHOICES = {"partitions": ("graph", "kmeans"), "choose_by": ("consensus", "neighbors")}
_RANGES = {
    "n_clusters": (0, math.inf),
    "n_heads": (1, math.inf),
    "samples_at_most": (2, math.inf),
    "n_components": (1, math.inf),
    "n_neighbors": (1, math.inf),
    "shrinkage": (1e-6, 1),
    "fewest_vectors": (0.1, 10),
    "most_vectors": (0.1, 10),
    "vectors_at_most": (1, math.inf),
    "tries": (1, math.inf),
}


@dataclass(frozen=True, kw_only=True)
class Partitions:
    """The first stage of the default: a space, partitions of the samples in it, a head for each.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labelled classes.
        n_heads: Partitions, and heads.
        samples_at_most: Samples that heads are fitted on, drawn at random where there are more. They assign all.
        n_components: Principal components of the unit features that are kept.
        n_neighbors: Nearest neighbors in the narrowest graph, at most half of the samples of an even cluster; the
            widest takes 2.25 times as many.
        whiten: Make directions count less in which samples that belong together differ: an image and its cached views,
            where the feature file has any, and otherwise neighbors.
        views: Use cached views for that, where there are any.
        shrinkage: Share of the identity mixed into that covariance, and into the one within clusters that heads are
            made with, in (0, 1]. Where differences are few, the first has more: their dimensions over their number.
        partitions: What heads start from: graph (cuts of neighbor graphs), or kmeans.
        fewest_vectors: Eigenvectors a cluster that a cut is made from, at least ...
        most_vectors: ... and at most; each head draws its own number.
        vectors_at_most: Eigenvectors at most, whatever the number of clusters.
        tries: Restarts of k-means a partition, of which the one with the lowest inertia is taken.
        guard: A head goes back to what it was before TEMI, where a neighbor's cluster then said more of one's own: TEMI
            draws clusters to equal sizes, which can cut through large ones.
        choose_by: Who speaks: consensus (all heads, with the mean of their probabilities), or neighbors (the one head
            under which a neighbor's cluster says most of one's own).

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 16
    samples_at_most: int = 100_000
    n_components: int = 256
    n_neighbors: int = 10
    whiten: bool = True
    views: bool = True
    shrinkage: float = 0.1
    partitions: str = "graph"
    fewest_vectors: float = 1.2
    most_vectors: float = 2.2
    vectors_at_most: int = 200
    tries: int = 6
    guard: bool = True
    choose_by: str = "consensus"

    several_spaces: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingError(f"{name} is {getattr(self, name)!r}: expected one of {', '.join(choices)}.")
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                wanted = f"{least} or more" if most == math.inf else f"{least} to {most}"
                raise SettingError(f"{name} is {getattr(self, name)}: expected {wanted}.")
        if self.fewest_vectors > self.most_vectors:
            found = f"fewest_vectors is {self.fewest_vectors}, most_vectors {self.most_vectors}"
            raise SettingError(f"{found}: expected the first to be the smaller.")


def find_space(
    space: Features, stage: Partitions, drawn: NDArray[np.int64] | slice, device: torch.device
) -> FeatureTransform:
    """Principal components of unit rows, in which directions count the less, the more pairs differ in them.

    Args:
        space: The samples, and their views where there are any.
        stage: Its settings.
        drawn: The rows that are fitted.
        device: Where to compute.
    """
    features = space.rows(drawn).to(device)
    transform = fit_transform(features, "pca", n_components=stage.n_components)
    if not stage.whiten:
        return replace(transform, unit=True)
    seen = [transform(features)]
    if space.n_views and stage.views:
        views = (space.rows(drawn, view=number).to(device) for number in range(space.n_views))
        seen += [transform(view) for view in views]
    within = scatter(_differences(seen, stage))
    return whiten_within(transform, within, shrinkage=max(stage.shrinkage, _noise(seen, stage)))


def _noise(seen: list[Tensor], stage: Partitions) -> float:
    """Dimensions over independent differences, at most 1: how far chance spreads the eigenvalues of their covariance.

    Those of n draws of the identity in d dimensions it spreads with a variance of d / n, from (1 - sqrt(d / n))^2 to
    (1 + sqrt(d / n))^2 (Marchenko and Pastur, 1967). A sample brings a difference a partner: its views, or neighbors.
    """
    n_samples, dim = seen[0].shape
    n_partners = len(seen) - 1 or usable_neighbors(stage.n_neighbors, n_samples, stage.n_clusters)
    return min(1.0, dim / (n_samples * n_partners))


def _differences(seen: list[Tensor], stage: Partitions) -> Iterator[Tensor]:
    """Differences of samples that belong together: any two of an image and its views, or of neighbors."""
    if len(seen) > 1:
        yield from (one - other for one, other in itertools.combinations(seen, 2))
        return
    (plain,) = seen
    k = usable_neighbors(stage.n_neighbors, len(plain), stage.n_clusters)
    indices = nearest_neighbors(plain, k).indices.long().to(plain.device)
    yield from (plain - plain[indices[:, column]] for column in range(k))


def usable_neighbors(wanted: int, n_samples: int, n_clusters: int) -> int:
    """Neighbors of a sample: no more than half of an even cluster, so that most of them can be in its own."""
    return max(1, min(wanted, n_samples // (2 * n_clusters), n_samples - 1))


def find_partitions(rows: Tensor, graph: NeighborGraph, stage: Partitions, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Partitions of the samples, and which samples they divide: the graph's small parts on their own are left out.

    Args:
        rows: Unit rows (n_samples, dim).
        graph: Their neighbors, as many as the widest cut graph takes.
        stage: Its settings.
        k: Neighbors in the narrowest cut graph.
        seed: The fit's seed; head h draws from its own streams of it.

    Returns:
        Clusters, int64 (heads, n_kept), and the samples kept, int64 (n_kept,).
    """
    advice = "Lower --clusters, or try --set partitions=kmeans."
    kept = large_parts(_cut(graph, k), stage.n_clusters, smallest=_SMALLEST_PART, advice=advice)
    points = np.ascontiguousarray(rows[torch.from_numpy(kept).to(rows.device)].cpu().numpy())
    maps: dict[int, NDArray[np.float64]] = {}
    found = []
    for head in range(stage.n_heads):
        generator = np.random.default_rng(stream_seed(seed, HEAD_STREAM, head))
        density = generator.uniform(stage.fewest_vectors, stage.most_vectors)
        if stage.partitions == "kmeans":
            coordinates = points
        else:
            wide = min(math.ceil(k * GRAPHS[head % len(GRAPHS)]), graph.indices.shape[1])
            if wide not in maps:
                maps[wide] = _coordinates(_cut(graph, wide)[kept][:, kept], stage, seed)
            n_vectors = min(math.ceil(density * stage.n_clusters), maps[wide].shape[1])
            coordinates = np.ascontiguousarray(unit_rows(maps[wide][:, :n_vectors]), dtype=np.float32)
        tried = restarts(
            coordinates,
            stage.n_clusters,
            n_heads=stage.tries,
            max_iter=_MAX_ITER,
            tolerance=_TOLERANCE,
            seed=stream_seed(seed, RESTART_STREAM, head),
        )
        found.append(min(tried, key=lambda restart: restart.inertia).assignments)
    return torch.from_numpy(np.stack(found)), torch.from_numpy(kept)


def _cut(graph: NeighborGraph, k: int) -> sparse.csr_array:
    narrow = NeighborGraph(graph.indices[:, :k].contiguous(), graph.similarities[:, :k].contiguous())
    return affinity(narrow, temperature=_TEMPERATURE)


def _coordinates(weights: sparse.csr_array, stage: Partitions, seed: int) -> NDArray[np.float64]:
    n_vectors = min(math.ceil(stage.most_vectors * stage.n_clusters), stage.vectors_at_most, weights.shape[0])
    start = stream_seed(seed, RESTART_STREAM)
    return diffusion_map(normalized(weights), n_vectors, steps=_DIFFUSION, seed=start)
