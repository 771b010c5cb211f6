"""Approximate search on a CPU: faiss's inverted lists, of which those nearest to a query are searched."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.device import available_memory
from headclust.errors import SettingError
from headclust.graph.unit_rows import UnitRows

_PROBED = 8  # lists that are searched per query at first
_TRAINING = 64  # rows per list that the lists are fitted to; faiss warns below 39
_FEWEST = 39
_ITERATIONS = 10


class Ivf:
    """An index of all rows in lists by nearest centroid; it holds the rows in float32.

    With n rows in L lists, of which p are searched, a query is compared with L centroids and p n / L rows. The sum is
    least for L = sqrt(p n). At p = 16, which 100,000 rows needed for a recall of 98 %, these are 4 sqrt(n) lists.

    Args:
        rows: The rows, on the CPU.
        k: Neighbors per row, the row itself included.

    Raises:
        SettingError: The rows do not fit into memory.
    """

    def __init__(self, rows: UnitRows, k: int) -> None:
        import faiss

        n_rows, dim = len(rows), rows.dim
        needed, free = n_rows * (4 * dim + 8), available_memory()
        if needed > free:
            raise SettingError(
                f"an index of {n_rows:,} x {dim} features takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: "
                "search exactly (neighbor_search=exact), which reads the features in blocks, or fit fewer samples."
            )
        # Products of unit rows; squared distances of rows that nearly point the same way and are centered.
        self._inner = rows.center is None
        n_lists = max(1, min(round(4 * math.sqrt(n_rows)), n_rows // _FEWEST))
        quantizer = faiss.IndexFlatIP(dim) if self._inner else faiss.IndexFlatL2(dim)
        metric = faiss.METRIC_INNER_PRODUCT if self._inner else faiss.METRIC_L2
        self._k, self._index = k, faiss.IndexIVFFlat(quantizer, dim, n_lists, metric)
        self._index.cp.spherical = self._inner
        self._index.cp.niter, self._index.cp.min_points_per_centroid = _ITERATIONS, 1  # no warning on tiny data
        self._index.cp.max_points_per_centroid = _TRAINING
        drawn = np.random.default_rng(0).choice(n_rows, min(n_rows, _TRAINING * n_lists), replace=False)
        self._index.train(rows.take(np.sort(drawn)).numpy())
        for _, block in rows.blocks():
            self._index.add(block.numpy())
        self._index.nprobe = min(_PROBED, n_lists)

    def candidates(self, queries: Tensor, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Scores and rows of the neighbors of rows (n_queries, feature_dim) in the searched lists; -1 where missing."""
        values, neighbors = self._index.search(queries.numpy(), self._k)
        scores = torch.from_numpy(values)
        return scores if self._inner else scores / -2, torch.from_numpy(neighbors)

    def widen(self) -> bool:
        """Search half as many lists more per query from now on; False if all are searched."""
        before = self._index.nprobe
        self._index.nprobe = min(before + -(-before // 2), self._index.nlist)
        return bool(self._index.nprobe > before)

    @property
    def parameters(self) -> dict[str, Any]:
        """The number of lists, and of those that are searched per query."""
        return {"lists": int(self._index.nlist), "searched_lists": int(self._index.nprobe)}
