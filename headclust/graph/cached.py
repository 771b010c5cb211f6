"""Neighbor graphs of feature files, searched once and cached in `.headclust/` beside the file."""

from __future__ import annotations

from contextlib import suppress

import torch
from safetensors import SafetensorError

from headclust.features import Features
from headclust.graph import parts
from headclust.graph.neighbors import NeighborGraph, shared_neighbors
from headclust.graph.search import note_search, resolve, search_neighbors
from headclust.graph.stored import graph_path, read_graph, write_graph
from headclust.group import ALONE, Group

_CPU = torch.device("cpu")


def cached_neighbors(
    features: Features,
    k: int,
    *,
    search: str = "auto",
    device: torch.device | None = None,
    group: Group = ALONE,
) -> NeighborGraph:
    """The graph of a feature file, searched once and cached in `.headclust/` beside the file.

    The name of the cached file holds the features' sha256, the metric, k and the kind of an approximate search. The
    parts of an exact search by several processes are joined; missing ones are searched. A cached graph that cannot be
    read is computed again; a folder that cannot be written to is not an error, only no graph is cached.

    Args:
        features: The samples.
        k: Neighbors per sample.
        search: A name in `choices.NeighborSearch`; a line on stderr gives the recall of an approximate one.
        device: Where to compute; the CPU by default.
        group: Processes with the same features, which share an exact search; the first one writes the file.

    Raises:
        SettingError: As of `search_neighbors`.
    """
    name = resolve(search, features.n_samples, device or _CPU)
    path = graph_path(features, k, name)
    graph = None if path is None else read_graph(path, (features.n_samples, k))
    if group.any(graph is None):
        graph = _search(features, k, name, device, group)
        if path is not None and group.rank == 0:
            with suppress(OSError, SafetensorError):
                write_graph(path, graph)
                if name == "exact":
                    parts.remove(features, k)
    note_search(graph)
    return graph


def _search(features: Features, k: int, name: str, device: torch.device | None, group: Group) -> NeighborGraph:
    if name != "exact":
        return search_neighbors(features, k, name, device=device)
    if group.size > 1:
        return shared_neighbors(features, k, group, device=device)
    return parts.joined(features, k, device=device) or search_neighbors(features, k, name, device=device)


def is_cached(features: Features, k: int, *, search: str = "auto", device: torch.device | None = None) -> bool:
    """True if a graph is cached beside the feature file; its content is not read."""
    path = graph_path(features, k, resolve(search, features.n_samples, device or _CPU))
    return path is not None and path.is_file()
