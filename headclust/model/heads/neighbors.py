"""Heads of methods that only partition the fitted samples: a vote of the nearest fitted samples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from headclust.model.heads.output import HeadOutput, views_first

_ROWS, _COLUMNS = 2_048, 65_536  # a block of similarities is at most 512 MB


class NeighborHeads(nn.Module):
    """Vote of the nearest fitted samples: a logit is the log of a cluster's share of the votes.

    A vote has the weight exp(-squared distance / (2 temperature)), so a fitted sample, which is its own nearest
    neighbor, usually keeps its cluster. A cluster without a vote has the logit -inf.

    Args:
        assignments: Clusters of the fitted samples, integers (heads, n_fitted) in [0, n_clusters).
        features: Their features, (1, n_fitted, dim), float16 or wider. All heads share them, so their heads axis has
            length one.
        n_clusters: Number of clusters per head.
        n_votes: Number of fitted samples that vote; all if there are fewer.
        temperature: Half the squared distance at which a vote's weight falls to 1/e; a large one makes all votes
            equal.
    """

    kind = "neighbors"
    several_spaces = False
    assignments: Tensor
    features: Tensor
    counts: Tensor
    temperature: Tensor

    def __init__(
        self, *, assignments: Tensor, features: Tensor, n_clusters: int, n_votes: int, temperature: float
    ) -> None:
        super().__init__()
        shape = (1, assignments.shape[1], features.shape[-1])
        if features.shape != shape or not 0 <= int(assignments.min()) <= int(assignments.max()) < n_clusters:
            raise ValueError(
                f"clusters of {tuple(assignments.shape)} samples beside features of {tuple(features.shape)}"
            )
        if n_votes < 1:
            raise ValueError(f"{n_votes} samples vote, expected at least one")
        n_heads = len(assignments)
        self.register_buffer("assignments", assignments)
        self.register_buffer("features", features)
        self.register_buffer("counts", torch.tensor([[n_clusters, n_votes]]).repeat(n_heads, 1))
        self.register_buffer("temperature", torch.full((n_heads,), temperature, dtype=torch.float32))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> NeighborHeads:
        """Heads with the buffers in the `state_dict()` of another ensemble."""
        n_clusters, n_votes = map(int, state["counts"][0])
        return cls(
            assignments=state["assignments"],
            features=state["features"],
            n_clusters=n_clusters,
            n_votes=n_votes,
            temperature=float(state["temperature"][0]),
        )

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the input, one per space."""
        return (self.features.shape[-1],)

    @property
    def n_clusters(self) -> int:
        """Number of clusters per head."""
        return int(self.counts[0, 0])

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits of features (views, batch, dim) of a single space."""
        (features,) = spaces
        views, batch, dim = features.shape
        rows = features.reshape(views * batch, dim)
        logits = torch.cat([self._shares(block).log() for block in torch.split(rows, _ROWS)], dim=1)
        return HeadOutput(views_first(logits, views))

    def _shares(self, rows: Tensor) -> Tensor:
        """Shares of the votes, (heads, n, clusters), for rows (n, dim)."""
        nearness, voters = self._nearest(rows)
        # Normalized weights of the voters, (n, votes). The softmax cancels the term per row that `nearness` lacks.
        votes = torch.softmax(nearness / self.temperature[0], dim=1)
        # Clusters of the voters, (heads, n, votes); their weights are summed per cluster.
        clusters = self.assignments[:, voters].long()
        shares = torch.zeros(len(clusters), len(rows), self.n_clusters, device=rows.device)
        return shares.scatter_add_(2, clusters, votes.expand_as(clusters))

    def _nearest(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Nearness of the nearest fitted samples, descending, and their row numbers, (n, votes) each.

        Nearness is <x, f> - |f|^2 / 2 = (|x|^2 - |x - f|^2) / 2: minus half the squared distance, up to a term per row.
        """
        n_votes = int(self.counts[0, 1])
        nearness = torch.empty(len(rows), 0, device=rows.device)
        voters = torch.empty(len(rows), 0, dtype=torch.int64, device=rows.device)
        for left in range(0, self.features.shape[1], _COLUMNS):
            fitted = self.features[0, left : left + _COLUMNS].float()
            block = torch.addmm(-fitted.square().sum(1) / 2, rows, fitted.T)
            # The nearest in this block, joined with the nearest so far; the nearest overall are among them.
            best, columns = block.topk(min(n_votes, len(fitted)), dim=1)
            nearness, voters = torch.cat((nearness, best), 1), torch.cat((voters, columns + left), 1)
            nearness, order = nearness.topk(min(n_votes, nearness.shape[1]), dim=1)
            voters = voters.gather(1, order)
        return nearness, voters
