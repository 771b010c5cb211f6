"""The fit of the default: heads from partitions, refined, combined by the mean of their probabilities.

Six steps; docs/default.md has the gain of each:

1. Each feature space is whitened within pairs (`pair_whitening`); several spaces are concatenated.
2. Several neighbor graphs are cut, with different numbers of eigenvectors, or walked on before k-means: this gives
   partitions (`partitions`).
3. A linear head is fitted to each partition, in closed form, and made as confident as it is reliable (`calibration`).
4. The likelihood of pairs refines the heads: an image, its views and its neighbors get the same cluster.
5. Clusters of all heads get common ids, and the mean of the probabilities is the prediction.
6. A power of this mean gives a confidence as large as heads and neighbors agree (`calibration`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features
from headclust.group import current
from headclust.methods.consensus.calibration import calibrated, temper_
from headclust.methods.consensus.pair_whitening import space_transform
from headclust.methods.consensus.partitions import (
    GRAPH_SIZES,
    Partitions,
    find_partitions,
    neighbors_within_cluster,
)
from headclust.methods.consensus.refit import refit
from headclust.methods.constraints import Constraints
from headclust.methods.result import FitResult, check_fit, conclude
from headclust.progress import note
from headclust.seeding import BATCH_STREAM, stream_seed
from headclust.training.stages import Stage

if TYPE_CHECKING:
    import torch

    from headclust.graph.neighbors import NeighborGraph
    from headclust.model import FeatureTransform
    from headclust.model.heads.linear import LinearHeads


@dataclass(frozen=True, kw_only=True)
class Refinement(Stage):
    """The second stage of the default: training goes on from the heads of the partitions, in their space and graph."""

    @property
    def unused(self) -> frozenset[str]:
        """Fields that this stage does not use."""
        return super().unused | {"neighbor_list", "neighbor_search", "augment", "checkpoint_every"}


# Samples that are fitted where there are more: enough for stable partitions, and ten times the neighbors per cluster.
_SAMPLES, _SAMPLES_PER_CLUSTER = 100_000, 100

PRESETS: dict[str, tuple[Any, ...]] = {
    "ours": (
        Partitions(),
        Refinement(
            objective="pairs",
            head="linear",
            n_neighbors=10,
            unit="steps",
            length=300,
            warmup=0,
            freeze_last_layer=0,
            lr=0.1,
            lr_batch=0,
            final_lr=0.0,
            optimizer_settings={"weight_decay": 0.0},
            reduction="sum",
            augment=True,
        ),
    ),
}


def fit(
    spaces: tuple[Features, ...],
    stages: tuple[Any, ...],
    seed: int,
    *,
    device: torch.device | None = None,
    constraints: Constraints | None = None,
) -> FitResult:
    """Fit the default; docs/default.md gives the reasons for its parts.

    Args:
        spaces: Feature spaces of the same samples: one or several.
        stages: The partitions, n_clusters resolved, and the stage that refines the heads, omitted if its length is 0.
        seed: The fit's seed.
        device: Where to compute; the CPU by default.
        constraints: What a person has fixed, if anything; the clusters are then its groups.

    Raises:
        SettingError: A number of clusters that is not possible.
        DataError: A single sample, or samples that are all the same, or a group that cannot be split.
    """
    import torch

    from headclust.graph.neighbors import shared_neighbors
    from headclust.model import ClusterModel, ensemble, side_by_side
    from headclust.model.heads.linear import LinearHeads
    from headclust.training.sampling import Samples
    from headclust.training.train import Trained, train_stage

    first, refinement = stages
    check_fit(spaces, stages, at_least=2)
    device = device or torch.device("cpu")
    numbers = _draw(spaces, first, seed, constraints)
    fitted = spaces if numbers is None else tuple(space.select(numbers) for space in spaces)
    if constraints is not None:
        own = constraints if numbers is None else constraints.select(numbers)
        return refit(spaces, fitted, stages, seed, device, constraints, own)
    # 1. One transform per space; the rows of all spaces are concatenated, (n_fitted, dim).
    transforms = tuple(space_transform(space, first, device) for space in fitted)
    pairs = zip(transforms, fitted, strict=True)
    rows = side_by_side([transform.rows(space, device=device) for transform, space in pairs])
    # 2. Partitions, (heads, n_kept), of the samples in large components of the graph.
    k = neighbors_within_cluster(first.n_neighbors, len(rows), first.n_clusters)
    graph = shared_neighbors(rows, min(math.ceil(k * GRAPH_SIZES[-1]), len(rows) - 1), current())
    partitions, samples = find_partitions(rows, graph, first, k, seed)
    # 3. One linear discriminant per partition.
    chosen, shrinkage = rows[samples.to(device)], first.shrinkage
    start = LinearHeads.discriminant(chosen, partitions.to(device), first.n_clusters, shrinkage=shrinkage)
    temper_(start.requires_grad_(False).eval(), rows, graph.indices[:, 0])
    temperature = refinement.traits.temperature
    trained = Trained(start, temperature, [0.0] * first.n_heads, [], [])
    clusters, scores = _neighbor_information(start, rows, graph, temperature)
    history: list[dict[str, Any]] = [{"neighbor_information": scores}]
    # 4. Refinement on the smallest graph.
    asked_for, refinement = refinement.length, limited(refinement, first.passes, len(rows))
    if refinement.length < asked_for != PRESETS["ours"][1].length:
        note(f"training takes {refinement.length} of {asked_for:,} steps, as passes is {first.passes:g}.")
    if refinement.length:
        views = _versions(rows, transforms, fitted) if first.views else ()
        batch_source = Samples((rows,), graph.indices[:, : min(refinement.n_neighbors, k)], views)
        trained = train_stage(refinement, batch_source, seed=seed, start=start, position=1, group=current())
        clusters, scores = _neighbor_information(trained.heads, rows, graph, temperature)
        history += [{"stage": refinement.objective, **record} for record in trained.history]
        history.append({"refined_neighbor_information": scores})
    # 5. Heads by neighbor information, the highest first: the first gives the ids to which the others are matched.
    used = sorted(range(len(scores)), key=lambda head: -scores[head])
    if first.choose_by == "neighbors":
        used = used[:1]
    if len(used) > 1:
        _rename_(trained.heads, ensemble.common_names(clusters[used], first.n_clusters, start=0), used)
    model = ClusterModel(transforms, trained.heads, tuple(used), temperature)
    # 6. The power of the mean that gives the confidence.
    model = calibrated(model, rows, graph.indices[:, 0])
    return conclude(model, *spaces, losses=[-score for score in scores], history=history)


def limited(refinement: Refinement, passes: float, n_samples: int) -> Refinement:
    """The refinement with no more steps than draw each sample `passes` times."""
    most = math.ceil(passes * n_samples / min(refinement.batch_size, n_samples))
    return replace(refinement, length=min(refinement.length, most)) if refinement.unit == "steps" else refinement


def _draw(
    spaces: tuple[Features, ...], stage: Partitions, seed: int, constraints: Constraints | None
) -> NDArray[np.int64] | None:
    """Numbers of the samples to fit, ascending; None for all.

    If there are more than the stage allows, they are drawn at random, and as many constrained ones are added at most.
    """
    n_samples = spaces[0].n_samples
    own = max(_SAMPLES, _SAMPLES_PER_CLUSTER * stage.n_clusters)
    at_most = max(stage.samples_at_most or own, stage.n_clusters, 2)
    if n_samples <= at_most:
        return None
    note(f"fitting {at_most:,} of {n_samples:,} samples, drawn at random; the heads assign all of them.")
    generator = np.random.default_rng(stream_seed(seed, BATCH_STREAM))
    rows = np.sort(generator.choice(n_samples, at_most, replace=False))
    if constraints is not None:
        fixed = np.union1d(np.flatnonzero(constraints.pinned >= 0), constraints.paired)
        rows = np.union1d(rows, fixed if len(fixed) <= at_most else generator.choice(fixed, at_most, replace=False))
    return np.asarray(rows, dtype=np.int64)


def _versions(
    rows: torch.Tensor, transforms: tuple[FeatureTransform, ...], spaces: tuple[Features, ...]
) -> tuple[torch.Tensor, ...]:
    """The versions of the samples from which training draws, (1 + n_views, n_samples, dim): images and cached views.

    Empty if there are no views.
    """
    import torch

    from headclust.model import side_by_side

    n_views = min(space.n_views for space in spaces)
    if not n_views:
        return ()
    versions = torch.empty(1 + n_views, *rows.shape, device=rows.device)
    versions[0] = rows
    for view in range(n_views):
        pairs = zip(transforms, spaces, strict=True)
        versions[1 + view] = side_by_side([each.rows(space, view=view, device=rows.device) for each, space in pairs])
    return (versions,)


def _neighbor_information(
    heads: LinearHeads, rows: torch.Tensor, graph: NeighborGraph, temperature: float
) -> tuple[NDArray[np.int32], list[float]]:
    """Clusters by each head, (heads, n_samples), and the mutual information of neighbors' clusters, in nats."""
    from headclust.model import ClusterModel, FeatureTransform, ensemble

    clusters = ClusterModel((FeatureTransform(),), heads, (0,), temperature).assign(rows, group=current()).by_head
    neighbors = graph.indices.numpy()
    return clusters, [ensemble.neighbor_information(row, neighbors, heads.n_clusters) for row in clusters]


def _rename_(heads: LinearHeads, names: NDArray[np.int64], which: list[int]) -> None:
    """Permute the clusters of the heads in `which`; `names` has the new id of each cluster, (n_clusters,) per head."""
    import torch

    with torch.no_grad():
        for head, new in zip(which, torch.from_numpy(names), strict=True):
            heads.weight[head, new] = heads.weight[head].clone()
            heads.cluster_bias[head, new] = heads.cluster_bias[head].clone()
