"""What every method gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.cache import Features
from headclust.errors import DataError, SettingError
from headclust.model import ClusterModel


@dataclass(frozen=True)
class FitResult:
    """A fitted model and how the fit went. All heads or restarts are in the model; `model.chosen` speaks.

    Attributes:
        model: The fitted pipeline, on the CPU.
        head_assignments: Clusters of the fitted samples by every head, int64 (heads, n_samples).
        confidence: The chosen head's probability of its cluster, float32 (n_samples,).
        losses: Training loss of every head, the lower the better.
        history: Records of the training, JSON-like.
    """

    model: ClusterModel
    head_assignments: NDArray[np.int64]
    confidence: NDArray[np.float32]
    losses: list[float]
    history: list[dict[str, Any]]

    @property
    def assignments(self) -> NDArray[np.int64]:
        """Clusters of the fitted samples by the chosen head, int64 (n_samples,)."""
        chosen: NDArray[np.int64] = self.head_assignments[self.model.chosen]
        return chosen


def one_space(spaces: tuple[Features, ...], recipe: tuple[Any, ...], *, at_least: int) -> tuple[Features, Any]:
    """The only space and the only stage of a method that takes one of each, after a look whether they fit.

    Args:
        spaces: Feature spaces.
        recipe: Stages, with `n_clusters` resolved.
        at_least: Samples the method needs.

    Raises:
        SettingError: There are more of them, or the number of clusters is not set or above the number of samples.
        DataError: There are fewer samples than the method needs.
    """
    if len(spaces) != 1 or len(recipe) != 1:
        raise SettingError(f"this method takes one feature file and one stage: found {len(spaces)} and {len(recipe)}.")
    (space,), (stage,) = spaces, recipe
    if space.n_samples < at_least:
        raise DataError(f"{space.n_samples} sample: this method needs at least {at_least}.")
    if not 1 <= stage.n_clusters <= space.n_samples:
        raise SettingError(
            f"n_clusters is {stage.n_clusters}, of {space.n_samples} samples: wanted 1 to {space.n_samples}; "
            'set it with --clusters K, in Python with configure(recipe, {"n_clusters": K}).'
        )
    return space, stage


def conclude(model: ClusterModel, features: Tensor, *, losses: list[float], history: list[dict[str, Any]]) -> FitResult:
    """The result of a fit: what `model` says of the features (n_samples, feature_dim) it was fitted on."""
    clusters, confidence = model.assign(features)
    return FitResult(
        model=model.to(torch.device("cpu")),
        head_assignments=clusters,
        confidence=confidence,
        losses=losses,
        history=history,
    )
