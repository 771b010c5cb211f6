"""Linear heads, as SCAN trains on frozen features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from headclust.device import float64_device
from headclust.model.heads.output import HeadOutput, views_first
from headclust.seeding import HEAD_STREAM, torch_generator

# Smallest variance within clusters, as a share of the total: clusters of one sample or of copies have a variance of 0.
_LEAST_SPREAD = torch.finfo(torch.float32).eps
_TINY = torch.finfo(torch.float32).tiny


class LinearHeads(nn.Module):
    """One linear layer with bias per head, initialized as `torch.nn.Linear` is.

    Args:
        feature_dims: Dimension of the input: one space.
        n_clusters: Number of clusters per head.
        n_heads: Number of heads.
        seed: The ensemble's seed; head h is drawn from its own stream of it.
    """

    kind = "linear"
    several_spaces = False

    def __init__(self, *, feature_dims: Sequence[int], n_clusters: int, n_heads: int, seed: int = 0) -> None:
        super().__init__()
        (feature_dim,) = feature_dims
        self.weight = nn.Parameter(torch.empty(n_heads, n_clusters, feature_dim))
        self.cluster_bias = nn.Parameter(torch.empty(n_heads, n_clusters))
        bound = feature_dim**-0.5
        with torch.no_grad():
            for head in range(n_heads):
                generator = torch_generator(seed, HEAD_STREAM, head)
                nn.init.uniform_(self.weight[head], -bound, bound, generator=generator)
                nn.init.uniform_(self.cluster_bias[head], -bound, bound, generator=generator)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> LinearHeads:
        """Heads with the parameters in the `state_dict()` of another ensemble; its shapes give all dimensions."""
        n_heads, n_clusters, feature_dim = state["weight"].shape
        ensemble = cls(feature_dims=(feature_dim,), n_clusters=n_clusters, n_heads=n_heads)
        ensemble.load_state_dict(state)
        return ensemble.to(state["weight"].device)

    @classmethod
    def discriminant(
        cls, rows: Tensor, assignments: Tensor, n_clusters: int, *, shrinkage: float, temperature: float = 1.0
    ) -> LinearHeads:
        """Linear discriminants of given partitions, one head per partition.

        With mu_c the mean of cluster c, S the covariance within clusters, shrunk towards a multiple of the identity,
        and p_c the cluster's share with one sample added, logit_c is mu_c' S^-1 (x - mu_c / 2) + log p_c, divided by
        the temperature.

        Fisher, "The Use of Multiple Measurements in Taxonomic Problems", 1936; as a generative classifier Hastie,
        Tibshirani and Friedman, "The Elements of Statistical Learning", section 4.3.

        Args:
            rows: Shape (n_samples, feature_dim).
            assignments: Clusters, integers (heads, n_samples) in [0, n_clusters).
            n_clusters: Number of clusters; an empty cluster gets the mean of all samples.
            shrinkage: Share of the identity, in (0, 1].
            temperature: Divides the logits, above 0; a discriminant is overconfident.
        """
        device, n_heads, (n_samples, dim) = rows.device, len(assignments), rows.shape
        exact = float64_device(device)
        rows, assignments = rows.to(exact), assignments.to(exact)
        heads = cls(feature_dims=(dim,), n_clusters=n_clusters, n_heads=n_heads).to(exact)
        # Total scatter sum_i (x_i - mean)(x_i - mean)', (dim, dim), the same for all partitions.
        centered = (rows - rows.mean(0)).double()
        total = centered.T @ centered
        identity = torch.eye(dim, dtype=torch.float64, device=exact)
        with torch.no_grad():
            for head, clusters in enumerate(assignments):
                # mu_c of the centered rows, (clusters, dim); 0, the mean of all, for an empty cluster.
                counts = torch.bincount(clusters, minlength=n_clusters).double()
                sums = torch.zeros(n_clusters, dim, dtype=torch.float64, device=exact)
                means = sums.index_add_(0, clusters, centered) / counts.clamp_min(1)[:, None]
                # Scatter within = total - between, with between = sum_c n_c mu_c mu_c'; divided by n, (dim, dim).
                within = (total - means.T @ (means * counts[:, None])) / n_samples
                # Mean variance per dimension, positive even if all samples equal the mean of their cluster.
                level = within.trace().clamp_min(_LEAST_SPREAD * total.trace() / n_samples).clamp_min(_TINY) / dim
                # S^-1 mu_c, (clusters, dim), with S = (1 - shrinkage) within + shrinkage level I.
                weight = torch.linalg.solve((1 - shrinkage) * within + shrinkage * level * identity, means.T).T
                prior = ((counts + 1) / (n_samples + n_clusters)).log()
                # Bias: log p_c - mu_c' S^-1 mu_c / 2, and the shift back from centered rows to rows.
                bias = prior - weight @ rows.mean(0).double() - (weight * means).sum(1) / 2
                heads.weight[head], heads.cluster_bias[head] = weight / temperature, bias / temperature
        return heads.to(device)

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the input, one per space."""
        return (self.weight.shape[-1],)

    @property
    def n_clusters(self) -> int:
        """Number of clusters per head."""
        return self.weight.shape[1]

    @property
    def last_layer(self) -> tuple[nn.Parameter, ...]:
        """All parameters: while a recipe freezes them, nothing is trained."""
        return self.weight, self.cluster_bias

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits of features (views, batch, feature_dim) of a single space."""
        (features,) = spaces
        views, batch, dim = features.shape
        heads, clusters, _ = self.weight.shape
        # The input is shared, so all heads are one matrix product.
        rows = features.reshape(views * batch, dim)
        logits = nn.functional.linear(rows, self.weight.view(heads * clusters, dim), self.cluster_bias.view(-1))
        return HeadOutput(views_first(logits.view(views * batch, heads, clusters).transpose(0, 1), views))
