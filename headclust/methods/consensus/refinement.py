"""The default: what many ways of cutting the neighbor graph agree on, said by heads that TEMI has refined.

In five parts; what each is worth is in docs/default.md:

1. Directions in which samples that belong together differ are made to count less (`pair_whitening`), in each feature
   space; several stand side by side then.
2. Partitions of the samples: cuts of several neighbor graphs, each from another number of eigenvectors.
3. A linear head learns each partition, in closed form.
4. TEMI refines the heads together. A head under which neighbors agreed better before is taken back.
5. The heads speak with one voice: clusters get common names, and the mean of their probabilities is the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headclust.features import Features
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods.consensus.partitions import GRAPHS, Partitions, find_partitions, find_space, usable_neighbors
from headclust.methods.result import FitResult, check_fit, conclude
from headclust.model import ClusterModel, FeatureTransform, ensemble, side_by_side
from headclust.model.heads.linear import LinearHeads
from headclust.progress import note
from headclust.seeding import BATCH_STREAM, stream_seed
from headclust.training.sampling import Samples
from headclust.training.stages import Stage
from headclust.training.train import Trained, train_stage


@dataclass(frozen=True, kw_only=True)
class Refinement(Stage):
    """The second stage of the default: training that goes on from the partitions' heads, in their space and graph."""

    @property
    def unused(self) -> frozenset[str]:
        """Fields that mean nothing here."""
        return super().unused | {"neighbor_list", "augment", "checkpoint_every"}


PRESETS: dict[str, tuple[Any, ...]] = {
    "ours": (
        Partitions(),
        Refinement(
            objective="temi",
            objective_settings={"student_temperature": 3.0, "teacher_temperature": 3.0},
            head="linear",
            n_neighbors=10,
            unit="steps",
            length=600,
            warmup=0,
            freeze_last_layer=0,
            lr=0.1,
            lr_batch=0,
            final_lr=0.0,
            optimizer_settings={"weight_decay": 0.0},
            teacher_momentum=0.99,
            reduction="sum",
        ),
    ),
}


def fit(
    spaces: tuple[Features, ...], recipe: tuple[Any, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Fits the default; docs/default.md says why it is what it is.

    Args:
        spaces: Feature spaces of the same samples: one or several.
        recipe: The partitions, their n_clusters resolved, and the stage that refines the heads; a length of 0 leaves
            that one out.
        seed: The fit's seed.
        device: Where to compute; the CPU by default. Eigenvectors and k-means are computed on the CPU.

    Raises:
        SettingError: A number of clusters that is not possible.
        DataError: A single sample, or samples that are all alike.
    """
    first, refinement = recipe
    check_fit(spaces, recipe, at_least=2)
    device = device or torch.device("cpu")
    drawn = _draw(spaces[0].n_samples, first, seed)
    transforms = tuple(find_space(space, first, drawn, device) for space in spaces)
    seen = zip(transforms, spaces, strict=True)
    rows = side_by_side([transform(space.rows(drawn).to(device)) for transform, space in seen])
    k = usable_neighbors(first.n_neighbors, len(rows), first.n_clusters)
    widest = min(math.ceil(k * GRAPHS[-1]), len(rows) - 1)
    graph = nearest_neighbors(rows, widest)
    partitions, kept = find_partitions(rows, graph, first, k, seed)
    heads = LinearHeads.discriminant(
        rows[kept.to(device)], partitions.to(device), first.n_clusters, shrinkage=first.shrinkage
    )
    temperature = refinement.traits.temperature
    trained = Trained(heads.requires_grad_(False).eval(), temperature, [0.0] * first.n_heads, [], [])

    def look(at: LinearHeads) -> tuple[NDArray[np.int64], list[float]]:
        said = ClusterModel((FeatureTransform(),), at, (0,), temperature).assign(rows).by_head
        neighbors = graph.indices.numpy()
        return said, [ensemble.neighbor_information(one, neighbors, first.n_clusters) for one in said]

    said, scores = look(heads)
    history: list[dict[str, Any]] = [{"neighbor_information": scores}]
    if refinement.length:
        partners = graph.indices[:, : min(refinement.n_neighbors, k)]
        samples = Samples((rows,), neighbors=partners.to(device))
        trained = train_stage(refinement, samples, seed=seed, start=heads, position=1)
        _, refined = look(trained.heads)
        if first.guard:
            _restore_(trained.heads, heads, [new < old for new, old in zip(refined, scores, strict=True)])
        history += [{"stage": "temi", **record} for record in trained.history]
        said, scores = look(trained.heads)
        history.append({"refined_neighbor_information": refined, "kept_neighbor_information": scores})
    used = sorted(range(len(scores)), key=lambda head: -scores[head])
    if first.choose_by == "neighbors":
        used = used[:1]
    if len(used) > 1:
        _rename_(trained.heads, ensemble.common_names(said[used], first.n_clusters, start=0), used)
    model = ClusterModel(transforms, trained.heads, tuple(used), temperature)
    return conclude(
        model, *(space.all().to(device) for space in spaces), losses=[-score for score in scores], history=history
    )


def _draw(n_samples: int, stage: Partitions, seed: int) -> NDArray[np.int64] | slice:
    """The rows to fit: all, or as many as the stage allows, at random and in order."""
    at_most = max(stage.samples_at_most, stage.n_clusters)
    if n_samples <= at_most:
        return slice(None)
    note(f"fitting {at_most:,} of {n_samples:,} samples, drawn at random; the heads assign all of them.")
    generator = np.random.default_rng(stream_seed(seed, BATCH_STREAM))
    return np.sort(generator.choice(n_samples, at_most, replace=False))


def _restore_(heads: LinearHeads, before: LinearHeads, which: list[bool]) -> None:
    """Gives some heads the parameters they had before."""
    rows = torch.tensor(which)
    with torch.no_grad():
        for now, old in zip(heads.parameters(), before.parameters(), strict=True):
            now[rows.to(now.device)] = old[rows.to(old.device)]


def _rename_(heads: LinearHeads, names: NDArray[np.int64], which: list[int]) -> None:
    """Gives the clusters of some heads new names, one (n_clusters,) a head."""
    with torch.no_grad():
        for head, new in zip(which, torch.from_numpy(names), strict=True):
            heads.weight[head, new] = heads.weight[head].clone()
            heads.cluster_bias[head, new] = heads.cluster_bias[head].clone()
