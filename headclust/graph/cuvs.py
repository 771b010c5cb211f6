"""Approximate search on a CUDA device, by nearest-neighbor descent of cuVS, if that is installed. Untested on a GPU."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import HeadclustError, SettingError, one_line
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


class Cuvs:
    """The neighbors of all rows by `cuvs.neighbors.all_neighbors`; https://docs.nvidia.com/cuvs/api-reference.

    Rows and neighbors are held on the device. cuVS compares squared distances, on unit rows the order of cosines,
    because a review found that it merges lists of negative inner products wrongly; their similarities are computed
    again, as it may compute in half precision.

    Args:
        rows: The rows, held on a CUDA device.
        k: Neighbors per row, the row itself included.

    Raises:
        HeadclustError: cuVS raises an error.
    """

    def __init__(self, rows: UnitRows, k: int) -> None:
        from cuvs.neighbors import all_neighbors, nn_descent

        degree = max(_DEGREE, k)
        self.parameters: dict[str, Any] = {"graph_degree": degree}
        self._rows = rows
        self._numbers = torch.empty(len(rows), k, dtype=torch.int64, device=rows.device)
        try:
            descent = nn_descent.IndexParams(
                metric="sqeuclidean", graph_degree=degree, intermediate_graph_degree=2 * degree
            )
            settings = all_neighbors.AllNeighborsParams(
                algo="nn_descent", n_clusters=1, metric="sqeuclidean", nn_descent_params=descent
            )
            all_neighbors.build(rows[:], k, settings, indices=self._numbers)
        except Exception as error:
            raise HeadclustError(f"cuvs failed ({one_line(error)}): set neighbor_search to ivf or exact.") from error

    def candidates(self, queries: Tensor, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Scores and rows of the neighbors of rows (n_queries, feature_dim) of these numbers; -1 where it has none."""
        neighbors = self._numbers[torch.from_numpy(numbers).to(self._rows.device)]
        neighbors = torch.where((neighbors >= 0) & (neighbors < len(self._rows)), neighbors, -1)
        n_queries = max(1, _BLOCK // (neighbors.shape[1] * self._rows.dim))
        pairs = zip(torch.split(queries, n_queries), torch.split(neighbors, n_queries), strict=True)
        return torch.cat([self._scores(*pair) for pair in pairs]).cpu(), neighbors.cpu()

    def _scores(self, queries: Tensor, neighbors: Tensor) -> Tensor:
        """Scores as in `nearest_among`, (n_queries, k), by differences or products of all pairs."""
        rows = self._rows[:][neighbors.clamp_min(0)]
        if self._rows.center is None:
            return torch.einsum("qd,qkd->qk", queries, rows)
        return (rows - queries[:, None]).square().sum(2) / -2

    def widen(self) -> bool:
        """False: the neighbors are final."""
        return False
