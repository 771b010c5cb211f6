"""TEMI on frozen features: neighbors share a cluster, and the ensemble weights the pairs.

Paper: Adaloglou et al., BMVC 2023 (https://arxiv.org/abs/2303.17896). Author code:
https://github.com/HHU-MMBS/TEMI-official-BMVC2023. How the preset `ours` deviates, and why: docs/methods/temi.md.
"""

from __future__ import annotations

from headclust.methods import gradient
from headclust.training.stages import Stage

PRESETS: dict[str, tuple[Stage, ...]] = {
    # The README command, and the argument parser's defaults for all other options.
    "authors": (Stage(objective="temi", neighbor_search="exact"),),
    "ours": (
        Stage(
            objective="temi",
            head_settings={"hidden_dim": 128, "bottleneck_dim": 128},
            transform="pca",
            n_neighbors=10,
            batch_size=256,
            unit="steps",
            length=1300,
            warmup=65,
            freeze_last_layer=0,
            lr=3e-3,
            lr_batch=0,
            teacher_momentum=0.99,
            reduction="sum",
        ),
    ),
}

fit = gradient.fit
