"""Input of one training step, and the interface of objectives."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from headclust.group import Group
from headclust.model.heads import HeadOutput


class Batch(NamedTuple):
    """Samples of one step.

    Attributes:
        features: One tensor per feature space, each (views, batch, dim), without gradient.
        rows: Row numbers of the samples in the feature file, (views, batch).
    """

    features: tuple[Tensor, ...]
    rows: Tensor


class Objective(Protocol):
    """One loss per head. An nn.Module whose own buffers and parameters have a leading heads axis.

    State changes only in training mode. An objective never samples, never touches optimizers, files or labels;
    schedules are functions of `progress`. Built as `OBJECTIVES[name](n_heads=, n_clusters=, **settings)`, and with
    `feature_dims` (one per space, after the transform) and `seed` if its signature names them. Its parameters are
    trained together with those of the heads.

    With several processes, each computes the loss of the whole batch from its part of it, or the losses of its heads.

    Attributes:
        batch_group: The processes that share each batch; ALONE until it is set.
        head_group: The processes that share the heads; ALONE until it is set.
        views: As in `parts.Traits`.
        uses_teacher: As in `parts.Traits`.
        temperature: As in `parts.Traits`.
    """

    batch_group: Group
    head_group: Group
    views: tuple[str, ...]
    uses_teacher: bool
    temperature: float

    def __call__(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,). `progress` rises from 0 to 1 during a stage."""
        ...

    def summary(self) -> dict[str, Tensor]:
        """Means of quantities over the training steps since the last call, recorded with the loss: each (heads,)."""
        ...
