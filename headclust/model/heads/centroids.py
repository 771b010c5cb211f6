"""Heads of k-means: the nearest centroid."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from headclust.model.heads.output import HeadOutput


class CentroidHeads(nn.Module):
    """Nearest centroid: a logit is minus the squared distance, in units of the mean one to the own centroid.

    Args:
        centroids: Shape (heads, clusters, dim).
        scale: Mean squared distance of the fitted samples to their centroid, shape (heads,), positive.
    """

    kind = "centroids"
    several_spaces = False
    centroids: Tensor
    scale: Tensor

    def __init__(self, *, centroids: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("centroids", centroids)
        self.register_buffer("scale", scale)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> CentroidHeads:
        """Heads with the buffers of another one's `state_dict()`."""
        return cls(centroids=state["centroids"], scale=state["scale"])

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the features it takes, one a space."""
        return (self.centroids.shape[-1],)

    @property
    def n_clusters(self) -> int:
        """Number of clusters a head."""
        return self.centroids.shape[1]

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits of the one space's features (views, batch, dim)."""
        (features,) = spaces
        # Matrix products make distances of what lies far from the origin imprecise; distances do not mind a shift.
        center = self.centroids.mean((0, 1))
        distances = torch.cdist((features - center)[:, None], (self.centroids - center)[None]).square()
        return HeadOutput(-distances / self.scale[:, None, None])
