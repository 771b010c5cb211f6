"""What one training step sees, and what an objective is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from headclust.model.heads import HeadOutput


class Batch(NamedTuple):
    """Samples of one step.

    Attributes:
        features: One tensor a feature space, each (views, batch, dim), without gradient.
        rows: The samples' rows in the feature file, (views, batch).
    """

    features: tuple[Tensor, ...]
    rows: Tensor


class Objective(Protocol):
    """One loss per head. An nn.Module whose own buffers and parameters have a leading heads axis.

    State changes only in training mode. An objective never samples, never touches optimisers, files or labels;
    schedules are functions of `progress`. Built as `OBJECTIVES[name](n_heads=, n_clusters=, **settings)`; where its
    signature names them, also with `feature_dims` (one a space, after the transform) and `seed`. Parameters of its own
    are trained beside the heads'.

    Attributes:
        views: What it wants sampled, in the order of the views axis: "anchor", "neighbor", "plain", "augmented" or
            "strong", as `sampling.sample_batches` has them.
        uses_teacher: Whether `teacher` is passed, which then is what predicts.
        temperature: Of the softmax that turns the predicting heads' logits into probabilities.
    """

    views: tuple[str, ...]
    uses_teacher: bool
    temperature: float

    def __call__(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,). `progress` runs from 0 to 1 over a stage."""
        ...

    def summary(self) -> dict[str, Tensor]:
        """Quantities of the batches since it was last asked, recorded beside the loss: each of shape (heads,)."""
        ...
