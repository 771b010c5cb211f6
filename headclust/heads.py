"""Clustering heads, all of an ensemble in one set of tensors with a leading heads axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headclust.seeding import torch_generator

_HEAD_STREAM = 1


class HeadOutput(NamedTuple):
    """What heads say of a batch.

    Attributes:
        logits: Shape (views, heads, batch, clusters).
        embedding: L2-normalised input of the last layer, shape (views, heads, batch, dim), where a head has one.
        space_logits: One tensor shaped like `logits` a feature space, for methods whose terms are per space.
    """

    logits: Tensor
    embedding: Tensor | None = None
    space_logits: tuple[Tensor, ...] | None = None


class HeadEnsemble(nn.Module):
    """Heads as in DINO and TEMI: Linear, GELU, Linear, L2-normalise, weight-normalised Linear without bias.

    A logit is g_c cos(z, v_c): the direction of a prototype and its trainable length are separate parameters. Head h
    is initialised from its own stream of `seed`, so the first 4 of 50 heads start as a 4-head ensemble would.

    Author code: https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (model_builders).

    Args:
        feature_dim: Dimension of the input.
        n_clusters: Number of prototypes a head.
        n_heads: Number of heads.
        hidden_dim: Width of the hidden layer.
        bottleneck_dim: Dimension of the normalised embedding.
        seed: The ensemble's seed.
    """

    kind = "mlp"

    def __init__(
        self,
        *,
        feature_dim: int,
        n_clusters: int,
        n_heads: int,
        hidden_dim: int = 512,
        bottleneck_dim: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.hidden_weight = nn.Parameter(torch.empty(n_heads, hidden_dim, feature_dim))
        self.hidden_bias = nn.Parameter(torch.zeros(n_heads, hidden_dim))
        self.bottleneck_weight = nn.Parameter(torch.empty(n_heads, bottleneck_dim, hidden_dim))
        self.bottleneck_bias = nn.Parameter(torch.zeros(n_heads, bottleneck_dim))
        self.prototype_direction = nn.Parameter(torch.empty(n_heads, n_clusters, bottleneck_dim))
        self.prototype_length = nn.Parameter(torch.ones(n_heads, n_clusters, 1))
        bound = bottleneck_dim**-0.5  # nn.Linear's own initialisation, as the authors leave it for the last layer
        with torch.no_grad():
            for head in range(n_heads):
                generator = torch_generator(seed, _HEAD_STREAM, head)
                nn.init.trunc_normal_(self.hidden_weight[head], std=0.02, generator=generator)
                nn.init.trunc_normal_(self.bottleneck_weight[head], std=0.02, generator=generator)
                nn.init.uniform_(self.prototype_direction[head], -bound, bound, generator=generator)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> HeadEnsemble:
        """Heads with the parameters of another ensemble's `state_dict()`, whose shapes say everything else."""
        heads, hidden_dim, feature_dim = state["hidden_weight"].shape
        _, n_clusters, bottleneck_dim = state["prototype_direction"].shape
        ensemble = cls(
            feature_dim=feature_dim,
            n_clusters=n_clusters,
            n_heads=heads,
            hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
        )
        ensemble.load_state_dict(state)
        return ensemble

    @property
    def input_dim(self) -> int:
        """Dimension of the features it takes."""
        return self.hidden_weight.shape[-1]

    @property
    def n_clusters(self) -> int:
        """Number of clusters a head."""
        return self.prototype_direction.shape[1]

    @property
    def last_layer(self) -> tuple[nn.Parameter, ...]:
        """The prototypes' parameters, which some recipes freeze at first."""
        return self.prototype_direction, self.prototype_length

    def forward(self, features: Tensor) -> HeadOutput:
        """Logits and embeddings of `features` (views, batch, feature_dim)."""
        views, batch, dim = features.shape
        heads, hidden, _ = self.hidden_weight.shape
        rows = features.reshape(views * batch, dim)
        # The input is shared, so the first layer of all heads is one matrix product.
        activations = F.gelu(F.linear(rows, self.hidden_weight.view(heads * hidden, dim), self.hidden_bias.view(-1)))
        activations = activations.view(views * batch, heads, hidden).transpose(0, 1)
        bottleneck = torch.baddbmm(self.bottleneck_bias[:, None], activations, self.bottleneck_weight.transpose(1, 2))
        embedding = F.normalize(bottleneck, dim=-1)
        prototypes = F.normalize(self.prototype_direction, dim=-1) * self.prototype_length
        logits = torch.bmm(embedding, prototypes.transpose(1, 2))
        return HeadOutput(_views_first(logits, views), _views_first(embedding, views))


class CentroidHeads(nn.Module):
    """Nearest centroid: a logit is minus the squared distance, in units of the mean one to the own centroid.

    Args:
        centroids: Shape (heads, clusters, dim).
        scale: Mean squared distance of the fitted samples to their centroid, shape (heads,), positive.
    """

    kind = "centroids"
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
    def input_dim(self) -> int:
        """Dimension of the features it takes."""
        return self.centroids.shape[-1]

    @property
    def n_clusters(self) -> int:
        """Number of clusters a head."""
        return self.centroids.shape[1]

    def forward(self, features: Tensor) -> HeadOutput:
        """Logits of `features` (views, batch, dim)."""
        # Matrix products make distances of what lies far from the origin imprecise; distances do not mind a shift.
        center = self.centroids.mean((0, 1))
        distances = torch.cdist((features - center)[:, None], (self.centroids - center)[None]).square()
        return HeadOutput(-distances / self.scale[:, None, None])


def _views_first(values: Tensor, views: int) -> Tensor:
    heads, rows, dim = values.shape
    return values.view(heads, views, rows // views, dim).transpose(0, 1)


@torch.no_grad()
def ema_update_(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Moves every parameter of `teacher` to momentum * teacher + (1 - momentum) * student, in place."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
