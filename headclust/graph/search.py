"""One door to neighbor searches: exact, or an approximate one whose recall is measured, printed and recorded."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.cuvs import Cuvs, check_cuvs
from headclust.graph.ivf import Ivf
from headclust.graph.neighbors import COLUMNS, NeighborGraph, check_k, in_order, nearest_among, nearest_neighbors
from headclust.graph.unit_rows import UnitRows
from headclust.progress import bar, note, percent

# Samples up to which "auto" searches exactly. Above, exact search takes hours on a CPU, and ivf a sixth of the time or
# less (docs/benchmarks.md); on an accelerator the limit is an estimate.
_EXACT_ON_CPU, _EXACT_ON_ACCELERATOR = 300_000, 3_000_000
_CHECKED = 1_000  # rows that are searched exactly, to measure recall
_AS_NEAR = 1e-6  # rounding of scores, as a share of the largest: what is so near to the k-th is as good as it
_GOOD, _WORST = 0.98, 0.8  # recall up to which more is searched, if possible; recall below which a search is refused


def resolve(search: str, n_samples: int, device: torch.device) -> str:
    """The search that a name stands for: for "auto" exact, ivf or cuvs, by the number of samples and the device.

    Raises:
        SettingError: It is cuvs, which is not installed, or the device is not CUDA.
    """
    if search == "auto":
        if n_samples <= (_EXACT_ON_CPU if device.type == "cpu" else _EXACT_ON_ACCELERATOR):
            return "exact"
        return "cuvs" if device.type == "cuda" and importlib.util.find_spec("cuvs") else "ivf"
    if search == "cuvs":
        check_cuvs(device)
    return search


def search_neighbors(
    features: Tensor | Features, k: int, search: str = "auto", *, device: torch.device | None = None
) -> NeighborGraph:
    """The nearest neighbors of every sample, by exact or approximate search.

    The graph of an approximate one holds its recall@k in `search`: the share of the k nearest neighbors that it
    returns, of 1,000 random samples that are searched exactly too. Inverted lists are searched until it is 98 %.
    Samples with fewer than k neighbors in the lists searched are searched exactly.

    Args:
        features: Features, or a tensor (n_samples, feature_dim).
        k: Neighbors per sample, 1 <= k <= n_samples - 1.
        search: A name in `choices.NeighborSearch`.
        device: Where to compute; by default the CPU for features, the tensor's own device for a tensor. ivf computes
            on the CPU.

    Raises:
        SettingError: k is outside that range, the rows do not fit into memory, cuvs cannot be used, or the recall is
            below 80 %.
    """
    n_samples = len(features) if isinstance(features, Tensor) else features.n_samples
    check_k(k, n_samples)
    device = device or (features.device if isinstance(features, Tensor) else torch.device("cpu"))
    name = resolve(search, n_samples, device)
    if name == "exact":
        return nearest_neighbors(features, k, device=device)
    # faiss holds the rows itself, so for it they are read in blocks.
    held_at_most, device = (1 << 63, device) if name == "cuvs" else (0, torch.device("cpu"))
    rows = UnitRows(features, device=device, rows_per_block=COLUMNS, held_at_most=held_at_most)
    index = (Cuvs if name == "cuvs" else Ivf)(rows, k + 1)
    recall = _tuned(index, rows, k)
    if recall < _WORST:
        raise SettingError(
            f"{name} returns {percent(recall)} of the {k} nearest neighbors of {_CHECKED:,} samples: expected "
            f"{percent(_WORST)} or more. Set neighbor_search to exact or ivf."
        )
    graph, n_exact = _all_neighbors(index, rows, k)
    record = {"neighbor_search": name, "n_neighbors": k, "recall": round(recall, 4), **index.parameters}
    return NeighborGraph(graph.indices, graph.similarities, {**record, "searched_exactly": n_exact})


def note_search(graph: NeighborGraph) -> None:
    """Print a line if the neighbors are approximate, with their recall."""
    if graph.search:
        record = graph.search
        note(
            f"neighbors are approximate ({record['neighbor_search']}): recall@{record['n_neighbors']} is "
            f"{percent(record['recall'])}, of {_CHECKED:,} samples searched exactly too. For all exact ones: "
            "--set neighbor_search=exact."
        )


def _tuned(index: Ivf | Cuvs, rows: UnitRows, k: int) -> float:
    """Recall on a random sample, after the index searches as much as is needed for a good one, if it can."""
    numbers = np.sort(np.random.default_rng(1).choice(len(rows), min(len(rows), _CHECKED), replace=False))
    queries = rows.take(numbers)
    exact, _ = nearest_among(queries, rows, k, own=numbers)
    while True:
        scores, _ = _nearest(index, queries, numbers, k)
        # The k-th largest exact score per row; of equal scores any is as near.
        reached = scores >= exact[:, -1:] - _AS_NEAR * exact.abs().max()
        recall = float(reached.float().mean())
        if recall >= _GOOD or not index.widen():
            return recall


def _nearest(index: Ivf | Cuvs, queries: Tensor, numbers: NDArray[np.int64], k: int) -> tuple[Tensor, Tensor]:
    """Scores, descending, and rows of the k nearest neighbors that the index has, (n_queries, k) each.

    The score is -inf where it has fewer: what is missing, the query itself, or a row that it has twice.
    """
    scores, neighbors = index.candidates(queries, numbers)
    neighbors, order = neighbors.sort(dim=1)
    scores = scores.gather(1, order)
    scores[(neighbors < 0) | (neighbors == torch.from_numpy(numbers)[:, None])] = -torch.inf
    scores[:, 1:][neighbors[:, 1:] == neighbors[:, :-1]] = -torch.inf
    return in_order(scores, neighbors, k)


def _all_neighbors(index: Ivf | Cuvs, rows: UnitRows, k: int) -> tuple[NeighborGraph, int]:
    """The neighbors of all rows by the index, and the number of rows that are searched exactly instead."""
    scores = torch.empty(len(rows), k)
    neighbors = torch.empty(len(rows), k, dtype=torch.int32)
    with bar("finding neighbors", len(rows)) as advance:
        for place, queries in rows.blocks():
            scores[place], neighbors[place] = _nearest(index, queries, np.arange(place.start, place.stop), k)
            advance(len(queries))
    short = np.flatnonzero(torch.isneginf(scores[:, -1]).numpy())
    for start in range(0, len(short), COLUMNS):
        numbers = short[start : start + COLUMNS]
        scores[numbers], exact = nearest_among(rows.take(numbers), rows, k, own=numbers)
        neighbors[numbers] = exact.int()
    return NeighborGraph(neighbors, rows.cosines(scores)), len(short)
