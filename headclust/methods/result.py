"""The result that every method returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError, HeadclustError, SettingError
from headclust.features import Features
from headclust.group import current

if TYPE_CHECKING:
    from torch import Tensor

    from headclust.model import ClusterModel
    from headclust.model.model import Assignment


@dataclass(frozen=True)
class FitResult:
    """A fitted model and a record of the fit. The model has all heads or restarts; those in `model.used_heads` predict.

    Attributes:
        model: The fitted pipeline, on the CPU.
        assignments: Clusters of the fitted samples, int64 (n_samples,).
        confidence: Their probability by the heads that are used, float32 (n_samples,).
        head_assignments: Clusters by each head, int32 (heads, n_samples).
        losses: Training loss of each head, the lower the better.
        history: Records of the training, JSON-like.
        checkpoints: (step, model) of the head with the lowest loss after that many steps, on the CPU, if the recipe
            stores any.
    """

    model: ClusterModel
    assignments: NDArray[np.int64]
    confidence: NDArray[np.float32]
    head_assignments: NDArray[np.int32]
    losses: list[float]
    history: list[dict[str, Any]]
    checkpoints: tuple[tuple[int, ClusterModel], ...] = ()

    def __repr__(self) -> str:
        clusters = f"{len(self.assignments)} samples in {len(np.unique(self.assignments))} clusters"
        return f"FitResult({clusters}, {len(self.losses)} losses, {self.model!r})"

    def renumbered(self, ids: Sequence[int], n_clusters: int) -> FitResult:
        """The same result with other cluster ids, as in `ClusterModel.renumbered`."""
        new = np.array(ids, dtype=np.int64)
        return replace(
            self,
            model=self.model.renumbered(ids, n_clusters),
            assignments=new[self.assignments],
            head_assignments=new[self.head_assignments].astype(np.int32),
            checkpoints=tuple((step, model.renumbered(ids, n_clusters)) for step, model in self.checkpoints),
        )


def check_fit(spaces: tuple[Features, ...], stages: tuple[Any, ...], *, at_least: int) -> None:
    """Raise if a method cannot use these spaces or this number of clusters.

    Args:
        spaces: Feature spaces.
        stages: Stages of a recipe, the first with `n_clusters` resolved.
        at_least: Smallest number of samples for the method.

    Raises:
        SettingError: There are too many spaces, or the number of clusters is not set or above the number of samples.
        DataError: There are fewer samples than the method needs.
    """
    if len(spaces) != 1 and not (spaces and getattr(stages[0], "several_spaces", False)):
        raise SettingError(
            f"this method takes one feature file: found {len(spaces)}. consensus (the default), kmeans and turtle's "
            "heads (task) take several."
        )
    n_samples, n_clusters = spaces[0].n_samples, stages[0].n_clusters
    if n_samples < at_least:
        raise DataError(f"{n_samples} sample: this method needs at least {at_least}.")
    if not 1 <= n_clusters <= n_samples:
        raise SettingError(
            f"n_clusters is {n_clusters}, of {n_samples} samples: expected 1 to {n_samples}; "
            'set it with --clusters K, in Python with recipe.changed({"n_clusters": K}).'
        )


def conclude(
    model: ClusterModel,
    *spaces: Tensor | Features,
    losses: list[float],
    history: list[dict[str, Any]],
    checkpoints: Sequence[tuple[int, ClusterModel]] = (),
) -> FitResult:
    """The result of a fit: predictions of `model` for the fitted samples, features or tensors as in `assign`.

    Raises:
        HeadclustError: A prediction is not finite, because the last step of training diverged.
    """
    assigned = model.assign(*spaces, group=current())
    if not np.isfinite(assigned.confidence).all():
        raise HeadclustError("the fitted heads predict values that are not finite: lower lr, or try another transform.")
    return result_of(model, assigned, losses, history, checkpoints)


def result_of(
    model: ClusterModel,
    assigned: Assignment,
    losses: list[float],
    history: list[dict[str, Any]],
    checkpoints: Sequence[tuple[int, ClusterModel]] = (),
) -> FitResult:
    """The result of a fit whose samples have been assigned, with its models on the CPU."""
    import torch

    cpu = torch.device("cpu")
    return FitResult(
        model=model.to(cpu),
        assignments=assigned.clusters,
        confidence=assigned.confidence,
        head_assignments=assigned.by_head,
        losses=losses,
        history=history,
        checkpoints=tuple((step, checkpoint.to(cpu)) for step, checkpoint in checkpoints),
    )
