"""Partitions of the samples on several neighbor graphs, from which the default's heads start."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from headclust.errors import SettingError, check_choices, check_ranges
from headclust.group import current
from headclust.seeding import HEAD_STREAM, RESTART_STREAM, stream_seed

if TYPE_CHECKING:
    import torch
    from scipy import sparse
    from torch import Tensor

    from headclust.graph.neighbors import NeighborGraph

GRAPH_SIZES = (1.0, 1.5, 2.25)  # neighbors in the graphs, as multiples of n_neighbors
# Temperature of the edge weights, and steps of the random walk, as in spectral: docs/methods/spectral.md.
_TEMPERATURE = 0.1
_DIFFUSION = 6
_SMALLEST_PART = 0.1
# Modes per cluster at which walks end, from the longest to the shortest walk; and most steps, as modes do not become
# fewer than the connected components of the graph.
_MODES = (0.5, 2.5)
_MOST_STEPS = 200
_KINDS = ("graph", "walk", "kmeans")  # of the heads, in turn
# Most restarts of k-means of rows, which have many columns; with one, heads that start from the rows themselves differ.
_TRIES = {"walk": 3, "kmeans": 1}
_RESTARTED = 600  # clusters in all restarts of a partition, at most
_MAX_ITER, _TOLERANCE = 100, 1e-4  # of k-means: its clusters only start the heads, which training refines
_CHOICES = {"partitions": ("mixed", *_KINDS), "choose_by": ("consensus", "neighbors")}
_RANGES = {
    "n_clusters": (0, math.inf),
    "n_heads": (1, math.inf),
    "samples_at_most": (0, math.inf),
    "n_components": (1, math.inf),
    "n_neighbors": (1, math.inf),
    "shrinkage": (1e-6, 1),
    "fewest_vectors": (0.1, 10),
    "most_vectors": (0.1, 10),
    "vectors_at_most": (1, math.inf),
    "tries": (1, math.inf),
    "passes": (0, math.inf),
}


@dataclass(frozen=True, kw_only=True)
class Partitions:
    """The first stage of the default: a space, partitions of the samples in it, and one head per partition.

    Args:
        n_clusters: Number of clusters; 0 stands for the number of labeled classes.
        n_heads: Number of partitions, and of heads.
        samples_at_most: Largest number of samples that heads are fitted on, drawn at random; the heads assign all. 0
            stands for 100,000, or 100 per cluster if that is more.
        n_components: Principal components of the unit features.
        n_neighbors: Nearest neighbors per sample in the smallest graph, at most half of the samples of an even cluster;
            the largest graph has 2.25 times as many.
        whiten: Whiten within pairs, so that directions in which samples that belong together differ count less. Pairs
            are an image and its cached views; without views, a sample and its neighbors.
        views: Use cached views, if there are any: for the whitening, and in the refinement, where samples and partners
            are a random version each, the image or a view.
        shrinkage: Weight of the identity, in (0, 1], in the covariance within pairs and in that within clusters. With
            few pairs the weight in the first is larger: number of dimensions over number of pairs.
        partitions: The partitions that heads start from: graph (cuts of neighbor graphs), walk (k-means of rows
            averaged over walks on the widest graph), kmeans (of the rows as they are), or mixed (these in turn).
        fewest_vectors: Smallest number of eigenvectors per cluster that a cut uses; each head draws its own number ...
        most_vectors: ... up to this one.
        vectors_at_most: Largest number of eigenvectors, for any number of clusters; but one per connected component.
        tries: Restarts of k-means per partition, at most three after a walk and one of the rows as they are; the lowest
            inertia is used. With more than 100 clusters there are fewer, at most 600 / n_clusters, as restarts then
            differ less.
        passes: Most passes over the samples in the refinement, whatever its length in steps: with few samples, more
            would fit the heads to chance.
        choose_by: The heads that are used: consensus (all, with the mean of their probabilities), or neighbors (the one
            with the highest neighbor information).

    Raises:
        SettingError: A value is out of its range.
    """

    n_clusters: int = 0
    n_heads: int = 24
    samples_at_most: int = 0
    n_components: int = 256
    n_neighbors: int = 10
    whiten: bool = True
    views: bool = True
    shrinkage: float = 0.1
    partitions: str = "mixed"
    fewest_vectors: float = 1.2
    most_vectors: float = 2.2
    vectors_at_most: int = 600
    tries: int = 6
    passes: float = 16.0
    choose_by: str = "consensus"

    several_spaces: ClassVar[bool] = True
    over_processes: ClassVar[bool] = True
    keeps_constraints: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choices(self, _CHOICES)
        check_ranges(self, _RANGES)
        if self.fewest_vectors > self.most_vectors:
            values = f"fewest_vectors is {self.fewest_vectors}, most_vectors {self.most_vectors}"
            raise SettingError(f"{values}: expected the first to be the smaller.")


def neighbors_within_cluster(n_neighbors: int, n_samples: int, n_clusters: int) -> int:
    """`n_neighbors`, but at most half of an even cluster, so that the neighbors of a sample can be in its cluster."""
    return max(1, min(n_neighbors, n_samples // (2 * n_clusters), n_samples - 1))


def find_partitions(rows: Tensor, graph: NeighborGraph, stage: Partitions, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Partitions of the samples by cuts of the neighbor graph, whose small connected components are left out.

    Of several processes, each partitions the samples for a part of the heads.

    Args:
        rows: Unit rows (n_samples, dim).
        graph: Their neighbors, at least as many as in the largest graph that is cut.
        stage: Its settings.
        k: Neighbors in the smallest graph that is cut.
        seed: The fit's seed; head h draws from its own streams of it.

    Returns:
        Clusters, int64 (heads, n_kept), and the rows that are partitioned, int64 (n_kept,).
    """
    import torch

    from headclust.graph.matrix import large_parts
    from headclust.methods.lloyd import restarts

    advice = "Lower --clusters, or try --set partitions=kmeans."
    samples = large_parts(_affinity(graph, k), stage.n_clusters, smallest=_SMALLEST_PART, advice=advice)
    points = rows[torch.from_numpy(samples).to(rows.device)]
    group, _ = current().split(stage.n_heads)
    own = group.share(stage.n_heads)

    def partition(head: int, coordinates: Tensor) -> NDArray[np.int64]:
        """The partition that a head starts from."""
        runs = restarts(
            coordinates,
            stage.n_clusters,
            n_heads=n_restarts(stage, head),
            max_iter=_MAX_ITER,
            tolerance=_TOLERANCE,
            seed=stream_seed(seed, RESTART_STREAM, head),
        )
        return min(runs, key=lambda restart: restart.inertia).assignments

    if len(points) <= stage.n_clusters:  # then each sample can be its own cluster
        coordinates: Iterable[tuple[int, Tensor]] = ((head, points) for head in own)
    else:
        sizes = [min(math.ceil(k * size), graph.indices.shape[1]) for size in GRAPH_SIZES]
        graphs = (_affinity(graph, size)[samples][:, samples] for size in sizes)
        coordinates = _coordinates(points, graphs, stage, own, seed)
    partitions = {head: partition(head, rows_of_head) for head, rows_of_head in coordinates}
    return group.gather(torch.from_numpy(np.stack([partitions[head] for head in own]))), torch.from_numpy(samples)


