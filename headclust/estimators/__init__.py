"""scikit-learn estimators: `HeadClustering` on features, and `EmbedImages` from paths to features."""

from __future__ import annotations

from headclust.estimators.clustering import HeadClustering
from headclust.estimators.gallery import Gallery, gallery
from headclust.estimators.images import EmbedImages
from headclust.estimators.validation import InputError

__all__ = ["EmbedImages", "Gallery", "HeadClustering", "InputError", "gallery"]
