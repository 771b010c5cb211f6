"""UMAP: positions in few dimensions that keep the neighbors of a graph together, by umap-learn.

Paper: McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction", 2018
(https://arxiv.org/abs/1802.03426). Authors' code, which is used: https://github.com/lmcinnes/umap.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from headclust.graph.neighbors import NeighborGraph
from headclust.progress import bar

_EPOCHS = 200
_EXTENT = 10  # largest coordinate of the start, as umap-learn scales its own


def has_umap() -> bool:
    """True if UMAP is installed."""
    from importlib.util import find_spec

    return find_spec("umap") is not None


def umap_positions(
    graph: NeighborGraph, start: NDArray[np.float32], *, min_dist: float = 0.1, seed: int = 0
) -> NDArray[np.float32] | None:
    """Positions of samples, float32 (n_samples, dimensions); the same seed and start give the same ones.

    Args:
        graph: Their neighbors; 1 - cosine similarity is the distance.
        start: First positions, (n_samples, dimensions); not all the same.
        min_dist: Distance of samples that lie on each other in the graph, in [0, 1]; 0 packs groups most densely.
        seed: Of the samples that repel each other, in [0, 2^32).

    Returns:
        The positions, or None if they are not finite.
    """
    neighbors = graph.indices.numpy()
    # umap-learn lists each sample first among its own neighbors, at distance 0: both (n_samples, 1 + k).
    indices = np.column_stack((np.arange(len(neighbors)), neighbors)).astype(np.int32)
    distances = np.zeros(indices.shape, np.float32)
    distances[:, 1:] = np.maximum(1 - graph.similarities.numpy(), 0)
    # umap-learn divides by the range of each coordinate: those without one are left out, and zero in the result.
    varies = np.ptp(start, axis=0) > 0
    # From numba, and about settings that only affect speed, and new samples, which are never transformed.
    with warnings.catch_warnings(action="ignore"), _same_threads(), bar("UMAP", _EPOCHS) as advance:
        from umap import UMAP

        umap = UMAP(
            n_neighbors=indices.shape[1],
            n_components=int(varies.sum()),
            precomputed_knn=(indices, distances),
            min_dist=min_dist,
            n_epochs=_EPOCHS,
            init=start[:, varies] * (_EXTENT / float(np.abs(start).max())),
            random_state=seed,
            n_jobs=1,  # the order of threads would change the result
            tqdm_kwds={"file": _Epochs(advance), "bar_format": "{n}", "disable": None},
        )
        positions = np.zeros(start.shape, np.float32)
        positions[:, varies] = umap.fit_transform(start)
    return positions if np.isfinite(positions).all() else None


@contextmanager
def _same_threads() -> Iterator[None]:
    """A context after which PyTorch has its number of threads again: numba sets that of OpenMP, which they share."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Epochs:
    """A stream on which tqdm writes numbers of epochs, for a progress bar."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance, self.finished = advance, 0

    def isatty(self) -> bool:
        """True if stderr is a terminal; tqdm writes nothing otherwise."""
        return sys.stderr is not None and sys.stderr.isatty()

    def write(self, text: str) -> None:
        """Advance the bar to the epoch in the text, if there is one."""
        if (number := text.strip()).isdigit():
            self.advance(int(number) - self.finished)
            self.finished = int(number)

    def flush(self) -> None:
        """Do nothing."""
