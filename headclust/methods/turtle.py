"""TURTLE on frozen features of one or several spaces: the labeling that linear classifiers learn best.

Paper: Gadetsky, Jiang, Brbic, "Let Go of Your Labels with Unsupervised Transfer", ICML 2024
(https://arxiv.org/abs/2406.07236). Author code: https://github.com/mlbio-epfl/turtle. How the preset `ours` deviates,
and why: docs/methods/turtle.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headclust.errors import SettingError, check_choices
from headclust.features import Features
from headclust.methods import gradient
from headclust.methods.result import FitResult
from headclust.progress import bar
from headclust.seeding import RESTART_STREAM, stream_seed
from headclust.training.stages import Stage

if TYPE_CHECKING:
    import torch

_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class TurtleStage(Stage):
    """The one stage of a TURTLE recipe: a stage of gradient training, and how a restart is chosen.

    Args:
        n_heads: Restarts trained side by side; choose_by selects the one that is used.
        choose_by: Criterion of the best restart: loss (the lowest), or generalization (the highest accuracy, in
            ten-fold cross-validation, of a logistic regression that learns the clusters of the restart).
        score_samples: Largest number of samples for the generalization score.

    Raises:
        SettingError: A value is out of its range.
    """

    objective: str = "turtle"
    head: str = "task"
    unit: str = "steps"
    warmup: int = 0
    freeze_last_layer: int = 0
    lr: float = 1e-3
    lr_batch: int = 0
    optimizer: str = "adam"
    reduction: str = "sum"
    choose_by: str = "loss"
    score_samples: int = 2000

    counts_copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choices(self, {"choose_by": ("loss", "generalization")})
        if self.head != "task":
            raise SettingError(f"head is {self.head!r}: TURTLE has one kind, task.")
        super().__post_init__()


PRESETS: dict[str, tuple[TurtleStage, ...]] = {
    # The argument parser's defaults; the optional score uses all samples.
    "authors": (TurtleStage(n_heads=1, length=6000, batch_size=10_000, score_samples=10**9),),
    "ours": (
        TurtleStage(
            objective_settings={"warm_start": True},
            n_heads=16,
            transform="pca",
            n_components=64,
            length=600,
            batch_size=1000,
            lr=3e-3,
        ),
    ),
}


def fit(
    spaces: tuple[Features, ...], stages: tuple[TurtleStage, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Train the restarts of a one-stage recipe and choose one by its loss or its generalization score.

    Args:
        spaces: Feature spaces of the same samples: one or several.
        stages: One stage, its n_clusters resolved.
        seed: The fit's seed.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: A number of clusters that is not possible.
        DataError: A single sample.
    """
    result = gradient.fit(spaces, stages, seed, device=device)
    (stage,) = stages
    if stage.choose_by == "loss":
        return result
    generator = np.random.default_rng(stream_seed(seed, RESTART_STREAM))
    rows = generator.permutation(spaces[0].n_samples)[: stage.score_samples]
    inputs = [transform(space.rows(rows)) for transform, space in zip(result.model.transforms, spaces, strict=True)]
    scores = generalization([rows.numpy() for rows in inputs], result.head_assignments[:, rows])
    model = replace(result.model, used_heads=(int(np.argmax(scores)),))
    assigned = model.assign(*spaces)
    history = [*result.history, {"generalization": scores}]
    return replace(result, model=model, assignments=assigned.clusters, confidence=assigned.confidence, history=history)


def generalization(spaces: Sequence[NDArray[np.float32]], clusters: NDArray[np.integer[Any]]) -> list[float]:
    """Accuracy per head, in [0, 1], of a classifier that predicts the clusters of held-out samples.

    The mean over spaces and ten folds of the accuracy of a logistic regression (C = 1).

    Args:
        spaces: Features in random order, (n_samples, dim) per space.
        clusters: The clusters to learn, (heads, n_samples).
    """
    folds = np.array_split(np.arange(clusters.shape[1]), min(_FOLDS, clusters.shape[1]))
    scores = []
    with bar("generalization scores", len(clusters)) as advance:
        for labels in clusters:
            scores.append(float(np.mean([_accuracy(x, labels, fold) for x in spaces for fold in folds])))
            advance(1)
    return scores


def _accuracy(x: NDArray[np.float32], labels: NDArray[np.integer[Any]], fold: NDArray[np.int64]) -> float:
    """Accuracy on a fold of a logistic regression fitted on the other rows."""
    from sklearn.linear_model import LogisticRegression

    learned_x, learned = np.delete(x, fold, axis=0), np.delete(labels, fold)
    if len(np.unique(learned)) < 2:
        return float(np.mean(labels[fold] == learned[0]))
    probe = LogisticRegression(C=1.0, max_iter=1000, tol=1e-3)
    return float(probe.fit(learned_x, learned).score(x[fold], labels[fold]))
