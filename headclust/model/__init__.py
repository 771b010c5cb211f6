"""What a fit makes: a transform per feature space and an ensemble of heads (`ClusterModel`), without any training."""

from __future__ import annotations

from headclust.model.model import TRANSFORMS, Assignment, ClusterModel, FeatureTransform, fit_transform, side_by_side

__all__ = ["TRANSFORMS", "Assignment", "ClusterModel", "FeatureTransform", "fit_transform", "side_by_side"]
