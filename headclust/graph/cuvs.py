"""Approximate search on a CUDA device, by nearest-neighbor descent of cuVS, if that is installed. Untested on a GPU."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import HeadclustError, SettingError, one_line
from headclust.graph.neighbors import in_order
from headclust.graph.unit_rows import UnitRows

_DEGREE = 64  # least number of neighbors per row in the graph that is built
_BLOCK = 1 << 26  # numbers that are gathered at once for exact similarities: 256 MB


def check_cuvs(device: torch.device) -> None:
    """Raise unless cuVS can be used on the device.

    Raises:
        SettingError: The device is not CUDA, or cuVS is not installed.
    """
    if device.type != "cuda":
        raise SettingError(f"neighbor_search=cuvs needs a CUDA device, this one is {device.type}: use ivf or exact.")
    if importlib.util.find_spec("cuvs") is None:
        raise SettingError("neighbor_search=cuvs needs cuvs, which is not installed: install it, or use ivf or exact.")


def search_cuvs(
    rows: UnitRows, k: int, sample: NDArray[np.int64], exact: NDArray[np.int64]
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Scores, descending, and numbers of neighbors of all rows, by `cuvs.neighbors.all_neighbors`; see `search_ivf`.

    Rows and neighbors are held on the device. cuVS compares squared distances, on unit rows the order of cosines,
    because a review found that it merges lists of negative inner products wrongly; the scores are computed again, as it
    may compute in half precision. Its interface: https://docs.nvidia.com/cuvs/api-reference. `sample` is not used.

    Raises:
        HeadclustError: cuVS raises an error.
    """
    from cuvs.neighbors import all_neighbors, nn_descent

    degree = max(_DEGREE, k + 1)
    stored = rows[:]
    # One more, as a row may be among its own neighbors.
    neighbors = torch.empty(len(rows), min(k + 1, len(rows)), dtype=torch.int64, device=rows.device)
    try:
        descent = nn_descent.IndexParams(
            metric="sqeuclidean", graph_degree=degree, intermediate_graph_degree=2 * degree
        )
        settings = all_neighbors.AllNeighborsParams(
            algo="nn_descent", n_clusters=1, metric="sqeuclidean", nn_descent_params=descent
        )
        all_neighbors.build(stored, neighbors.shape[1], settings, indices=neighbors)
    except Exception as error:  # its errors are of types of its own
        raise HeadclustError(f"cuvs failed ({one_line(error)}): set neighbor_search to ivf or exact.") from error
    n_rows = max(1, _BLOCK // (neighbors.shape[1] * rows.dim))
    blocks = [torch.arange(start, min(start + n_rows, len(rows))) for start in range(0, len(rows), n_rows)]
    pairs = [_scored(rows, stored, block.to(rows.device), neighbors[block.to(rows.device)], k) for block in blocks]
    scores, numbers = (torch.cat(part) for part in zip(*pairs, strict=True))
    return scores, numbers.int(), {"graph_degree": degree}


def _scored(rows: UnitRows, stored: Tensor, queries: Tensor, neighbors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores of the neighbors of rows, by products or differences, and their numbers, in order, on the CPU.

    The score is -inf for what is no row, the query itself, and a row that is there twice.
    """
    neighbors = neighbors.sort(dim=1).values
    valid = (neighbors >= 0) & (neighbors < len(rows)) & (neighbors != queries[:, None])
    valid[:, 1:] &= neighbors[:, 1:] != neighbors[:, :-1]
    others = stored[neighbors.clamp(0, len(rows) - 1)]
    if rows.center is None:
        scores = torch.einsum("qd,qkd->qk", stored[queries], others)
    else:
        scores = (others - stored[queries, None]).square().sum(2) / -2
    scores, neighbors = in_order(torch.where(valid, scores, -torch.inf), neighbors, k)
    return scores.cpu(), neighbors.cpu()
