"""One door to neighbor searches: exact, or an approximate one whose recall is measured, printed and recorded."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.cuvs import check_cuvs, search_cuvs
from headclust.graph.ivf import search_ivf
from headclust.graph.neighbors import COLUMNS, NeighborGraph, check_k, nearest_among, nearest_neighbors
from headclust.graph.unit_rows import UnitRows
from headclust.progress import note, percent

# Samples up to which "auto" searches exactly. Above, exact search takes hours on a CPU, and ivf a sixth of the time or
# less (docs/benchmarks.md); on an accelerator the limit is an estimate.
_EXACT_ON_CPU, _EXACT_ON_ACCELERATOR = 300_000, 3_000_000
_CHECKED = 1_000  # rows that are searched exactly, to measure recall
_AS_NEAR = 1e-6  # rounding of scores, as a share of the largest: what is so near to the k-th is as good as it
_WORST = 0.8  # recall below which a search is refused
_ENGINES = {"ivf": search_ivf, "cuvs": search_cuvs}


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
    returns, of 1,000 random samples that are searched exactly too. Samples for which it returns fewer are searched
    exactly.

    Args:
        features: Features, or a tensor (n_samples, feature_dim).
        k: Neighbors per sample, 1 <= k <= n_samples - 1.
        search: A name in `choices.NeighborSearch`.
        device: Where to compute; by default the CPU for features, the tensor's own device for a tensor.

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
    # The lists hold the rows themselves, so for them they are read in blocks.
    rows = UnitRows(features, device=device, rows_per_block=COLUMNS, held_at_most=1 << 63 if name == "cuvs" else 0)
    sample = np.sort(np.random.default_rng(1).choice(n_samples, min(n_samples, _CHECKED), replace=False))
    exact_scores, exact = nearest_among(rows.take(sample), rows, k, own=sample)
    scores, neighbors, parameters = _ENGINES[name](rows, k, sample, exact.numpy())
    # The k-th largest exact score per row; of equal scores any is as near.
    reached = scores[sample] >= exact_scores[:, -1:] - _AS_NEAR * exact_scores.abs().max()
    recall = float(reached.float().mean())
    if recall < _WORST:
        raise SettingError(
            f"{name} returns {percent(recall)} of the {k} nearest neighbors of {len(sample):,} samples: expected "
            f"{percent(_WORST)} or more. Set neighbor_search to exact or ivf."
        )
    short = np.flatnonzero(torch.isneginf(scores[:, -1]).numpy())
    for start in range(0, len(short), COLUMNS):
        numbers = short[start : start + COLUMNS]
        scores[numbers], exact = nearest_among(rows.take(numbers), rows, k, own=numbers)
        neighbors[numbers] = exact.int()
    record = {"neighbor_search": name, "n_neighbors": k, "recall": round(recall, 4), **parameters}
    return NeighborGraph(neighbors, rows.cosines(scores), {**record, "searched_exactly": len(short)})


def note_search(graph: NeighborGraph) -> None:
    """Print a line if the neighbors are approximate, with their recall."""
    if graph.search:
        record = graph.search
        note(
            f"neighbors are approximate ({record['neighbor_search']}): recall@{record['n_neighbors']} is "
            f"{percent(record['recall'])}, of {min(_CHECKED, len(graph.indices)):,} samples searched exactly too. "
            "For all exact ones: --set neighbor_search=exact."
        )
