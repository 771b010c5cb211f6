"""TEMI on frozen features: neighbors pull together, the ensemble weighs the pairs.

Paper: Adaloglou et al., BMVC 2023 (https://arxiv.org/abs/2303.17896). Author code:
https://github.com/HHU-MMBS/TEMI-official-BMVC2023. How the preset `ours` deviates, and why: docs/methods/temi.md.
"""

from __future__ import annotations

import torch

from headclust import ensemble
from headclust.cache import Features
from headclust.methods.result import FitResult, conclude, one_space
from headclust.model import ClusterModel, fit_transform
from headclust.neighbors import cached_neighbors
from headclust.progress import note
from headclust.train import Stage, train_stage

PRESETS: dict[str, tuple[Stage, ...]] = {
    # The README command, and the argument parser's defaults where that is silent.
    "authors": (Stage(objective="temi"),),
    "ours": (
        Stage(
            objective="temi",
            hidden_dim=256,
            bottleneck_dim=128,
            transform="pca",
            n_neighbors=10,
            batch_size=256,
            unit="steps",
            length=2000,
            warmup=100,
            freeze_last_layer=0,
            lr=3e-3,
            lr_batch=0,
            teacher_momentum=0.99,
            reduction="sum",
        ),
    ),
}


def fit(
    spaces: tuple[Features, ...], recipe: tuple[Stage, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Trains the heads of a one-stage recipe on one feature space.

    Args:
        spaces: The feature space; exactly one.
        recipe: One stage, its n_clusters resolved.
        seed: The fit's seed.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: More than one space or stage, or a number of clusters that is not possible.
        DataError: A single sample, which has no neighbors.
    """
    space, stage = one_space(spaces, recipe, at_least=2)
    features = space.all().to(device or torch.device("cpu"))
    k = min(stage.n_neighbors, len(features) - 1)
    if k > len(features) / stage.n_clusters:
        note(
            f"warning: n_neighbors is {k}, more than the {len(features) // stage.n_clusters} samples of an even "
            "cluster: many pairs will cross clusters. Lower it with --set n_neighbors=K, or try --method kmeans."
        )
    neighbors = cached_neighbors(space, k, device=features.device).indices.to(features.device)
    transform = fit_transform(features, stage.transform, n_components=stage.n_components)
    trained = train_stage(stage, transform(features), neighbors, seed=seed)
    model = ClusterModel(transform, trained.heads, ensemble.choose(trained.losses), trained.temperature)
    return conclude(model, features, losses=trained.losses, history=trained.history)
