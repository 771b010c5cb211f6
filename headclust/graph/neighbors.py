"""The graph of nearest neighbors: exact, without the sample itself, in bounded memory."""

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
from headclust.progress import bar

NEIGHBOR_LISTS = ("others", "with-self", "temi-paper")
_ROWS, _COLUMNS = 2_048, 65_536  # a block of similarities is at most 512 MB
_TEMI_WHOLE = 80_000  # samples up to which TEMI's code takes all similarities at once


@dataclass(frozen=True)
class NeighborGraph:
    """Nearest neighbors of every sample, most similar first.

    Attributes:
        indices: Rows of the neighbors, int32 (n_samples, k). A sample is never its own neighbor.
        similarities: Cosine similarities, float32 (n_samples, k), each row descending.
    """

    indices: Tensor
    similarities: Tensor


def nearest_neighbors(
    features: Tensor, k: int, *, rows_per_block: int = _ROWS, columns_per_block: int = _COLUMNS
) -> NeighborGraph:
    """Exact cosine nearest neighbors by blocked matrix products, never holding n_samples x n_samples.

    A zero vector has similarity 0 to everything. Equal similarities are ordered by row number within the candidates
    kept. Measured against faiss's flat index in benchmarks/neighbors.py.

    Args:
        features: Shape (n_samples, feature_dim), on the device to compute on.
        k: Neighbors a sample, 1 <= k <= n_samples - 1.
        rows_per_block: Samples whose neighbors are found at a time.
        columns_per_block: Candidates they are compared with at a time.

    Returns:
        The graph, on the CPU.

    Raises:
        SettingError: k is not in that range.
    """
    n_samples = len(features)
    if not 1 <= k < n_samples:
        raise SettingError(
            f"{k} neighbors asked of {n_samples} samples: wanted 1 to {n_samples - 1}. Lower n_neighbors."
        )
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    indices = torch.empty(n_samples, k, dtype=torch.int32)
    similarities = torch.empty(n_samples, k)
    with bar("finding neighbors", n_samples) as advance:
        for start in range(0, n_samples, rows_per_block):
            block = slice(start, min(start + rows_per_block, n_samples))
            similarities[block], indices[block] = _block_neighbors(unit, block, k, columns_per_block)
            advance(block.stop - block.start)
    return NeighborGraph(indices, similarities)


def _block_neighbors(unit: Tensor, block: slice, k: int, columns_per_block: int) -> tuple[Tensor, Tensor]:
    best = torch.empty(block.stop - block.start, 0, device=unit.device)
    names = torch.empty(best.shape, dtype=torch.int64, device=unit.device)
    for left in range(0, len(unit), columns_per_block):
        right = min(left + columns_per_block, len(unit))
        sims = unit[block] @ unit[left:right].T
        if (first := max(left, block.start)) < (end := min(right, block.stop)):
            own = torch.arange(first, end, device=unit.device)
            sims[own - block.start, own - left] = -torch.inf
        top, columns = sims.topk(min(k, right - left), dim=1)
        best, names = torch.cat((best, top), 1), torch.cat((names, columns + left), 1)
        # Ascending row number first, then a stable sort by similarity: ties come out in row order.
        names, order = names.sort(dim=1)
        best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
        best, names = best[:, :k], names.gather(1, order)[:, :k]
    return best, names


def cached_neighbors(features: Features, k: int, *, device: torch.device | None = None) -> NeighborGraph:
    """The graph of a feature file, computed once and kept in `.headclust/` beside it.

    The file's name holds the features' sha256, the metric and k. A kept graph that cannot be read is computed again; a
    folder that cannot be written to only costs the time.

    Args:
        features: The samples.
        k: Neighbors a sample.
        device: Where to compute; the CPU by default.
    """
    path = _place(features, k)
    if path is None:
        return nearest_neighbors(features.all().to(device or "cpu"), k)
    kept = _read(path, (features.n_samples, k))
    if kept is not None:
        return kept
    graph = nearest_neighbors(features.all().to(device or "cpu"), k)
    _keep(path, graph)
    return graph


def is_kept(features: Features, k: int) -> bool:
    """Whether `cached_neighbors` would find the graph beside the feature file, as far as can be told unread."""
    path = _place(features, k)
    return path is not None and path.is_file()


def neighbor_list(features: Features, k: int, kind: str, *, device: torch.device | None = None) -> Tensor:
    """Rows that a sample's partner is drawn from, (n_samples, k) or (n_samples, k + 1).

    Args:
        features: The samples.
        k: Neighbors a sample.
        kind: "others": its k nearest neighbors. "with-self": itself first, then those, as in SCAN
            (https://github.com/wvangansbeke/Unsupervised-Classification). "temi-paper": as TEMI's code makes it
            (https://github.com/HHU-MMBS/TEMI-official-BMVC2023, gen_embeds.py): the same as "others" up to 80,000
            samples; above, an error of that code puts the sample itself first and leaves out another one.
        device: Where to search; the CPU by default.
    """
    indices = cached_neighbors(features, k, device=device).indices
    if kind == "with-self":
        return torch.cat((torch.arange(len(indices), dtype=indices.dtype)[:, None], indices), 1)
    return self_neighbors(indices) if kind == "temi-paper" and len(indices) > _TEMI_WHOLE else indices


def self_neighbors(indices: Tensor, *, chunk: int = 64) -> Tensor:
    """Neighbor lists as TEMI's code makes them above 80,000 samples, from right ones (n_samples, k).

    It goes through the samples in chunks of 64 and hides column i from row i of the chunk, which is the sample itself
    in the first chunk only: any later sample is its own first neighbor, and never has sample i as one.
    """
    n_samples, k = indices.shape
    rows = torch.arange(n_samples, dtype=indices.dtype)[:, None]
    hidden = indices == rows % chunk
    order = hidden.int().argsort(dim=1, stable=True)[:, : k - 1]  # what is hidden goes last, and then out
    return torch.where(rows < chunk, indices, torch.cat((rows, indices.gather(1, order)), 1))


def _place(features: Features, k: int) -> Path | None:
    # Never a wider graph cut to k: which of equally near samples come k-th would depend on what was asked for before.
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


def _keep(path: Path, graph: NeighborGraph) -> None:
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
