"""IMC-SwAV on frozen features: views share prototypes, and clusters maximize their information about prototypes.

Paper: Ntelemis, Jin and Thomas, 2021 (https://arxiv.org/abs/2103.07368). Author code:
https://github.com/foiv0s/imc-swav-pub. Effect of frozen features, deviations of `ours`: docs/methods/imc-swav.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headclust.features import Features
from headclust.methods import gradient
from headclust.methods.result import FitResult
from headclust.progress import note
from headclust.training.stages import Stage, part_defaults

if TYPE_CHECKING:
    import torch

PRESETS: dict[str, tuple[Stage, ...]] = {
    # The README command for CIFAR-10: 500 epochs, 6 views, 2 of them with codes. Its warm-up of 500 updates is 2.6
    # epochs of CIFAR-10.
    "authors": (
        Stage(
            objective="imc-swav",
            head="batchnorm",
            n_heads=1,
            batch_size=256,
            length=500,
            warmup=3,
            freeze_last_layer=0,
            lr=5e-4,
            lr_batch=0,
            decay="steps",
            final_lr=0.4**3,
            optimizer="adam",
            optimizer_settings={"weight_decay": 1e-5, "beta1": 0.8},
        ),
    ),
    "ours": (
        Stage(
            objective="imc-swav",
            objective_settings={"n_augmented": 2, "n_prototypes": 128, "freeze_prototypes": 0.05},
            head="batchnorm",
            head_settings={"hidden_dim": 256, "second_dim": 256},
            n_heads=8,
            transform="pca",
            n_neighbors=10,
            batch_size=256,
            unit="steps",
            length=640,
            warmup=32,
            freeze_last_layer=0,
            lr=1e-3,
            lr_batch=0,
            final_lr=0.0,
            optimizer="adam",
            optimizer_settings={"weight_decay": 1e-5, "beta1": 0.8},
            reduction="sum",
        ),
    ),
}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Stage, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Train like `gradient.fit`, with at most as many augmented views per sample as the feature file has.

    Args:
        spaces: Exactly one feature space.
        stages: Stages of a recipe, n_clusters of the first resolved.
        seed: The fit's seed.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: More than one space, or a number of clusters that is not possible.
        DataError: A single sample.
    """
    cached = min(space.n_views for space in spaces)
    return gradient.fit(spaces, tuple(_with_distinct_views(stage, cached) for stage in stages), seed, device=device)


def _with_distinct_views(stage: Stage, cached: int) -> Stage:
    """The stage with at most `cached` views, because a view that is used twice would be predicted from itself."""
    from headclust.training.objectives.imc_swav import ImcSwav

    n_augmented = {**part_defaults(ImcSwav), **stage.objective_settings}["n_augmented"]
    if not 0 < cached < n_augmented:
        return stage
    note(f"n_augmented is {n_augmented}, the features hold {cached} augmented views: using {cached}.")
    return replace(stage, objective_settings={**stage.objective_settings, "n_augmented": cached})
