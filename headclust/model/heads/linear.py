"""Linear heads, as SCAN has on frozen features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from headclust.model.heads.output import HeadOutput, views_first
from headclust.seeding import HEAD_STREAM, torch_generator

# The least variance within clusters, as a share of all: clusters of one sample or of copies have none to divide by.
_LEAST_SPREAD = torch.finfo(torch.float32).eps
_TINY = torch.finfo(torch.float32).tiny


class LinearHeads(nn.Module):
    """A linear layer with bias a head, initialised as `torch.nn.Linear` is.

    Args:
        feature_dims: Dimension of the input: one space.
        n_clusters: Number of clusters a head.
        n_heads: Number of heads.
        seed: The ensemble's seed; head h starts from its own stream of it.
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
        """Heads with the parameters of another ensemble's `state_dict()`, whose shapes say everything else."""
        n_heads, n_clusters, feature_dim = state["weight"].shape
        ensemble = cls(feature_dims=(feature_dim,), n_clusters=n_clusters, n_heads=n_heads)
        ensemble.load_state_dict(state)
        return ensemble

    @classmethod
    def discriminant(cls, rows: Tensor, assignments: Tensor, n_clusters: int, *, shrinkage: float) -> LinearHeads:
        """Heads that tell the clusters of given partitions apart: linear discriminants, one head a partition.

        With mu_c the mean of cluster c, S the covariance within clusters, shrunk towards a multiple of the identity,
        and p_c the cluster's share, counted with one sample more: logit_c = mu_c' S^-1 (x - mu_c / 2) + log p_c.

        Fisher, "The Use of Multiple Measurements in Taxonomic Problems", 1936; as a generative classifier Hastie,
        Tibshirani and Friedman, "The Elements of Statistical Learning", section 4.3.

        Args:
            rows: Shape (n_samples, feature_dim).
            assignments: Clusters, integers (heads, n_samples) in [0, n_clusters).
            n_clusters: Number of clusters; one without samples gets the mean of all.
            shrinkage: Share of the identity, in (0, 1].
        """
        device, n_heads, (n_samples, dim) = rows.device, len(assignments), rows.shape
        rows, assignments = rows.cpu(), assignments.cpu()  # float64, which some devices lack, and repeatable sums
        heads = cls(feature_dims=(dim,), n_clusters=n_clusters, n_heads=n_heads)
        centered = (rows - rows.mean(0)).double()
        total = centered.T @ centered
        identity = torch.eye(dim, dtype=torch.float64)
        with torch.no_grad():
            for head, clusters in enumerate(assignments):
                counts = torch.bincount(clusters, minlength=n_clusters).double()
                sums = torch.zeros(n_clusters, dim, dtype=torch.float64)
                means = sums.index_add_(0, clusters, centered) / counts.clamp_min(1)[:, None]
                within = (total - means.T @ (means * counts[:, None])) / n_samples
                level = within.trace().clamp_min(_LEAST_SPREAD * total.trace() / n_samples).clamp_min(_TINY) / dim
                weight = torch.linalg.solve((1 - shrinkage) * within + shrinkage * level * identity, means.T).T
                prior = ((counts + 1) / (n_samples + n_clusters)).log()
                heads.weight[head] = weight
                heads.cluster_bias[head] = prior - weight @ rows.mean(0).double() - (weight * means).sum(1) / 2
        return heads.to(device)

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the features it takes, one a space."""
        return (self.weight.shape[-1],)

    @property
    def n_clusters(self) -> int:
        """Number of clusters a head."""
        return self.weight.shape[1]

    @property
    def last_layer(self) -> tuple[nn.Parameter, ...]:
        """All there is: a recipe that freezes it trains nothing meanwhile."""
        return self.weight, self.cluster_bias

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits of the one space's features (views, batch, feature_dim)."""
        (features,) = spaces
        views, batch, dim = features.shape
        heads, clusters, _ = self.weight.shape
        # The input is shared, so all heads are one matrix product.
        rows = features.reshape(views * batch, dim)
        logits = nn.functional.linear(rows, self.weight.view(heads * clusters, dim), self.cluster_bias.view(-1))
        return HeadOutput(views_first(logits.view(views * batch, heads, clusters).transpose(0, 1), views))
