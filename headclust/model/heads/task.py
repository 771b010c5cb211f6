"""Task encoders of TURTLE: linear heads on one or several feature spaces, whose probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headclust.model.heads.output import HeadOutput, views_first
from headclust.seeding import HEAD_STREAM, torch_generator


class TaskHeads(nn.Module):
    """One weight-normalized linear layer with bias per space; a head's probabilities are the mean over spaces.

    Initialized as `torch.nn.Linear` is: the length of a cluster's weights starts as the length of their direction.

    Paper: Gadetsky, Jiang, Brbic, "Let Go of Your Labels with Unsupervised Transfer", ICML 2024
    (https://arxiv.org/abs/2406.07236). Author code: https://github.com/mlbio-epfl/turtle (run_turtle.py).

    Args:
        feature_dims: Dimension of the input, one per space.
        n_clusters: Number of clusters per head.
        n_heads: Number of heads.
        seed: The ensemble's seed; head h is drawn from its own stream of it.
    """

    kind = "task"
    several_spaces = True

    def __init__(self, *, feature_dims: Sequence[int], n_clusters: int, n_heads: int, seed: int = 0) -> None:
        super().__init__()
        self._n_spaces = len(feature_dims)
        for space, dim in enumerate(feature_dims):
            for name, shape in (("direction", (n_clusters, dim)), ("length", (n_clusters, 1)), ("bias", (n_clusters,))):
                self.register_parameter(f"space{space}_{name}", nn.Parameter(torch.empty(n_heads, *shape)))
        with torch.no_grad():
            for head in range(n_heads):
                self._initialize_(head, torch_generator(seed, HEAD_STREAM, head))

    def _initialize_(self, head: int, generator: torch.Generator) -> None:
        for space, dim in enumerate(self.input_dims):
            direction, length, bias = (tensor[head] for tensor in self._layer(space))
            for tensor in (direction, bias):
                nn.init.uniform_(tensor, -(dim**-0.5), dim**-0.5, generator=generator)
            length.copy_(direction.norm(dim=-1, keepdim=True))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> TaskHeads:
        """Heads with the parameters in the `state_dict()` of another ensemble; its shapes give all dimensions."""
        n_heads, n_clusters, _ = state["space0_direction"].shape
        n_spaces = sum(name.endswith("_direction") for name in state)
        dims = [state[f"space{space}_direction"].shape[-1] for space in range(n_spaces)]
        ensemble = cls(feature_dims=dims, n_clusters=n_clusters, n_heads=n_heads)
        ensemble.load_state_dict(state)
        return ensemble.to(state["space0_direction"].device)

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the input, one per space."""
        return tuple(self._layer(space)[0].shape[-1] for space in range(self._n_spaces))

    @property
    def n_clusters(self) -> int:
        """Number of clusters per head."""
        return self._layer(0)[0].shape[1]

    @property
    def last_layer(self) -> tuple[nn.Parameter, ...]:
        """All parameters: while a recipe freezes them, nothing is trained."""
        return tuple(self.parameters())

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Log of the mean probabilities, and the logits of each space, for features (views, batch, dim) per space."""
        logits = tuple(self._logits(space, features) for space, features in enumerate(spaces))
        # log p_s per space, (spaces, views, heads, batch, clusters).
        logs = torch.stack([torch.log_softmax(one_space, dim=-1) for one_space in logits])
        # log of the mean over spaces: log (1/S) sum_s p_s = logsumexp_s log p_s - log S.
        return HeadOutput(torch.logsumexp(logs, dim=0) - math.log(self._n_spaces), space_logits=logits)

    def _logits(self, space: int, features: Tensor) -> Tensor:
        """Logits (views, heads, batch, clusters) of features (views, batch, dim) of one space."""
        direction, length, bias = self._layer(space)
        # Weight normalization: g v / |v|, (heads, clusters, dim).
        weight = F.normalize(direction, dim=-1) * length
        heads, clusters, dim = weight.shape
        views, batch, _ = features.shape
        # The input is shared, so all heads are one matrix product.
        logits = F.linear(features.reshape(views * batch, dim), weight.view(heads * clusters, dim), bias.view(-1))
        return views_first(logits.view(views * batch, heads, clusters).transpose(0, 1), views)

    def _layer(self, space: int) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
        direction, length, bias = (
            self.get_parameter(f"space{space}_{name}") for name in ("direction", "length", "bias")
        )
        return direction, length, bias
