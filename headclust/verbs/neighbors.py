"""The verb `neighbors`: nearest neighbors of a feature file, searched before a fit, by one process or several."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from headclust.choices import NeighborSearch
from headclust.device import resolve_device
from headclust.disk import write_errors
from headclust.errors import SettingError, unknown
from headclust.features import load_features
from headclust.features.rows import distinct_rows
from headclust.progress import note
from headclust.shards import process_shard


def neighbors(
    features: Path,
    *,
    n_neighbors: int,
    shard: str | None = None,
    search: NeighborSearch = "exact",
    device: str | None = None,
) -> dict[str, Any]:
    """Search the nearest neighbors that later fits use, and write them to `.headclust/` beside the feature file.

    Several processes search one shard of the rows each; the one that finishes last joins them, to the bytes of a search
    by one process. What is there already is not searched again.

    Args:
        features: A feature file.
        n_neighbors: Neighbors per sample: the n_neighbors of the fit.
        shard: `I/N`, the part of this process; from the environment of torchrun or a SLURM array when None.
        search: Kind of search; with shards, exact only.
        device: Where to compute; the best available when None.

    Returns:
        `path` of the file, `n_samples` and `n_neighbors`; with shards `shard`, and `missing`, the shards that are not
        there yet; of an approximate search its recall and parameters.

    Raises:
        HeadclustError: The file or the settings cannot be used, or the result cannot be written.
    """
    if search not in get_args(NeighborSearch):
        raise unknown("search", search, get_args(NeighborSearch))
    part = process_shard(shard)
    if part is not None and search != "exact":
        raise SettingError(f"shards are searched exactly: leave out --search {search}, or search in one process.")

    from headclust.graph import parts
    from headclust.graph.cached import cached_neighbors, is_cached
    from headclust.graph.search import resolve
    from headclust.graph.stored import graph_path, write_graph

    space, chosen_device = load_features(features), resolve_device(device)
    first, group = distinct_rows(space)
    if len(first) < len(group):
        note(
            f"{len(group) - len(first):,} of {len(group):,} rows are copies of others: as in a fit, one of each counts."
        )
        space = space.select(first)
    path = graph_path(space, n_neighbors, resolve(search, space.n_samples, chosen_device))
    assert path is not None
    result: dict[str, Any] = {"path": path, "n_samples": space.n_samples, "n_neighbors": n_neighbors}
    if part is not None and not is_cached(space, n_neighbors, search="exact"):
        part_path = parts.search_part(space, n_neighbors, part, device=chosen_device)
        missing = parts.missing_parts(space, n_neighbors, part.of)
        if missing and not path.is_file():  # the last process joins the parts, and removes them
            return {**result, "path": part_path, "shard": str(part), "missing": [str(shard) for shard in missing]}
    graph = cached_neighbors(space, n_neighbors, search=search, device=chosen_device)
    if not path.is_file():
        with write_errors(path):
            write_graph(path, graph)
    if part is None:
        return {**result, **graph.search}
    parts.remove(space, n_neighbors)  # one that was finished after the others had been joined
    return {**result, "shard": str(part), "missing": []}