def _coordinates(
    points: Tensor, graphs: Iterable[sparse.csr_array], stage: Partitions, heads: range, seed: int
) -> Iterator[tuple[int, Tensor]]:
    """Heads, and the coordinates (n_points, any) that each clusters, graph by graph, so that few are held at a time.

    Heads differ in the graph and the number of eigenvectors, or in the length of the walk, so that their errors differ.
    """
    from headclust.features.rows import unit_length
    from headclust.graph.matrix import parts

    n_graphs, start = len(GRAPH_SIZES), stream_seed(seed, RESTART_STREAM)
    cut, walked, plain = ([head for head in heads if kind(stage, head) == each] for each in _KINDS)
    yield from ((head, points) for head in plain)
    if not cut and not walked:
        return  # no graph is needed
    # The graph that each head cuts: all graphs in turn, if all heads cut and if one of three does.
    graph_of = {head: (head + head // len(_KINDS)) % n_graphs for head in cut}
    last = max(graph_of.values(), default=-1)
    n_parts, vectors = 0, None
    for position, weights in enumerate(graphs):
        # Vectors of a graph start from those of the one before, so every process computes all up to the last it needs.
        if position <= last:
            # A component without an eigenvector would be a single point of the map, together with others like it.
            most = math.ceil(stage.most_vectors * stage.n_clusters)
            n_parts = n_parts or min(int(parts(weights).max()) + 1, most)
            count = min(max(min(most, stage.vectors_at_most), n_parts), len(points))
            map_, vectors = _diffusion_map(weights, count, start, points.device, vectors)
            for head in [head for head in cut if graph_of[head] == position]:
                generator = np.random.default_rng(stream_seed(seed, HEAD_STREAM, head))
                vectors_per_cluster = generator.uniform(stage.fewest_vectors, stage.most_vectors)
                n_vectors = max(math.ceil(vectors_per_cluster * stage.n_clusters), n_parts)
                # Rows of the leading eigenvectors at unit length (n_points, n_vectors), as Ng, Jordan and Weiss do.
                yield head, unit_length(map_[:, :n_vectors])
            del map_  # before the next is computed: it can be most of the memory
        if position == n_graphs - 1:  # walks on the widest graph take the fewest steps, and are as good
            yield from _walked(points, weights, walked, stage.n_clusters, seed)


def kind(stage: Partitions, head: int) -> str:
    """The kind of partition that a head starts from: graph, walk or kmeans."""
    return _KINDS[head % len(_KINDS)] if stage.partitions == "mixed" else stage.partitions


def n_restarts(stage: Partitions, head: int) -> int:
    """Restarts of k-means of which a head starts from the best."""
    return max(1, min(stage.tries, _TRIES.get(kind(stage, head), stage.tries), _RESTARTED // stage.n_clusters))


def _diffusion_map(
    weights: sparse.csr_array, count: int, seed: int, device: torch.device, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The diffusion map of a graph and its eigenvectors, (n_points, count) each; `start` is of a similar graph."""
    from headclust.graph.eigenvectors import leading_eigenvectors
    from headclust.graph.matrix import diffusion_map, normalized

    values, vectors = leading_eigenvectors(normalized(weights), count, seed=seed, device=device, start=start)
    return diffusion_map(values, vectors, steps=_DIFFUSION), vectors


def _walked(
    points: Tensor, weights: sparse.csr_array, heads: list[int], n_clusters: int, seed: int
) -> Iterator[tuple[int, Tensor]]:
    """Heads, and the points (n_points, dim) that the walk of each has averaged; the shortest walk first.

    The best length depends on the data and cannot be determined without labels. A walk that leaves one mode more than
    there are other clusters tells n_clusters groups apart: lengths around this one are drawn.
    """
    from headclust.graph.walk import Walk

    if not heads:
        return
    low, high = (math.log(modes) for modes in _MODES)
    draws = {head: np.random.default_rng(stream_seed(seed, HEAD_STREAM, head)).uniform(low, high) for head in heads}
    walk, steps = Walk(weights, points, seed=stream_seed(seed, RESTART_STREAM)), 0
    for head in sorted(heads, key=lambda head: -draws[head]):
        # One mode is that of all points together; the number of the others is compared with that of other clusters.
        while walk.n_modes - 1 > math.exp(draws[head]) * (n_clusters - 1) and steps < _MOST_STEPS:
            walk.step()
            steps += 1
        yield head, walk.rows()


def _affinity(graph: NeighborGraph, k: int) -> sparse.csr_array:
    """Symmetric edge weights of the k nearest neighbors, (n_samples, n_samples)."""
    from headclust.graph.matrix import affinity
    from headclust.graph.neighbors import NeighborGraph

    nearest = NeighborGraph(graph.indices[:, :k].contiguous(), graph.similarities[:, :k].contiguous())
    return affinity(nearest, temperature=_TEMPERATURE)
