"""The result of a fit, one transform per feature space and an ensemble of heads (`ClusterModel`), without training."""

from __future__ import annotations

from headclust.model.model import Assignment, ClusterModel
from headclust.model.transform import TRANSFORMS, FeatureTransform, fit_transform, side_by_side, transformed_rows

__all__ = [
    "TRANSFORMS",
    "Assignment",
    "ClusterModel",
    "FeatureTransform",
    "fit_transform",
    "side_by_side",
    "transformed_rows",
]
