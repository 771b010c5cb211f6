"""Heads of DINO and TEMI: a small network that ends in weight-normalized prototypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headclust.model.heads.output import HeadOutput, views_first
from headclust.seeding import HEAD_STREAM, torch_generator


class HeadEnsemble(nn.Module):
    """Heads as in DINO and TEMI: Linear, GELU, Linear, L2-normalize, weight-normalized Linear without bias.

    A logit is g_c cos(z, v_c): the direction v_c of a prototype and its trainable length g_c are separate parameters.
    Head h is initialized from its own stream of `seed`, so the first 4 of 50 heads start like an ensemble of 4.

    Author code: https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (model_builders).

    Args:
        feature_dims: Dimension of the input: one space.
        n_clusters: Number of prototypes per head.
        n_heads: Number of heads.
        hidden_dim: Width of the hidden layer.
        bottleneck_dim: Dimension of the normalized embedding.
        seed: The ensemble's seed.
    """

    kind = "mlp"
    several_spaces = False

    def __init__(
        self,
        *,
        feature_dims: Sequence[int],
        n_clusters: int,
        n_heads: int,
        hidden_dim: int,
        bottleneck_dim: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        (feature_dim,) = feature_dims
        self.hidden_weight = nn.Parameter(torch.empty(n_heads, hidden_dim, feature_dim))
        self.hidden_bias = nn.Parameter(torch.zeros(n_heads, hidden_dim))
        self.bottleneck_weight = nn.Parameter(torch.empty(n_heads, bottleneck_dim, hidden_dim))
        self.bottleneck_bias = nn.Parameter(torch.zeros(n_heads, bottleneck_dim))
        self.prototype_direction = nn.Parameter(torch.empty(n_heads, n_clusters, bottleneck_dim))
        self.prototype_length = nn.Parameter(torch.ones(n_heads, n_clusters, 1))
        # The author code draws the two hidden layers from a truncated normal with biases of 0; the last layer keeps
        # nn.Linear's initialization, uniform within 1 / sqrt(inputs).
        bound = bottleneck_dim**-0.5
        with torch.no_grad():
            for head in range(n_heads):
                generator = torch_generator(seed, HEAD_STREAM, head)
                nn.init.trunc_normal_(self.hidden_weight[head], std=0.02, generator=generator)
                nn.init.trunc_normal_(self.bottleneck_weight[head], std=0.02, generator=generator)
                nn.init.uniform_(self.prototype_direction[head], -bound, bound, generator=generator)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> HeadEnsemble:
        """Heads with the parameters in the `state_dict()` of another ensemble; its shapes give all dimensions."""
        heads, hidden_dim, feature_dim = state["hidden_weight"].shape
        _, n_clusters, bottleneck_dim = state["prototype_direction"].shape
        ensemble = cls(
            feature_dims=(feature_dim,),
            n_clusters=n_clusters,
            n_heads=heads,
            hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
        )
        ensemble.load_state_dict(state)
        return ensemble.to(state["hidden_weight"].device)

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the input, one per space."""
        return (self.hidden_weight.shape[-1],)

    @property
    def n_clusters(self) -> int:
        """Number of clusters per head."""
        return self.prototype_direction.shape[1]

    @property
    def last_layer(self) -> tuple[nn.Parameter, ...]:
        """The prototypes' parameters, which some recipes freeze at first."""
        return self.prototype_direction, self.prototype_length

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits and embeddings of features (views, batch, feature_dim) of a single space."""
        (features,) = spaces
        views, batch, dim = features.shape
        heads, hidden, _ = self.hidden_weight.shape
        rows = features.reshape(views * batch, dim)
        # The input is shared, so the first layer of all heads is one matrix product; (heads, views * batch, hidden).
        activations = F.gelu(F.linear(rows, self.hidden_weight.view(heads * hidden, dim), self.hidden_bias.view(-1)))
        activations = activations.view(views * batch, heads, hidden).transpose(0, 1)
        # z, (heads, views * batch, bottleneck), of unit length.
        bottleneck = torch.baddbmm(self.bottleneck_bias[:, None], activations, self.bottleneck_weight.transpose(1, 2))
        embedding = F.normalize(bottleneck, dim=-1)
        # Logits <z, g_c v_c / |v_c|>, (heads, views * batch, clusters).
        prototypes = F.normalize(self.prototype_direction, dim=-1) * self.prototype_length
        logits = torch.bmm(embedding, prototypes.transpose(1, 2))
        return HeadOutput(views_first(logits, views), views_first(embedding, views))
