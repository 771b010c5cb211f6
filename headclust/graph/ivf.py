"""Approximate search in inverted lists: the rows of a list are compared with those of the lists nearest to it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.device import available_memory
from headclust.errors import SettingError
from headclust.graph.neighbors import COLUMNS, ROWS, join
from headclust.graph.unit_rows import UnitRows
from headclust.progress import bar

_TRAINING, _FEWEST = 64, 39  # rows per list that the centroids are fitted to, and least rows: faiss warns below 39
_ITERATIONS = 10
_RECALL = 0.98  # share of neighbors that are in the lists searched


def search_ivf(
    rows: UnitRows, k: int, sample: NDArray[np.int64], exact: NDArray[np.int64]
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Scores, descending, and numbers of neighbors of all rows, (n, k) each, and the parameters of the search.

    With n rows there are sqrt(n) lists of sqrt(n) rows, by k-means. So many lists, those nearest to the own one, are
    searched that they hold 98 % of the exact neighbors of a sample. Whole lists are multiplied: on a CPU this took a
    third of the time of faiss's IndexIVFFlat, which scans them per query (docs/benchmarks.md). A score is -inf where
    the lists hold fewer than k other rows.

    Args:
        rows: The rows. One copy of them is held, ordered by list.
        k: Neighbors per row.
        sample: Numbers of some rows, int64 (n_sample,).
        exact: Their exact neighbors, int64 (n_sample, k).

    Raises:
        SettingError: The rows do not fit into memory.
    """
    n_rows, needed, free = len(rows), len(rows) * (4 * rows.dim + 16), available_memory()
    if rows.device.type == "cpu" and needed > free:
        raise SettingError(
            f"the lists of {n_rows:,} x {rows.dim} features take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: "
            "search exactly (neighbor_search=exact), which reads the features in blocks, or fit fewer samples."
        )
    centroids = _centroids(rows)
    lists = torch.cat([_nearness(block, centroids).argmax(1).cpu() for _, block in rows.blocks()])
    # Lists by nearness to each list, itself first, (n_lists, n_lists).
    nearness = _nearness(centroids, centroids).fill_diagonal_(torch.inf)
    nearest = nearness.argsort(dim=1, descending=True, stable=True).cpu()
    # Rank of a neighbor's list from the list of its row, (n_sample, k): it is searched if the rank is below n_searched.
    ranks = nearest.argsort(dim=1)[lists[sample][:, None], lists[exact]].flatten().sort().values
    n_searched = int(ranks[math.ceil(_RECALL * len(ranks)) - 1]) + 1
    scores, neighbors = _search_lists(rows, k, lists, nearest[:, :n_searched])
    return scores, neighbors, {"lists": len(centroids), "searched_lists": n_searched}


def _centroids(rows: UnitRows) -> Tensor:
    """Centroids of the lists, (n_lists, dim), by k-means of random rows."""
    import faiss

    n_lists = max(1, min(round(math.sqrt(len(rows))), len(rows) // _FEWEST))
    drawn = np.random.default_rng(0).choice(len(rows), min(len(rows), _TRAINING * n_lists), replace=False)
    lloyd = faiss.Kmeans(
        rows.dim,
        n_lists,
        niter=_ITERATIONS,
        spherical=rows.center is None,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINING,
        seed=0,
    )
    lloyd.train(rows.take(np.sort(drawn)).cpu().numpy())
    return torch.from_numpy(lloyd.centroids).to(rows.device)


def _nearness(rows: Tensor, centroids: Tensor) -> Tensor:
    """Minus half the squared distance to each centroid, up to a term per row, (n, n_lists)."""
    return rows @ centroids.T - centroids.square().sum(1) / 2


def _search_lists(rows: UnitRows, k: int, lists: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and neighbors of all rows, (n, k) each, on the CPU.

    Args:
        rows: The rows.
        k: Neighbors per row.
        lists: List of each row, (n,).
        nearest: Lists to search per list, itself first, (n_lists, n_searched).
    """
    # Rows ordered by list, and the places of each list among them.
    order = lists.argsort(stable=True)
    place = order.argsort()
    stored = torch.empty(len(rows), rows.dim, device=rows.device)
    for block, values in rows.blocks():
        stored[place[block].to(rows.device)] = values
    order = order.to(rows.device)
    ends = torch.bincount(lists, minlength=len(nearest)).cumsum(0).tolist()
    spans = [torch.arange(start, end, device=rows.device) for start, end in zip([0, *ends], ends, strict=False)]
    scores, neighbors = torch.full((len(rows), k), -torch.inf), torch.full((len(rows), k), -1, dtype=torch.int32)
    with bar("finding neighbors", len(rows)) as advance:
        for own, others in zip(spans, nearest.tolist(), strict=True):
            # The own rows come first among the candidates.
            candidates = torch.cat([spans[other] for other in others])
            for first in range(0, len(own), ROWS):
                queries = own[first : first + ROWS]
                best, numbers = _search_block(rows, stored, order, queries, first, candidates, k)
                scores[order[queries].cpu(), : best.shape[1]] = best.cpu()
                neighbors[order[queries].cpu(), : best.shape[1]] = numbers.int().cpu()
                advance(len(queries))
    return scores, neighbors


def _search_block(
    rows: UnitRows, stored: Tensor, order: Tensor, queries: Tensor, first: int, candidates: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Scores and row numbers of the nearest of the candidates, (n_queries, at most k), -inf for a query itself.

    Args:
        rows: The rows.
        stored: The same in the order of their lists, (n, dim).
        order: Row numbers in that order, (n,).
        queries: Places of the queries in that order; query i is candidate `first` + i.
        first: See there.
        candidates: Places of the candidates.
        k: Neighbors per query.
    """
    best = torch.empty(len(queries), 0, device=stored.device)
    numbers = torch.empty(best.shape, dtype=torch.int64, device=stored.device)
    for left in range(0, len(candidates), COLUMNS):
        chunk = candidates[left : left + COLUMNS]
        scores = stored[queries] @ stored[chunk].T
        if rows.squares is not None:
            scores -= rows.squares[order[queries], None] + rows.squares[order[chunk]]
        own = range(max(0, left - first), min(len(queries), left + len(chunk) - first))
        if own:
            itself = torch.arange(own.start, own.stop, device=stored.device)
            scores[itself, itself + first - left] = -torch.inf
        best, numbers = join(best, numbers, scores, order[chunk], k)
    return best, numbers
