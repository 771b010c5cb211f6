"""Files of neighbor graphs, in `.headclust/` beside the feature file: names, reading and writing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from headclust.disk import atomic_file
from headclust.features import Features
from headclust.graph.neighbors import NeighborGraph


def graph_path(features: Features, k: int, search: str = "exact", part: str = "") -> Path | None:
    """The file of a graph; None for features in memory.

    Args:
        features: The samples; the name holds their sha256.
        k: Neighbors per sample. Never a wider graph cut to k: among ties at rank k, the result would depend on which
            graphs were cached before.
        search: "exact", or the name of an approximate search, which becomes part of the name.
        part: Name of a part of a search by several processes, such as "3-of-8".
    """
    if features.path is None:
        return None
    name = f"{features.sha256}-cosine-{k}{'' if search == 'exact' else f'-{search}'}{f'.{part}' if part else ''}"
    return features.path.parent / ".headclust" / f"{name}.safetensors"


def read_graph(path: Path, shape: tuple[int, int]) -> NeighborGraph | None:
    """The graph in a file; None if there is none of this shape, (n_samples, k), or it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            search = json.loads(metadata.get("search", "{}"))
            graph = NeighborGraph(file.get_tensor("indices"), file.get_tensor("similarities"), search)
            if metadata.get("sha256") != _digest(graph):
                return None
    except (OSError, SafetensorError, AttributeError, ValueError):
        return None
    return graph if graph.indices.shape == graph.similarities.shape == shape else None


def write_graph(path: Path, graph: NeighborGraph) -> None:
    """Write a graph; its folder is created if necessary.

    Raises:
        OSError: The file cannot be written.
        SafetensorError: As raised by safetensors for the same reason.
    """
    path.parent.mkdir(exist_ok=True)
    metadata = {"sha256": _digest(graph)}
    if graph.search:
        metadata["search"] = _text(graph.search)
    tensors = {"indices": graph.indices.contiguous(), "similarities": graph.similarities.contiguous()}
    with atomic_file(path, lasting=False) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _digest(graph: NeighborGraph) -> str:
    digest = hashlib.sha256(graph.indices.contiguous().numpy().tobytes())
    digest.update(graph.similarities.contiguous().numpy().tobytes())
    if graph.search:
        digest.update(_text(graph.search).encode())
    return digest.hexdigest()


def _text(search: Mapping[str, Any]) -> str:
    return json.dumps(dict(search), sort_keys=True)
