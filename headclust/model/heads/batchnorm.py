"""Heads of IMC-SwAV: two hidden layers with batch normalization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.group import ALONE
from headclust.model.heads.output import HeadOutput
from headclust.seeding import HEAD_STREAM, torch_generator

_MOMENTUM, _EPSILON = 0.1, 1e-5  # of torch's batch normalization


class BatchNormHeads(nn.Module):
    """IMC-SwAV's classifier: Linear, BatchNorm, ReLU, Linear, BatchNorm, ReLU, Linear, initialized as torch does.

    In training mode every view of every head is normalized by its own batch, as in the author code, which calls the
    classifier once per view; the running statistics are updated by one view after the other. In eval mode the running
    statistics are used and never changed, so that a sample's cluster does not depend on the other samples of its batch.

    Paper: Ntelemis, Jin and Thomas, "Information Maximization Clustering via Multi-View Self-Labelling", 2021
    (https://arxiv.org/abs/2103.07368). Author code: https://github.com/foiv0s/imc-swav-pub (graphs.py).

    Deviations: the author code runs 50 batches of the evaluation images through the network in training mode before it
    scores, which adapts the running statistics to the images that are scored. We do not.

    Args:
        feature_dims: Dimension of the input: one space.
        n_clusters: Number of clusters per head.
        n_heads: Number of heads.
        hidden_dim: Width of a head's first hidden layer.
        second_dim: Width of a head's second hidden layer.
        seed: The ensemble's seed; head h is drawn from its own stream of it.
    """

    batch_group = ALONE  # the processes that share each batch
    kind = "batchnorm"
    several_spaces = False

    def __init__(
        self,
        *,
        feature_dims: Sequence[int],
        n_clusters: int,
        n_heads: int,
        hidden_dim: int,
        second_dim: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        (feature_dim,) = feature_dims
        self.hidden_weight, self.hidden_bias = _linear(n_heads, feature_dim, hidden_dim)
        self.second_weight, self.second_bias = _linear(n_heads, hidden_dim, second_dim)
        self.cluster_weight, self.cluster_bias = _linear(n_heads, second_dim, n_clusters)
        for layer, dim in (("hidden", hidden_dim), ("second", second_dim)):
            self.register_parameter(f"{layer}_norm_weight", nn.Parameter(torch.ones(n_heads, dim)))
            self.register_parameter(f"{layer}_norm_bias", nn.Parameter(torch.zeros(n_heads, dim)))
            self.register_buffer(f"{layer}_mean", torch.zeros(n_heads, dim))
            self.register_buffer(f"{layer}_variance", torch.ones(n_heads, dim))
        with torch.no_grad():
            for head in range(n_heads):
                generator = torch_generator(seed, HEAD_STREAM, head)
                for layer in ("hidden", "second", "cluster"):
                    weight, bias = self.get_parameter(f"{layer}_weight"), self.get_parameter(f"{layer}_bias")
                    bound = weight.shape[-1] ** -0.5
                    nn.init.uniform_(weight[head], -bound, bound, generator=generator)
                    nn.init.uniform_(bias[head], -bound, bound, generator=generator)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> BatchNormHeads:
        """Heads with the tensors in the `state_dict()` of another ensemble; its shapes give all dimensions."""
        n_heads, hidden_dim, feature_dim = state["hidden_weight"].shape
        _, n_clusters, second_dim = state["cluster_weight"].shape
        ensemble = cls(
            feature_dims=(feature_dim,),
            n_clusters=n_clusters,
            n_heads=n_heads,
            hidden_dim=hidden_dim,
            second_dim=second_dim,
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
        return self.cluster_weight.shape[1]

    @property
    def last_layer(self) -> tuple[nn.Parameter, ...]:
        """The layer that computes the logits, which some recipes freeze at first."""
        return self.cluster_weight, self.cluster_bias

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits of features (views, batch, feature_dim) of a single space.

        Raises:
            SettingError: A batch of one sample in training mode, which has no variance.
        """
        (features,) = spaces
        # The size of the whole batch, of which several processes hold parts.
        batch = self.batch_group.total(features.shape[1]) if self.training else 0
        if self.training and batch < 2:
            raise SettingError(f"batch_size is {batch}: batch normalization needs 2 or more.")
        return HeadOutput(torch.stack([self._logits(view, batch) for view in features]))

    def _logits(self, rows: Tensor, batch: int) -> Tensor:
        """Logits of one view (batch, feature_dim): (heads, batch, clusters)."""
        heads, hidden, dim = self.hidden_weight.shape
        # First layer, (heads * hidden, batch): the input is shared, so all heads are one matrix product. Samples are on
        # the last axis, because batch statistics are computed along it.
        values = torch.addmm(self.hidden_bias.view(-1, 1), self.hidden_weight.view(heads * hidden, dim), rows.T)
        values = self._norm_relu(values.view(heads, hidden, -1), "hidden", batch)
        # Second layer, (heads, second, batch), and the logits, (heads, clusters, batch).
        values = torch.baddbmm(self.second_bias[..., None], self.second_weight, values)
        values = self._norm_relu(values, "second", batch)
        return torch.baddbmm(self.cluster_bias[..., None], self.cluster_weight, values).transpose(1, 2)

    def _norm_relu(self, values: Tensor, layer: str, batch: int) -> Tensor:
        """Batch normalization and ReLU of (heads, dim, batch); training also updates the running statistics."""
        if self.training and self.batch_group.size > 1:
            return torch.relu(self._norm_over_processes(values, layer, batch))
        # One batch of heads * dim channels: every unit of every head has its own statistics.
        normalized = nn.functional.batch_norm(
            values.view(1, -1, values.shape[-1]),
            self.get_buffer(f"{layer}_mean").view(-1),
            self.get_buffer(f"{layer}_variance").view(-1),
            self.get_parameter(f"{layer}_norm_weight").view(-1),
            self.get_parameter(f"{layer}_norm_bias").view(-1),
            training=self.training,
        )
        return torch.relu(normalized).view_as(values)

    def _norm_over_processes(self, values: Tensor, layer: str, batch: int) -> Tensor:
        """The same before the ReLU, with the statistics of a batch of which this process holds a part."""
        # Mean and variance over the whole batch, (heads, dim, 1), in two passes, which is exact for large means.
        mean = self.batch_group.mean(values, dims=(-1,), keepdim=True)
        centered = values - mean
        variance = self.batch_group.mean(centered.square(), dims=(-1,), keepdim=True)
        with torch.no_grad():
            # As torch does: the running variance is of the population, batch / (batch - 1) times that of the batch.
            self.get_buffer(f"{layer}_mean").lerp_(mean[..., 0], _MOMENTUM)
            self.get_buffer(f"{layer}_variance").lerp_(variance[..., 0] * batch / (batch - 1), _MOMENTUM)
        weight, bias = (self.get_parameter(f"{layer}_norm_{name}")[..., None] for name in ("weight", "bias"))
        return centered * (variance + _EPSILON).rsqrt() * weight + bias


def _linear(n_heads: int, n_inputs: int, n_outputs: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights (heads, outputs, inputs) and biases (heads, outputs) of one linear layer per head, not initialized."""
    return nn.Parameter(torch.empty(n_heads, n_outputs, n_inputs)), nn.Parameter(torch.empty(n_heads, n_outputs))
