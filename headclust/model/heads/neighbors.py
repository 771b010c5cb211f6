"""Heads of methods that only partition the fitted samples: a vote of the nearest fitted samples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from headclust.model.heads.output import HeadOutput, views_first

_ROWS, _COLUMNS = 512, 8_192  # a block of similarities takes 16 MB
_NARROW = 16  # dimensions up to which distances are computed by differences
_CANDIDATES = 16  # voters among which a fitted sample is looked for
_MARGIN = 1e-3  # of the share of a fitted sample's own cluster above the largest
# Squared rounding of float16, 2^-22, and of a product in float32, as a share of the squared length of a row.
RADIUS = 1e-6


class NeighborHeads(nn.Module):
    """Vote of the nearest fitted samples: a logit is the log of a cluster's share of the votes.

    A vote has the weight exp(-squared distance / (2 temperature)). A cluster without a vote has the logit -inf.

    A fitted sample keeps its cluster: where the others outvote it, the share of its own cluster is raised just above
    the largest, and the shares are divided by their sum. A sample counts as a fitted one if its squared distance to the
    nearest is less than `radius` times its own squared length, or times dim if that is more.

    Args:
        assignments: Clusters of the fitted samples, integers (heads, n_fitted) in [0, n_clusters).
        features: Their features, (1, n_fitted, dim), float16 or wider. All heads share them, so their heads axis has
            length one.
        n_clusters: Number of clusters per head.
        n_votes: Number of fitted samples that vote; all if there are fewer.
        temperature: Half the squared distance at which a vote's weight falls to 1/e; a large one makes all votes
            equal.
        radius: Squared distance from a fitted sample below which a sample is the same; 0 leaves all to the votes, as
            in models of older versions.
    """

    kind = "neighbors"
    several_spaces = False
    assignments: Tensor
    features: Tensor
    counts: Tensor
    temperature: Tensor
    radius: Tensor | None

    def __init__(
        self,
        *,
        assignments: Tensor,
        features: Tensor,
        n_clusters: int,
        n_votes: int,
        temperature: float,
        radius: float = RADIUS,
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
        # Not stored if it is 0, as in models of older versions.
        self.register_buffer("radius", torch.full((n_heads,), radius, dtype=torch.float32) if radius > 0 else None)

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
            radius=float(state["radius"][0]) if "radius" in state else 0.0,
        ).to(state["features"].device)

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the input, one per space."""
        return (self.features.shape[-1],)

    @property
    def n_clusters(self) -> int:
        """Number of clusters per head."""
        return int(self.counts[0, 0])

    @property
    def n_votes(self) -> int:
        """Number of fitted samples that vote on a sample, if there are so many."""
        return int(self.counts[0, 1])

    def forward(self, *spaces: Tensor) -> HeadOutput:
        """Logits of features (views, batch, dim) of a single space."""
        (features,) = spaces
        views, batch, dim = features.shape
        rows = features.reshape(views * batch, dim)
        blocks = zip(*(torch.split(part, _ROWS) for part in (rows, *self._nearest(rows))), strict=True)
        logits = torch.cat([self._shares(*block).log() for block in blocks], dim=1)
        return HeadOutput(views_first(logits, views))

    def shares_among(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Shares of the votes, (heads, n, clusters), if the nearest fitted samples of rows are known.

        Args:
            rows: Shape (n, dim).
            candidates: Numbers of fitted samples, among them the nearest of each row, int64 (n, m); -1 for none. At
                least as many as vote.
        """
        # Nearness up to a term per row, (n, m): see `_nearest`.
        nearness = (self.features[0, candidates].float() - rows[:, None]).square().sum(2) / -2
        nearness = torch.where(candidates < 0, -torch.inf, nearness)
        nearness, order = nearness.topk(min(self.n_votes, candidates.shape[1]), dim=1)
        return self._shares(rows, nearness, candidates.gather(1, order))

    def _shares(self, rows: Tensor, nearness: Tensor, voters: Tensor) -> Tensor:
        """Shares of the votes, (heads, n, clusters), for rows (n, dim) and their nearest, (n, votes) each."""
        # Normalized weights of the voters, (n, votes). The softmax cancels the term per row that `nearness` lacks.
        votes = torch.softmax(nearness / self.temperature[0], dim=1)
        # Clusters of the voters, (heads, n, votes); their weights are summed per cluster.
        clusters = self.assignments[:, voters].long()
        shares = torch.zeros(len(clusters), len(rows), self.n_clusters, device=rows.device)
        shares.scatter_add_(2, clusters, votes.expand_as(clusters))
        return shares if self.radius is None else self._keep_(shares, rows, voters, float(self.radius[0]))

    def _keep_(self, shares: Tensor, rows: Tensor, voters: Tensor, radius: float) -> Tensor:
        """The shares (heads, n, clusters), in which fitted samples among the rows (n, dim) keep their cluster."""
        # Distances to the nearest voters once more, (n, votes): differences are exact, the nearness above is not.
        candidates = voters[:, :_CANDIDATES]
        squared = (self.features[0, candidates].float() - rows[:, None]).square().sum(2)
        nearest = squared.min(1)
        # Of fitted samples in one place the first, (n,).
        ties = torch.where(squared == nearest.values[:, None], candidates, self.features.shape[1])
        fitted = nearest.values < radius * rows.square().sum(1).clamp_min(rows.shape[1])
        # Own cluster per head, (heads, n, 1), its share, and the largest.
        own = self.assignments[:, ties.min(1).values].long()[..., None]
        share, largest = shares.gather(2, own), shares.amax(2, keepdim=True)
        outvoted = fitted[None, :, None] & (shares.argmax(2, keepdim=True) != own)
        raised = torch.where(outvoted, largest * (1 + _MARGIN), share)
        shares = shares.scatter(2, own, raised)
        return torch.where(outvoted, shares / shares.sum(2, keepdim=True), shares)

    def _nearest(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Nearness of the nearest fitted samples, descending, and their row numbers, (n, votes) each.

        Nearness is <x, f> - |f|^2 / 2 = (|x|^2 - |x - f|^2) / 2: minus half the squared distance, up to a term per row.
        """
        n_votes = self.n_votes
        blocks = list(torch.split(rows, _ROWS))
        nearness = [torch.empty(len(block), 0, device=rows.device) for block in blocks]
        voters = [torch.empty(len(block), 0, dtype=torch.int64, device=rows.device) for block in blocks]
        for left in range(0, self.features.shape[1], _COLUMNS):
            fitted = self.features[0, left : left + _COLUMNS].float()
            half_squares = fitted.square().sum(1) / 2
            for number, block in enumerate(blocks):
                if self.radius is not None and rows.shape[1] <= _NARROW:
                    # In few dimensions samples lie close together, where the product below is imprecise.
                    scores = torch.cdist(block, fitted, compute_mode="donot_use_mm_for_euclid_dist").square() / -2
                else:
                    scores = torch.addmm(-half_squares, block, fitted.T)
                # The nearest of these, joined with the nearest so far; the nearest overall are among them.
                best, columns = scores.topk(min(n_votes, len(fitted)), dim=1)
                best, columns = torch.cat((nearness[number], best), 1), torch.cat((voters[number], columns + left), 1)
                nearness[number], order = best.topk(min(n_votes, best.shape[1]), dim=1)
                voters[number] = columns.gather(1, order)
        return torch.cat(nearness), torch.cat(voters)
