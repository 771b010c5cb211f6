"""SCAN on frozen features: neighbors agree on a cluster, then heads learn from their confident predictions.

Paper: Van Gansbeke et al., ECCV 2020 (https://arxiv.org/abs/2005.12320). Author code:
https://github.com/wvangansbeke/Unsupervised-Classification. How the preset `ours` deviates, and why:
docs/methods/scan.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headclust.features import Features
from headclust.methods import gradient
from headclust.methods.result import FitResult
from headclust.progress import note
from headclust.training.stages import Stage

if TYPE_CHECKING:
    import torch

PRESETS: dict[str, tuple[Stage, ...]] = {
    # Their configurations of ImageNet's subsets (scan_imagenet_50.yml, selflabel_imagenet_50.yml): the ones in which
    # the backbone is frozen.
    "authors": (
        Stage(
            objective="scan",
            head="linear",
            n_heads=10,
            transform="l2",
            n_neighbors=50,
            neighbor_list="with-self",
            neighbor_search="exact",
            augment=True,
            batch_size=512,
            length=100,
            warmup=0,
            freeze_last_layer=0,
            lr=5.0,
            lr_batch=0,
            optimizer="sgd",
            reduction="sum",
        ),
        Stage(
            objective="self-label",
            objective_settings={"balance": False},
            n_neighbors=50,
            batch_size=512,
            length=25,
            warmup=0,
            freeze_last_layer=0,
            # 0.03; after every step they replace the weights by their running mean with momentum 0.999, which leaves a
            # thousandth of the step.
            lr=3e-5,
            lr_batch=0,
            optimizer="sgd",
            reduction="sum",
        ),
    ),
    "ours": (
        Stage(
            objective="scan",
            head="linear",
            n_heads=10,
            transform="pca",
            n_neighbors=20,
            augment=True,
            batch_size=512,
            unit="steps",
            length=1000,
            warmup=0,
            freeze_last_layer=0,
            lr=1e-2,
            lr_batch=0,
            final_lr=0.0,
            optimizer="adam",
            reduction="sum",
        ),
        Stage(
            objective="self-label",
            n_neighbors=20,
            batch_size=512,
            unit="steps",
            length=300,
            warmup=0,
            freeze_last_layer=0,
            lr=1e-4,
            lr_batch=0,
            optimizer="adam",
            reduction="sum",
            patience=3,
        ),
    ),
}


def fit(
    spaces: tuple[Features, ...], stages: tuple[Stage, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Train the heads of a recipe. A line on stderr warns if self-labeling had no confident sample.

    Args:
        spaces: Exactly one feature space.
        stages: Stages of a recipe, n_clusters of the first resolved.
        seed: The fit's seed.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: More than one space, or a number of clusters that is not possible.
        DataError: A single sample, which has no neighbors.
    """
    result = gradient.fit(spaces, stages, seed, device=device)
    shares = [record["confident"][result.model.used_heads[0]] for record in result.history if "confident" in record]
    if shares and not any(shares):
        note(
            "the chosen head was confident of no sample, so self-labeling had nothing to learn from: lower "
            "self_label.threshold, or train the first stage for longer."
        )
    return result
