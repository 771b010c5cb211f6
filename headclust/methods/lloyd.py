"""Lloyd's algorithm from greedy k-means++ seeds, all restarts at once, on any device."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.device import float64_device, reuse_memory
from headclust.features.rows import distinct_rows, unit_length
from headclust.group import ALONE, Group
from headclust.progress import bar
from headclust.seeding import RESTART_STREAM, torch_generator

_ROUNDING, _TINY = 2.0**-22, torch.finfo(torch.float32).tiny  # share of the largest coordinate that is rounding
_FAR = 256  # distance from the origin, in units of the points' range, from which on points are centered
_SCORES = 1 << 23  # most products of points and centroids in memory: 32 MB
# Points that seeds are drawn from, and their number per cluster: with 10,000 points, a partition into 1,000 clusters
# lost a point of accuracy, with 25,000 none.
_SEEDED, _SEEDED_PER_CLUSTER = 25_000, 25


class Restart(NamedTuple):
    """The result of one restart of k-means.

    Attributes:
        centroids: Shape (n_clusters, dim), on the device of the points.
        assignments: The nearest centroid of each point, int64 (n_points,).
        inertia: Sum of squared distances to the nearest centroid.
    """

    centroids: Tensor
    assignments: NDArray[np.int64]
    inertia: float


def restarts(
    points: Tensor,
    n_clusters: int,
    *,
    n_heads: int,
    max_iter: int,
    tolerance: float,
    seed: int,
    spherical: bool = False,
    group: Group = ALONE,
) -> list[Restart]:
    """Run k-means from several starts, on the device of the points.

    Args:
        points: Shape (n_points, dim), float32.
        n_clusters: Number of clusters, at most n_points.
        n_heads: Number of restarts.
        max_iter: Largest number of iterations per restart.
        tolerance: Relative decrease of the inertia below which a restart stops.
        seed: The fit's seed; restart r draws from its own stream of it.
        spherical: Normalize the centroids to unit length; the points must have unit length too.
        group: Processes with the same points and seeds: each moves the centroids by its part of the points.

    Returns:
        The restarts. With at most n_clusters different points, each of them is a centroid, and there are no others;
        points that differ by rounding only are the same.
    """
    scale = max(_ROUNDING * float(points.abs().max()), _TINY)
    first, copy_of = distinct_rows(torch.round(points / scale))
    if len(first) <= n_clusters:
        return [Restart(points[first], copy_of, 0.0)] * n_heads
    # Distances are |x|^2 + |c|^2 - 2 <x, c>, imprecise for points that are close together but far from the origin:
    # these are centered. On unit rows that are so close together, cosines and Euclidean distances have the same order.
    low, high = points.aminmax(dim=0)
    center = points.mean(0)
    far = bool(center.abs().max() > _FAR * (high - low).max())
    shifted = points - center if far else points
    generators = [torch_generator(seed, RESTART_STREAM, number) for number in range(n_heads)]
    own = group.share(len(points))
    with reuse_memory(points.device):
        seeds = _seeds(shifted, n_clusters, generators)
        runs = _lloyd(shifted[own.start : own.stop], seeds, max_iter, tolerance, spherical and not far, group)
    if far:
        centroids = [run.centroids + center for run in runs]
        runs = [
            run._replace(centroids=unit_length(moved) if spherical else moved)
            for run, moved in zip(runs, centroids, strict=True)
        ]
    return runs


def _seeds(points: Tensor, n_clusters: int, generators: list[torch.Generator]) -> Tensor:
    """Centroids that restarts begin with, (restarts, n_clusters, dim): points that are far from each other.

    Greedy k-means++: each seed is the best of 2 + log(n_clusters) points drawn with a probability proportional to the
    squared distance to the seeds so far. Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding",
    SODA 2007 (http://ilpubs.stanford.edu:8090/778/). All restarts draw from one random part of the points.
    """
    n_restarts, n_trials, device = len(generators), 2 + int(math.log(n_clusters)), points.device
    at_most = max(_SEEDED, _SEEDED_PER_CLUSTER * n_clusters)
    if len(points) > at_most:
        points = points[torch.randperm(len(points), generator=generators[0])[:at_most].to(device)]
    # Numbers in [0, 1), (restarts, n_clusters, n_trials), each restart's from its own stream.
    draws = [torch.rand(n_clusters, n_trials, generator=generator, dtype=torch.float64) for generator in generators]
    numbers = torch.stack(draws).to(device, torch.float32)
    squares, row = points.square().sum(1), torch.arange(n_restarts, device=device)
    chosen = torch.empty(n_restarts, n_clusters, dtype=torch.int64, device=device)
    chosen[:, 0] = (numbers[:, 0, 0] * len(points)).long().clamp_max(len(points) - 1)
    # Squared distances of all points to the nearest seed so far, (restarts, n_points).
    nearest = _squared_distances(points, squares, chosen[:, 0])
    with bar("k-means seeds", n_clusters - 1) as advance:
        for cluster in range(1, n_clusters):
            # The drawn number as a share of the sum of squared distances falls to one point, (restarts, n_trials).
            sums = nearest.cumsum(1)
            candidates = torch.searchsorted(sums, numbers[:, cluster] * sums[:, -1:]).clamp_max_(len(points) - 1)
            # Distances if the candidate became a seed, (restarts, n_trials, n_points); the smallest sum is chosen.
            distances = _squared_distances(points, squares, candidates.flatten()).view(n_restarts, n_trials, -1)
            distances = torch.minimum(distances, nearest[:, None])
            best = distances.sum(2).argmin(1)
            nearest, chosen[:, cluster] = distances[row, best], candidates[row, best]
            advance(1)
    return points[chosen]


def _squared_distances(points: Tensor, squares: Tensor, rows: Tensor) -> Tensor:
    """Squared distances of the given rows of the points to all points, (n_rows, n_points)."""
    # |x|^2 + |y|^2 - 2 <x, y>, not below 0.
    products = torch.addmm(squares[None], points[rows], points.T, alpha=-2)
    return products.add_(squares[rows, None]).clamp_min_(0)


def _lloyd(
    points: Tensor, centroids: Tensor, max_iter: int, tolerance: float, spherical: bool, group: Group
) -> list[Restart]:
    """Move the centroids (restarts, n_clusters, dim) to the means of their points, until the inertia stops falling.

    The points are those of this process; sums are over all processes of the group.
    """
    n_restarts = len(centroids)
    if spherical:
        centroids = unit_length(centroids)
    runs: list[Restart | None] = [None] * n_restarts
    active, before, step = list(range(n_restarts)), torch.full((n_restarts,), math.inf, dtype=torch.float64), 0
    squares = points.square().sum(1)
    with bar("k-means restarts", n_restarts) as advance:
        while active:
            assignments, distances = _nearest(points, squares, centroids)
            # Sum of squared distances per restart that still moves; MPS has no float64.
            inertia = group.sum(distances.cpu().double().sum(1))
            done = (before - inertia <= tolerance * before) & (step > 0) | (step >= max_iter)
            for number in done.nonzero()[:, 0].tolist():
                runs[active[number]] = _restart(points, centroids[number], assignments[number], group)
                advance(1)
            moving = (~done).nonzero()[:, 0]
            active, before = [active[number] for number in moving.tolist()], inertia[moving]
            moving = moving.to(points.device)
            centroids = _moved(points, centroids[moving], assignments[moving], distances[moving], group)
            if spherical:
                centroids = unit_length(centroids)
            step += 1
    return [run for run in runs if run is not None]


def _nearest(points: Tensor, squares: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centroid of each point, and the squared distance to it, (restarts, n_points) each, by blocks."""
    n_restarts, n_clusters, dim = centroids.shape
    # |x - c|^2 = |x|^2 - 2 (<x, c> - |c|^2 / 2): the nearest centroid has the largest <x, c> - |c|^2 / 2.
    flat = centroids.reshape(-1, dim)
    offsets = flat.square().sum(1) / -2
    assignments = torch.empty(n_restarts, len(points), dtype=torch.int64, device=points.device)
    best = torch.empty(n_restarts, len(points), device=points.device)
    n_rows = max(1, _SCORES // len(flat))
    for start in range(0, len(points), n_rows):
        block = slice(start, start + n_rows)
        # (n_rows, restarts, n_clusters): clusters last, where the largest is searched fastest.
        scores = torch.addmm(offsets, points[block], flat.T).view(-1, n_restarts, n_clusters)
        values, clusters = scores.max(2)
        best[:, block], assignments[:, block] = values.T, clusters.T
    return assignments, (squares - 2 * best).clamp_min_(0)


def _moved(points: Tensor, centroids: Tensor, assignments: Tensor, distances: Tensor, group: Group) -> Tensor:
    """Means of the points of each cluster, (restarts, n_clusters, dim).

    Clusters without points move to the points that are furthest from their centroids.
    """
    means = torch.zeros_like(centroids)
    for mean, clusters, far in zip(means, assignments, distances, strict=True):
        counts = group.sum(torch.bincount(clusters, minlength=len(mean)))
        sums = _exact_sum(mean.index_add_(0, clusters, points), group)
        torch.div(sums, counts.clamp_min(1)[:, None], out=mean)
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            # The furthest points of each process, and of these the furthest.
            furthest = far.topk(min(len(empty), len(far))).indices
            candidates, gaps = group.gather(points[furthest]), group.gather(far[furthest])
            mean[empty] = candidates[gaps.topk(len(empty)).indices]
    return means


def _exact_sum(values: Tensor, group: Group) -> Tensor:
    """Sum over processes, added in float64."""
    if group.size == 1:
        return values
    return group.sum(values.to(float64_device(values.device)).double()).float().to(values.device)


def _restart(points: Tensor, centroids: Tensor, assignments: Tensor, group: Group) -> Restart:
    """The result of a restart, its inertia from differences, which is exact also for points close to a centroid."""
    inertia = 0.0
    n_rows = max(1, _SCORES // points.shape[1])
    for rows, clusters in zip(torch.split(points, n_rows), torch.split(assignments, n_rows), strict=True):
        inertia += float((rows - centroids[clusters]).square().sum(1).cpu().double().sum())
    total = float(group.sum(torch.tensor(inertia, dtype=torch.float64)))
    return Restart(centroids.clone(), group.gather(assignments.cpu()).numpy(), total)
