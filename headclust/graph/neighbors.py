"""Nearest neighbors by exact search in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.unit_rows import HELD_AT_MOST, UnitRows
from headclust.group import Group
from headclust.progress import bar

# A block of similarities takes 16 MB. Other sizes were slower on a CPU: docs/benchmarks.md.
ROWS, COLUMNS = 512, 8_192


@dataclass(frozen=True)
class NeighborGraph:
    """Nearest neighbors of every sample, most similar first.

    Attributes:
        indices: Rows of the neighbors, int32 (n_samples, k). A sample is never its own neighbor.
        similarities: Cosine similarities, float32 (n_samples, k), each row descending.
        search: Of an approximate search, its name, recall and parameters, JSON-like; empty after exact search.
    """

    indices: Tensor
    similarities: Tensor
    search: Mapping[str, Any] = field(default_factory=dict)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The record of an approximate search, for the history of a fit."""
        return [dict(self.search)] if self.search else []

    def __repr__(self) -> str:
        n_samples, k = self.indices.shape
        return f"NeighborGraph({n_samples} samples, {k} neighbors)"


def nearest_neighbors(
    features: Tensor | Features,
    k: int,
    *,
    device: torch.device | None = None,
    blocks: range | None = None,
    rows_per_block: int = ROWS,
    columns_per_block: int = COLUMNS,
    held_at_most: int = HELD_AT_MOST,
) -> NeighborGraph:
    """Exact cosine nearest neighbors by blocked matrix products; memory stays below n_samples x n_samples.

    A zero vector has similarity 0 to everything. Ties among the k neighbors are in row order. Compared with faiss's
    flat index in benchmarks/neighbors.py.

    Args:
        features: Features, or a tensor (n_samples, feature_dim).
        k: Neighbors per sample, 1 <= k <= n_samples - 1.
        device: Where to compute; by default the CPU for features, the tensor's own device for a tensor.
        blocks: Numbers of the blocks of `rows_per_block` samples whose neighbors are searched; all by default. The
            products are the same, so the parts of a search by several processes have the bits of one search.
        rows_per_block: Samples per block whose neighbors are searched.
        columns_per_block: Candidates per block that they are compared with.
        held_at_most: Bytes of float32 rows that are held at once. More are read several times.

    Returns:
        The graph of all samples, or of those in `blocks`, on the CPU.

    Raises:
        SettingError: k is outside that range.
    """
    n_samples = len(features) if isinstance(features, Tensor) else features.n_samples
    check_k(k, n_samples)
    rows = UnitRows(features, device=device, rows_per_block=columns_per_block, held_at_most=held_at_most)
    blocks = range(-(-n_samples // rows_per_block)) if blocks is None else blocks
    # Blocks of rows that are compared with one block of candidates, before the next of these is read.
    at_once = max(1, len(blocks) if rows.is_held else held_at_most // (4 * rows.dim * rows_per_block))
    indices, similarities = [], []
    with bar("finding neighbors", len(blocks) * -(-n_samples // columns_per_block)) as advance:
        for position in range(0, len(blocks), at_once):
            part = blocks[position : position + at_once]
            numbers = np.arange(part.start * rows_per_block, min(part.stop * rows_per_block, n_samples))
            queries = rows[part.start * rows_per_block : part.stop * rows_per_block]
            scores, nearest = nearest_among(
                queries, rows, k, own=numbers, rows_per_block=rows_per_block, advance=advance
            )
            similarities.append(rows.cosines(scores))
            indices.append(nearest.int())
    empty = torch.empty(0, k)
    return NeighborGraph(torch.cat([empty.int(), *indices]), torch.cat([empty, *similarities]))


def shared_neighbors(
    features: Tensor | Features, k: int, group: Group, *, device: torch.device | None = None
) -> NeighborGraph:
    """The graph of `nearest_neighbors`, of which each process of a group searches a range of blocks: the same bits."""
    if group.size == 1:
        return nearest_neighbors(features, k, device=device)
    n_samples = len(features) if isinstance(features, Tensor) else features.n_samples
    part = nearest_neighbors(features, k, device=device, blocks=group.share(-(-n_samples // ROWS)))
    return NeighborGraph(group.gather(part.indices), group.gather(part.similarities))


def check_k(k: int, n_samples: int) -> None:
    """Raise unless samples have `k` neighbors.

    Raises:
        SettingError: k is below 1, or not below `n_samples`.
    """
    if not 1 <= k < n_samples:
        raise SettingError(f"{k} neighbors of {n_samples} samples: expected 1 to {n_samples - 1}. Lower n_neighbors.")


def nearest_among(
    queries: Tensor,
    rows: UnitRows,
    k: int,
    *,
    own: NDArray[np.int64] | None = None,
    rows_per_block: int = ROWS,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Scores, descending, and numbers of the nearest rows of queries, (n_queries, k) each, on the CPU.

    A score is the cosine, or of centered rows, minus half the squared distance: see `UnitRows.cosines`.

    Args:
        queries: Shape (n_queries, feature_dim), made with `rows.place`, or rows themselves.
        rows: The candidates.
        k: Neighbors per query, at most the number of candidates.
        own: Number of the row that each query is, which is not its own neighbor, int64 (n_queries,).
        rows_per_block: Queries per block.
        advance: Called with the number of finished blocks.
    """
    starts = range(0, len(queries), rows_per_block)
    best = [torch.empty(len(queries[start : start + rows_per_block]), 0, device=rows.device) for start in starts]
    numbers = [torch.empty(block.shape, dtype=torch.int64, device=rows.device) for block in best]
    for place, candidates in rows.blocks():
        squares = None if rows.squares is None else rows.squares[place]
        for number, start in enumerate(starts):
            block = queries[start : start + rows_per_block]
            # Cosines of unit rows, (block, candidates); of centered rows, minus half the squared distances.
            scores = block @ candidates.T
            if squares is not None:
                scores -= (block.square().sum(1) / 2)[:, None] + squares
            if own is not None:
                columns = own[start : start + rows_per_block] - place.start
                itself = np.flatnonzero((columns >= 0) & (columns < len(candidates)))
                scores[itself, columns[itself]] = -torch.inf
            rows_of_columns = torch.arange(place.start, place.stop, device=rows.device)
            best[number], numbers[number] = join(best[number], numbers[number], scores, rows_of_columns, k)
            advance(1)
    return torch.cat(best).cpu(), torch.cat(numbers).cpu()


def join(best: Tensor, numbers: Tensor, scores: Tensor, columns: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest rows so far joined with the k nearest of further candidates; the k nearest overall are among them.

    Args:
        best: Scores so far, descending, (n, at most k).
        numbers: Their row numbers.
        scores: Scores of further candidates, (n, n_candidates).
        columns: Row numbers of these, int64 (n_candidates,).
        k: Neighbors per row.
    """
    top, chosen = scores.topk(min(k, len(columns)), dim=1)
    return in_order(torch.cat((best, top), 1), torch.cat((numbers, columns[chosen]), 1), k)


def in_order(scores: Tensor, numbers: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest scores per row, descending, and their row numbers; ties come out in row order."""
    # Ascending row number first, then a stable sort by score.
    numbers, order = numbers.sort(dim=1)
    scores, order = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores[:, :k], numbers.gather(1, order)[:, :k]
