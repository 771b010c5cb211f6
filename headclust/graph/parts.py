"""Exact search by several processes: each writes the neighbors of a range of rows, and any of them joins the parts."""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from headclust.device import description
from headclust.disk import write_errors
from headclust.errors import HeadclustError
from headclust.features import Features
from headclust.graph.neighbors import COLUMNS, ROWS, NeighborGraph, check_k, nearest_neighbors
from headclust.graph.stored import graph_path, read_graph, write_graph
from headclust.progress import note
from headclust.shards import Shard

_CPU = torch.device("cpu")


def search_part(features: Features, k: int, shard: Shard, *, device: torch.device | None = None) -> Path:
    """Search the neighbors of a shard of the rows and write them to a file; return its path.

    The products are those of one search of all rows, so the joined parts have its bits. A part that is already there
    is not searched again; two processes with the same part write the same file.

    Args:
        features: A feature file's samples.
        k: Neighbors per sample.
        shard: The part.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: k is not possible.
        HeadclustError: The file cannot be written.
    """
    check_k(k, features.n_samples)
    path = graph_path(features, k, part=shard.name)
    if path is None:
        raise HeadclustError("features in memory have no file beside which parts could be written.")
    if _read(features, k, shard) is None:
        graph = nearest_neighbors(features, k, device=device, blocks=_blocks(features, shard))
        with write_errors(path):
            try:
                write_graph(path, replace(graph, search=_made_by(device or _CPU)))
            except SafetensorError as error:  # of a full disk
                raise OSError(str(error)) from error
    return path


def missing_parts(features: Features, k: int, of: int) -> list[Shard]:
    """The shards, of `of`, whose files are missing or damaged."""
    return [shard for shard in Shard(1, of).siblings() if _read(features, k, shard) is None]


def joined(features: Features, k: int, *, device: torch.device | None = None) -> NeighborGraph | None:
    """The graph of the parts beside a feature file; None if there are none. Missing parts are searched.

    Args:
        features: A feature file's samples.
        k: Neighbors per sample.
        device: Where to compute missing parts; the CPU by default.
    """
    counts = sorted({shard.of for shard in _shards(features, k)})
    if not counts:
        return None
    # Of several divisions, the one with the most rows.
    of = max(counts, key=lambda of: 1 - len(missing_parts(features, k, of)) / of)
    graphs = []
    for shard in Shard(1, of).siblings():
        graph = _read(features, k, shard)
        if graph is None:
            # Another process may have joined the parts, and removed them.
            path = graph_path(features, k)
            whole = None if path is None else read_graph(path, (features.n_samples, k))
            if whole is not None:
                return whole
            note(f"part {shard} of the neighbor search is missing: it is searched by this process.")
            graph = nearest_neighbors(features, k, device=device, blocks=_blocks(features, shard))
            graph = replace(graph, search=_made_by(device or _CPU))
        graphs.append(graph)
    if any(first.search != second.search for first, second in itertools.pairwise(graphs)):
        note("the parts of the neighbor search come from unlike machines: last digits may differ from those of one.")
    return NeighborGraph(torch.cat([graph.indices for graph in graphs]), torch.cat([g.similarities for g in graphs]))


def remove(features: Features, k: int) -> None:
    """Remove the files of all parts, whose graph has been written."""
    for shard in _shards(features, k):
        path = graph_path(features, k, part=shard.name)
        assert path is not None
        with suppress(OSError):
            path.unlink()


def _shards(features: Features, k: int) -> list[Shard]:
    """The parts that have a file."""
    path = graph_path(features, k)
    if path is None:
        return []
    pattern = re.compile(rf"{re.escape(path.stem)}\.(\d{{1,6}})-of-(\d{{1,6}})\.safetensors", re.ASCII)
    try:
        matches = [pattern.fullmatch(file.name) for file in path.parent.iterdir()]
    except OSError:
        return []
    shards = [Shard(int(match[1]), int(match[2])) for match in matches if match]
    return [shard for shard in shards if 1 <= shard.number <= shard.of]


def _blocks(features: Features, shard: Shard) -> range:
    return shard.range(-(-features.n_samples // ROWS))


def _read(features: Features, k: int, shard: Shard) -> NeighborGraph | None:
    path, blocks = graph_path(features, k, part=shard.name), _blocks(features, shard)
    n_rows = min(blocks.stop * ROWS, features.n_samples) - min(blocks.start * ROWS, features.n_samples)
    return None if path is None else read_graph(path, (n_rows, k))


def _made_by(device: torch.device) -> dict[str, str | int]:
    """Facts that the last bits of a part depend on."""
    machine = {"torch": torch.__version__, "instructions": torch.backends.cpu.get_cpu_capability()}
    return {**machine, **description(device), "blocks": f"{ROWS} x {COLUMNS}"}
