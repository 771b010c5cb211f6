"""Input of one training step, and the interface of objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from headclust.model.heads import HeadOutput


class Batch(NamedTuple):
    """Samples of one step.

    Attributes:
        features: One tensor per feature space, each (views, batch, dim), without gradient.
        rows: Row numbers of the samples in the feature file, (views, batch).
    """

    features: tuple[Tensor, ...]
    rows: Tensor


class Traits(NamedTuple):
    """Facts about an objective that follow from its settings, known before it is built.

    Attributes:
        views: Views to sample, in the order of the views axis: "anchor", "neighbor", "plain", "augmented" or "strong",
            as `sampling.sample_batches` defines them.
        uses_teacher: True if the objective is given a teacher's output; then the teacher predicts.
        temperature: Temperature of the softmax that turns the predicting heads' logits into probabilities.
        reports_confidence: True if `summary()` has "confident", the share of confident samples.
    """

    views: tuple[str, ...]
    uses_teacher: bool
    temperature: float
    reports_confidence: bool = False


class Objective(Protocol):
    """One loss per head. An nn.Module whose own buffers and parameters have a leading heads axis.

    State changes only in training mode. An objective never samples, never touches optimizers, files or labels;
    schedules are functions of `progress`. Built as `OBJECTIVES[name](n_heads=, n_clusters=, **settings)`, and with
    `feature_dims` (one per space, after the transform) and `seed` if its signature names them. Its parameters are
    trained together with those of the heads.

    Attributes:
        views: As in `Traits`.
        uses_teacher: As in `Traits`.
        temperature: As in `Traits`.
    """

    views: tuple[str, ...]
    uses_teacher: bool
    temperature: float

    @classmethod
    def traits(cls, settings: Mapping[str, Any]) -> Traits:
        """Traits with these settings, all of which are given; no instance is built."""
        ...

    def __call__(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,). `progress` rises from 0 to 1 during a stage."""
        ...

    def summary(self) -> dict[str, Tensor]:
        """Means of quantities over the training steps since the last call, recorded with the loss: each (heads,)."""
        ...
