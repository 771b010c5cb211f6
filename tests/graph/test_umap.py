import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import make_blobs
from sklearn.manifold import trustworthiness

from headclust.graph import umap
from headclust.graph.neighbors import NeighborGraph, nearest_neighbors
from headclust.model import fit_transform

pytestmark = pytest.mark.slow  # each process compiles UMAP for seconds


@pytest.fixture(scope="module")
def world():
    """Overlapping blobs: their rows, their neighbors, and a start of three coordinates."""
    rows = torch.tensor(make_blobs(150, distance=1.0).features)
    return rows, nearest_neighbors(rows, 15), fit_transform(rows, "pca", n_components=3)(rows).numpy()


def test_neighbors_stay_neighbors(world):
    rows, graph, start = world
    positions = umap.umap_positions(graph, start)
    assert positions.shape == (150, 3)
    kept = trustworthiness(rows, positions, n_neighbors=10, metric="cosine")
    assert kept > trustworthiness(rows, start, n_neighbors=10, metric="cosine")
    assert np.array_equal(positions, umap.umap_positions(graph, start))
    assert not np.array_equal(positions, umap.umap_positions(graph, start, seed=1))


def test_a_smaller_distance_packs_groups_more_densely(world):
    _, graph, start = world

    def gap(min_dist):
        """Mean distance to the nearest position, in units of the spread of all."""
        positions = torch.from_numpy(umap.umap_positions(graph, start, min_dist=min_dist))
        return float(torch.cdist(positions, positions).fill_diagonal_(torch.inf).amin(1).mean() / positions.std())

    assert gap(0.0) < gap(0.3)


def test_a_coordinate_without_range_stays_zero(world):
    # umap-learn divides by the range, and then gives NaN.
    _, graph, start = world
    flat = np.column_stack((start[:, 0], np.zeros(150, np.float32)))
    positions = umap.umap_positions(graph, flat)
    assert np.ptp(positions[:, 0]) > 0
    assert not positions[:, 1].any()


def test_equal_rows_have_finite_positions():
    # Distance 0 to all neighbors, and equal starts: once NaN.
    neighbors = (np.arange(40)[:, None] + np.arange(1, 6)) % 20 + np.arange(40)[:, None] // 20 * 20
    graph = NeighborGraph(torch.from_numpy(neighbors).int(), torch.ones(40, 5))
    start = np.repeat(np.array([[1, 2], [-1, 3]], np.float32), 20, axis=0)
    assert np.isfinite(umap.umap_positions(graph, start)).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_of_pytorch_stay_as_they_were(world, threads):
    # numba sets those of OpenMP to all cores, so that later fits of the process were not those of a process of its own.
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        umap.umap_positions(*world[1:])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_progress_is_that_of_the_epochs(world, monkeypatch, capfd):
    counts = []

    @contextmanager
    def bar(description, total):
        yield counts.append

    monkeypatch.setattr(umap, "bar", bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    umap.umap_positions(*world[1:])
    assert sum(counts) == umap._EPOCHS
    assert capfd.readouterr() == ("", "")
