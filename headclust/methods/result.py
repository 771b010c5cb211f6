"""What every method gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import DataError, HeadclustError, SettingError
from headclust.features import Features
from headclust.model import ClusterModel


@dataclass(frozen=True)
class FitResult:
    """A fitted model and how the fit went. All heads or restarts are in the model; `model.used_heads` says which speak.

    Attributes:
        model: The fitted pipeline, on the CPU.
        assignments: Clusters of the fitted samples, int64 (n_samples,).
        confidence: Their probability by the heads that speak, float32 (n_samples,).
        head_assignments: Clusters by every head, int64 (heads, n_samples).
        losses: Training loss of every head, the lower the better.
        history: Records of the training, JSON-like.
        checkpoints: The head that was best by loss after so many steps, where the recipe keeps any: (step, model).
    """

    model: ClusterModel
    assignments: NDArray[np.int64]
    confidence: NDArray[np.float32]
    head_assignments: NDArray[np.int64]
    losses: list[float]
    history: list[dict[str, Any]]
    checkpoints: tuple[tuple[int, ClusterModel], ...] = ()


def takes_several(recipe: tuple[Any, ...]) -> bool:
    """Whether a recipe's method takes more than one feature space: its first stage says so, where it does."""
    return bool(getattr(recipe[0], "several_spaces", False))


def check_fit(spaces: tuple[Features, ...], recipe: tuple[Any, ...], *, at_least: int) -> None:
    """A look whether the spaces and the number of clusters fit a method.

    Args:
        spaces: Feature spaces.
        recipe: Stages, the first with `n_clusters` resolved.
        at_least: Samples the method needs.

    Raises:
        SettingError: There are too many spaces, or the number of clusters is not set or above the number of samples.
        DataError: There are fewer samples than the method needs.
    """
    if len(spaces) != 1 and not (takes_several(recipe) and spaces):
        raise SettingError(
            f"this method takes one feature file: found {len(spaces)}. consensus (the default), kmeans and turtle's "
            "heads (task) take several."
        )
    n_samples, n_clusters = spaces[0].n_samples, recipe[0].n_clusters
    if n_samples < at_least:
        raise DataError(f"{n_samples} sample: this method needs at least {at_least}.")
    if not 1 <= n_clusters <= n_samples:
        raise SettingError(
            f"n_clusters is {n_clusters}, of {n_samples} samples: wanted 1 to {n_samples}; "
            'set it with --clusters K, in Python with configure(recipe, {"n_clusters": K}).'
        )


def conclude(
    model: ClusterModel,
    *spaces: Tensor,
    losses: list[float],
    history: list[dict[str, Any]],
    checkpoints: Sequence[tuple[int, ClusterModel]] = (),
) -> FitResult:
    """The result of a fit: what `model` says of the features, (n_samples, feature_dim) a space, it was fitted on.

    Raises:
        HeadclustError: It says nothing finite, because a last step of training broke it.
    """
    assigned = model.assign(*spaces)
    if not np.isfinite(assigned.confidence).all():
        raise HeadclustError("the fitted heads say nothing finite of the features: lower lr, or try another transform.")
    return FitResult(
        model=model.to(torch.device("cpu")),
        assignments=assigned.clusters,
        confidence=assigned.confidence,
        head_assignments=assigned.by_head,
        losses=losses,
        history=history,
        checkpoints=tuple(checkpoints),
    )
