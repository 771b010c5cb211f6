"""CLC on frozen features, a reconstruction: clusters, and the samples within them, in one contrastive loss.

Paper: Ding et al., 2023 (https://arxiv.org/abs/2306.05439). The authors published no code, and we had no
access to the paper's formulas: only its abstract is followed. docs/methods/clc.md has the derivation.
"""

from __future__ import annotations

from headclust.methods import gradient
from headclust.training.stages import Stage

PRESETS: dict[str, tuple[Stage, ...]] = {
    "ours": (
        Stage(
            objective="clc",
            objective_settings={"positive": "neighbor"},
            head_settings={"hidden_dim": 256, "bottleneck_dim": 128},
            n_heads=8,
            transform="pca",
            n_neighbors=10,
            augment=True,
            batch_size=256,
            unit="steps",
            length=1000,
            warmup=50,
            freeze_last_layer=0,
            lr=3e-3,
            lr_batch=0,
            final_lr=0.0,
            reduction="sum",
        ),
    ),
}

fit = gradient.fit
