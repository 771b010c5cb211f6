"""Graph of nearest neighbors: exact search in bounded memory, and a cache beside the feature file."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from headclust.errors import SettingError
from headclust.features import Features
from headclust.features.rows import unit_length
from headclust.progress import bar

_ROWS, _COLUMNS = 2_048, 65_536  # a block of similarities is at most 512 MB
_NARROW = 2.0**-14  # variance of unit rows below which they nearly point the same way
_TEMI_WHOLE = 80_000  # samples up to which TEMI's code computes all similarities at once


@dataclass(frozen=True)
class NeighborGraph:
    """Nearest neighbors of every sample, most similar first.

    Attributes:
        indices: Rows of the neighbors, int32 (n_samples, k). A sample is never its own neighbor.
        similarities: Cosine similarities, float32 (n_samples, k), each row descending.
    """

    indices: Tensor
    similarities: Tensor

    def __repr__(self) -> str:
        n_samples, k = self.indices.shape
        return f"NeighborGraph({n_samples} samples, {k} neighbors)"


def nearest_neighbors(
    features: Tensor, k: int, *, rows_per_block: int = _ROWS, columns_per_block: int = _COLUMNS
) -> NeighborGraph:
    """Exact cosine nearest neighbors by blocked matrix products; memory stays below n_samples x n_samples.

    A zero vector has similarity 0 to everything. Ties among the k neighbors are in row order. Compared with faiss's
    flat index in benchmarks/neighbors.py.

    Args:
        features: Shape (n_samples, feature_dim), on the device to compute on.
        k: Neighbors per sample, 1 <= k <= n_samples - 1.
        rows_per_block: Samples per block whose neighbors are searched.
        columns_per_block: Candidates per block that they are compared with.

    Returns:
        The graph, on the CPU.

    Raises:
        SettingError: k is outside that range.
    """
    n_samples = len(features)
    if not 1 <= k < n_samples:
        raise SettingError(f"{k} neighbors of {n_samples} samples: expected 1 to {n_samples - 1}. Lower n_neighbors.")
    unit = unit_length(features.float())
    # Cosines of rows that nearly point the same way differ by rounding only: their distances are compared, around the
    # mean, which is the same order as |x - y|^2 = 2 - 2 <x, y>.
    center = unit.mean(0)
    squares = None
    if center.square().sum() > 1 - _NARROW and bool(unit.any(1).all()):
        unit = unit - center
        squares = unit.square().sum(1) / 2
    indices = torch.empty(n_samples, k, dtype=torch.int32)
    similarities = torch.empty(n_samples, k)
    with bar("finding neighbors", n_samples) as advance:
        for start in range(0, n_samples, rows_per_block):
            block = slice(start, min(start + rows_per_block, n_samples))
            similarities[block], indices[block] = _block_neighbors(unit, block, k, columns_per_block, squares)
            advance(block.stop - block.start)
    return NeighborGraph(indices, similarities if squares is None else 1 + similarities)


def _block_neighbors(
    unit: Tensor, block: slice, k: int, columns_per_block: int, squares: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Similarities and row numbers of the k nearest neighbors of the rows in `block`, (block, k) each.

    With `squares`, half the squared lengths of centered rows, similarities are minus half the squared distance.
    """
    best = torch.empty(block.stop - block.start, 0, device=unit.device)
    numbers = torch.empty(best.shape, dtype=torch.int64, device=unit.device)
    for left in range(0, len(unit), columns_per_block):
        right = min(left + columns_per_block, len(unit))
        # Cosines of unit rows, (block, columns).
        similarities = unit[block] @ unit[left:right].T
        if squares is not None:
            similarities -= squares[block, None] + squares[left:right]
        # Samples that are both a row and a column of this block: a sample is not its own neighbor.
        if (first := max(left, block.start)) < (end := min(right, block.stop)):
            own = torch.arange(first, end, device=unit.device)
            similarities[own - block.start, own - left] = -torch.inf
        # The k nearest of these columns, joined with the k nearest so far; the k nearest overall are among them.
        top, columns = similarities.topk(min(k, right - left), dim=1)
        best, numbers = torch.cat((best, top), 1), torch.cat((numbers, columns + left), 1)
        # Ascending row number first, then a stable sort by similarity: ties come out in row order.
        numbers, order = numbers.sort(dim=1)
        best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
        best, numbers = best[:, :k], numbers.gather(1, order)[:, :k]
    return best, numbers


