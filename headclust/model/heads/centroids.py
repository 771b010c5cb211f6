"""Heads of k-means: nearest centroid."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from headclust.model.heads.output import HeadOutput


class CentroidHeads(nn.Module):
    """Nearest centroid: a logit is minus the squared distance to the centroid, divided by `scale`.

    Args:
        centroids: Shape (heads, clusters, dim).
        scale: Mean squared distance of the fitted samples to their own centroid, shape (heads,), positive.
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
        """Heads with the buffers in the `state_dict()` of another ensemble."""
        return cls(centroids=state["centroids"], scale=state["scale"])

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the input, one per space."""
        return (self.centroids.shape[-1],)

    @property
    def n_clusters(self) -> int:
        """Number of clusters per head."""
        return self.centroids.shape[1]

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits of features (views, batch, dim) of a single space."""
        (features,) = spaces
        # For many rows cdist computes |x|^2 + |c|^2 - 2 <x, c>, which is imprecise far from the origin. Distances are
        # invariant to a shift, so both are moved to the mean of the centroids.
        center = self.centroids.mean((0, 1))
        # Squared distances, (views, heads, batch, clusters).
        distances = torch.cdist((features - center)[:, None], (self.centroids - center)[None]).square()
        return HeadOutput(-distances / self.scale[:, None, None])
