"""The steps of the default under constraints: its graph, its partitions, and the partners and loss of its heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features
from headclust.methods.constraints import Constraints
from headclust.methods.result import FitResult
from headclust.progress import note
from headclust.seeding import BATCH_STREAM, torch_generator

if TYPE_CHECKING:
    from scipy import sparse
    from torch import Tensor

_LINKS = 9  # partners per sample that the graph and the neighbor lists get from must-links
_WEIGHT = 2.0  # points that a pinned one counts as in its centroid
_LOSS_WEIGHT = 5.0  # samples of the objective that a constraint counts as in the loss ...
_MOST = 1.0  # ... and largest weight of all constraints together
_PINNED = 1_024  # pinned samples per step, at most
_MAX_ITER = 50
_LEAST = 1e-6  # of -log of the probability that two samples share a cluster


def linked(weights: sparse.csr_array, constraints: Constraints) -> sparse.csr_array:
    """A graph with edges between samples that have to share a group, and none between those that may not.

    Args:
        weights: Symmetric weights in [0, 1], (n_samples, n_samples).
        constraints: Of these samples.
    """
    from scipy import sparse

    rows, others = constraints.partners(_LINKS)
    first, second = np.repeat(rows, others.shape[1]), others.ravel()
    # A link weighs as much as the nearest neighbor of either sample: in a sparse graph a weight of 1 is far more.
    strongest = weights.max(axis=1).toarray().ravel()
    weight = np.minimum(strongest[first], strongest[second])
    # Each pair once, as a sparse matrix adds up entries that occur twice.
    pairs, places = np.unique(np.stack((first, second)), axis=1, return_index=True)
    links = sparse.csr_array((weight[places], tuple(pairs)), shape=weights.shape)
    edges = weights.maximum(links).maximum(links.T).tocoo()
    allowed = ~constraints.forbid(edges.row.astype(np.int64), edges.col.astype(np.int64))
    return sparse.csr_array((edges.data[allowed], (edges.row[allowed], edges.col[allowed])), shape=weights.shape)


def linked_partners(indices: Tensor, constraints: Constraints) -> Tensor:
    """Neighbor lists, int32 (n_samples, k), whose last entries are partners by must-links, and none is a cannot-link.

    A neighbor that a sample may not share a group with is replaced by its nearest neighbor that it may, or by itself.
    """
    import torch

    lists = indices.numpy().astype(np.int64)
    n_samples, k = lists.shape
    rows, others = constraints.partners(min(_LINKS, (k + 1) // 2))
    lists[rows, -others.shape[1] :] = others
    bad = constraints.forbid(np.repeat(np.arange(n_samples), k), lists.ravel()).reshape(n_samples, k)
    for row in np.flatnonzero(bad.any(1)):
        good = lists[row][~bad[row]]
        lists[row][bad[row]] = good[0] if len(good) else row
    return torch.from_numpy(lists).to(indices)


def seeded_partition(points: Tensor, constraints: Constraints) -> NDArray[np.int64]:
    """Clusters by k-means that starts from the groups so far and keeps the constraints, int64 (n_points,).

    Seeded and constrained k-means (Basu, Banerjee and Mooney, "Semi-supervised clustering by seeding", ICML 2002):
    centroids start as means of the groups; pinned points stay in theirs, and count more than others.

    Args:
        points: Shape (n_points, dim).
        constraints: Of these points, with their splits done.
    """
    import torch

    device = points.device
    rows = constraints.paired
    numbers, pins = (torch.from_numpy(values).to(device) for values in (rows, constraints.pinned))
    weight = torch.where(pins >= 0, _WEIGHT, 1.0)
    clusters = torch.where(pins >= 0, pins, torch.from_numpy(constraints.groups).to(device))
    fixed = pins
    if constraints.held is not None:
        fixed = torch.where(torch.from_numpy(constraints.held).to(device), clusters, pins)
    squares = points.square().sum(1)[:, None]
    centroids = torch.zeros(constraints.n_groups, points.shape[1], device=device)
    for _ in range(_MAX_ITER):
        # Weighted means of the points of each cluster, (n_groups, dim); an empty cluster keeps its centroid.
        has_cluster = clusters >= 0
        sums = torch.zeros_like(centroids).index_add_(0, clusters[has_cluster], (points * weight[:, None])[has_cluster])
        totals = torch.zeros(len(centroids), device=device).index_add_(0, clusters[has_cluster], weight[has_cluster])
        centroids = torch.where(totals[:, None] > 0, sums / totals.clamp_min(1e-12)[:, None], centroids)
        # Squared distances (n_points, n_groups); the nearest, then what the constraints ask for.
        distances = torch.addmm(centroids.square().sum(1)[None], points, centroids.T, alpha=-2) + squares
        nearest = torch.where(fixed >= 0, fixed, distances.argmin(1))
        if len(rows):
            settled, _ = constraints.settle(-distances[numbers].cpu().numpy(), rows)
            nearest[numbers] = torch.from_numpy(settled).to(device)
        if torch.equal(nearest, clusters):
            break
        clusters = nearest
    return clusters.cpu().numpy()


def constraint_loss(
    rows: Tensor, constraints: Constraints, *, temperature: float, seed: int
) -> Callable[[Any], Tensor] | None:
    """A loss per head that asks for the constraints, to be added to the objective; None if there are none.

    The mean over pinned samples of -log p(pin), over pairs together of -log sum_c p(c|x) p(c|x'), and over pairs apart
    of -log(1 - sum_c p(c|x) p(c|x')), as in Hsu and Kira, "Neural network-based clustering using pairwise constraints",
    2016 (https://arxiv.org/abs/1511.06321). Each constraint counts as several samples of the objective, up to a limit.

    Args:
        rows: Unit rows (n_samples, dim).
        constraints: Of these samples.
        temperature: Of the softmax that gives the probabilities p.
        seed: The fit's seed; of many pinned samples, each step draws some.
    """
    import torch

    device = rows.device
    pinned = torch.from_numpy(np.flatnonzero(constraints.pinned >= 0))
    pins = torch.from_numpy(constraints.pinned)
    pairs = torch.from_numpy(np.concatenate((constraints.together, constraints.apart)))
    n_together, n_constraints = len(constraints.together), len(pinned) + len(pairs)
    if not n_constraints:
        return None
    weight = min(_MOST, _LOSS_WEIGHT * n_constraints / len(rows))
    generator = torch_generator(seed, BATCH_STREAM, 2)

    def loss(heads: Any) -> Tensor:
        chosen = pinned
        if len(chosen) > _PINNED:
            chosen = pinned[torch.randint(len(pinned), (_PINNED,), generator=generator)]
        numbers = torch.cat((chosen, pairs.T.flatten())).to(device)
        # log p, (heads, n, clusters), of the pinned samples, then of the first and the second samples of all pairs.
        log_p = torch.log_softmax(heads(rows[numbers][None]).logits[0] / temperature, -1)
        single, first, second = torch.split(log_p, [len(chosen), len(pairs), len(pairs)], 1)
        # log p(pin), (heads, n_pinned), and log sum_c p(c|x) p(c|x'), (heads, n_pairs).
        right = single.gather(2, pins[chosen].to(device).expand(len(single), -1)[..., None])[..., 0]
        same = torch.logsumexp(first + second, -1)
        other = torch.log1p(-same[:, n_together:].clamp_max(-_LEAST).exp())
        terms = torch.cat((right, same[:, :n_together], other), 1)
        return -weight * terms.mean(1)

    return loss


def keep(result: FitResult, spaces: tuple[Features, ...], constraints: Constraints) -> FitResult:
    """A result whose assignments satisfy the constraints: pinned samples have their group, with confidence 1."""
    is_pinned, rows = constraints.pinned >= 0, constraints.paired
    assignments, confidence = result.assignments.copy(), result.confidence.copy()
    if len(rows):
        probs = result.model.mean_probs(*(space.select(rows) for space in spaces)).numpy()
        groups, n_broken = constraints.settle(probs, rows)
        if n_broken:
            note(f"warning: {n_broken} images have no group left that no image apart from them is in.")
        assignments[rows], confidence[rows] = groups, probs[np.arange(len(rows)), groups]
    assignments[is_pinned], confidence[is_pinned] = constraints.pinned[is_pinned], 1
    return replace(result, assignments=assignments, confidence=confidence)