def cached_neighbors(features: Features, k: int, *, device: torch.device | None = None) -> NeighborGraph:
    """The graph of a feature file, computed once and cached in `.headclust/` beside the file.

    The name of the cached file holds the features' sha256, the metric and k. A cached graph that cannot be read is
    computed again; a folder that cannot be written to is not an error, only no graph is cached.

    Args:
        features: The samples.
        k: Neighbors per sample.
        device: Where to compute; the CPU by default.
    """
    path = _cache_path(features, k)
    if path is None:
        return nearest_neighbors(features.all().to(device or "cpu"), k)
    cached = _read(path, (features.n_samples, k))
    if cached is not None:
        return cached
    graph = nearest_neighbors(features.all().to(device or "cpu"), k)
    _write(path, graph)
    return graph


def is_cached(features: Features, k: int) -> bool:
    """True if a graph is cached beside the feature file; its content is not read."""
    path = _cache_path(features, k)
    return path is not None and path.is_file()


def neighbor_list(features: Features, k: int, kind: str, *, device: torch.device | None = None) -> Tensor:
    """Rows that a sample's partner is drawn from, (n_samples, k) or (n_samples, k + 1).

    Args:
        features: The samples.
        k: Neighbors per sample.
        kind: "others": its k nearest neighbors. "with-self": itself first, then those, as in SCAN
            (https://github.com/wvangansbeke/Unsupervised-Classification). "temi-paper": as TEMI's code computes it
            (https://github.com/HHU-MMBS/TEMI-official-BMVC2023, gen_embeds.py): the same as "others" up to 80,000
            samples; above, an error of that code puts the sample itself first and leaves out another one.
        device: Where to search; the CPU by default.
    """
    indices = cached_neighbors(features, k, device=device).indices
    if kind == "with-self":
        return torch.cat((torch.arange(len(indices), dtype=indices.dtype)[:, None], indices), 1)
    return self_neighbors(indices) if kind == "temi-paper" and len(indices) > _TEMI_WHOLE else indices


def self_neighbors(indices: Tensor, *, chunk: int = 64) -> Tensor:
    """Neighbor lists as TEMI's code computes them above 80,000 samples, from correct lists (n_samples, k).

    It processes the samples in chunks of 64 rows and masks column i of row i of each chunk, which is the sample itself
    in the first chunk only: any later sample is its own first neighbor, and never has sample i as a neighbor.
    """
    n_samples, k = indices.shape
    rows = torch.arange(n_samples, dtype=indices.dtype)[:, None]
    # The masked neighbor of row r is sample r mod chunk. A stable sort by "masked" moves it to the end of its list
    # and keeps the order of the others; the first k - 1 of them follow the sample itself.
    masked = indices == rows % chunk
    order = masked.int().argsort(dim=1, stable=True)[:, : k - 1]
    return torch.where(rows < chunk, indices, torch.cat((rows, indices.gather(1, order)), 1))


def _cache_path(features: Features, k: int) -> Path | None:
    # Never a wider graph cut to k: among ties at rank k, the result would depend on which graphs were cached before.
    name = f"{features.sha256}-cosine-{k}.safetensors"
    return features.path.parent / ".headclust" / name if features.path else None


def _read(path: Path, shape: tuple[int, int]) -> NeighborGraph | None:
    try:
        with safe_open(path, "pt") as file:
            graph = NeighborGraph(file.get_tensor("indices"), file.get_tensor("similarities"))
            if file.metadata().get("sha256") != _digest(graph):
                return None
    except (OSError, SafetensorError, AttributeError):
        return None
    return graph if graph.indices.shape == graph.similarities.shape == shape else None


def _write(path: Path, graph: NeighborGraph) -> None:
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        tensors = {"indices": graph.indices.contiguous(), "similarities": graph.similarities.contiguous()}
        save_file(tensors, tmp, metadata={"sha256": _digest(graph)})
        tmp.replace(path)
    except (OSError, SafetensorError):
        with suppress(OSError):  # a read-only disk refuses this too
            tmp.unlink(missing_ok=True)


def _digest(graph: NeighborGraph) -> str:
    digest = hashlib.sha256(graph.indices.contiguous().numpy().tobytes())
    digest.update(graph.similarities.contiguous().numpy().tobytes())
    return digest.hexdigest()
