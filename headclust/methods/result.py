"""What every method gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
