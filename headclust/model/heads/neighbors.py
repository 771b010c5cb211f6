"""Heads of methods that cluster samples and not the space they lie in: a vote of the nearest fitted samples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from headclust.model.heads.output import HeadOutput, views_first

_ROWS, _COLUMNS = 2_048, 65_536  # a block of similarities is at most 512 MB


class NeighborHeads(nn.Module):
    """A logit is the log of a cluster's share of the votes of the nearest fitted samples.

    A vote weighs exp(-squared distance / (2 temperature)), so a fitted sample, which is its own nearest neighbor,
    mostly keeps its cluster. A cluster without a vote has the logit -inf.

    Args:
        assignments: Clusters of the fitted samples, integers (heads, n_fitted) in [0, n_clusters).
        features: Their features, (1, n_fitted, dim); float16 will do. All heads share them, so that their heads axis
            is one long.
        n_clusters: Number of clusters a head.
        n_votes: Fitted samples that vote, or as many as there are.
        temperature: Half the squared distance by which a vote's weight falls to 1/e; a large one makes all equal.
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
        n_heads = len(assignments)
        self.register_buffer("assignments", assignments)
        self.register_buffer("features", features)
        self.register_buffer("counts", torch.tensor([[n_clusters, n_votes]]).repeat(n_heads, 1))
        self.register_buffer("temperature", torch.full((n_heads,), temperature, dtype=torch.float32))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> NeighborHeads:
        """Heads with the buffers of another one's `state_dict()`."""
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
        """Dimension of the features it takes, one a space."""
        return (self.features.shape[-1],)

    @property
    def n_clusters(self) -> int:
        """Number of clusters a head."""
        return int(self.counts[0, 0])

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits of the one space's features (views, batch, dim)."""
        (features,) = spaces
        views, batch, dim = features.shape
        rows = features.reshape(views * batch, dim)
        logits = torch.cat([self._shares(block).log() for block in torch.split(rows, _ROWS)], dim=1)
        return HeadOutput(views_first(logits, views))

    def _shares(self, rows: Tensor) -> Tensor:
        """Shares of the votes, (heads, n, clusters), for rows (n, dim)."""
        nearness, voters = self._nearest(rows)
        votes = torch.softmax(nearness / self.temperature[0], dim=1)
        clusters = self.assignments[:, voters].long()
        shares = torch.zeros(len(clusters), len(rows), self.n_clusters, device=rows.device)
        return shares.scatter_add_(2, clusters, votes.expand_as(clusters))

    def _nearest(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Minus half the squared distances but for a number a row, descending, and whose they are, (n, votes) each."""
        n_votes = int(self.counts[0, 1])
        nearness = torch.empty(len(rows), 0, device=rows.device)
        voters = torch.empty(len(rows), 0, dtype=torch.int64, device=rows.device)
        for left in range(0, self.features.shape[1], _COLUMNS):
            fitted = self.features[0, left : left + _COLUMNS].float()
            near = torch.addmm(-fitted.square().sum(1) / 2, rows, fitted.T)
            best, columns = near.topk(min(n_votes, len(fitted)), dim=1)
            nearness, voters = torch.cat((nearness, best), 1), torch.cat((voters, columns + left), 1)
            nearness, order = nearness.topk(min(n_votes, nearness.shape[1]), dim=1)
            voters = voters.gather(1, order)
        return nearness, voters
