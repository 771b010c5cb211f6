"""The random walk that averages rows, against the definition by dense matrices."""

import numpy as np
import pytest
import torch
from scipy import sparse

from headclust.graph.matrix import affinity
from headclust.graph.neighbors import nearest_neighbors
from headclust.graph.walk import Walk


@pytest.fixture
def graph():
    """Two groups of points, and their weights."""
    generator = np.random.default_rng(0)
    points = np.concatenate([generator.normal(size=(30, 5)) + shift for shift in (0, 2)]).astype(np.float32)
    rows = torch.nn.functional.normalize(torch.from_numpy(points), dim=1)
    return rows, affinity(nearest_neighbors(rows, 6), temperature=0.1)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_rows_are_means_over_where_the_lazy_walk_leads(graph, steps):
    rows, weights = graph
    walk = Walk(weights, rows, seed=0)
    for _ in range(steps):
        walk.step()
    dense = weights.toarray()
    lazy = (np.eye(60) + dense / dense.sum(1, keepdims=True)) / 2
    expected = np.linalg.matrix_power(lazy, steps) @ rows.double().numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(walk.rows().numpy(), expected, atol=1e-5)


def test_modes_are_counted_by_their_squared_amplitudes(graph):
    rows, weights = graph
    walk = Walk(weights, rows, seed=0)
    assert walk.n_modes == 60
    for _ in range(4):
        walk.step()
    dense = weights.toarray()
    root = np.sqrt(dense.sum(1))
    values = np.linalg.eigvalsh(dense / np.outer(root, root))
    assert walk.n_modes == pytest.approx((((1 + values) / 2) ** 8).sum(), rel=0.15)


def test_parts_that_nothing_joins_are_the_modes_that_stay():
    blocks = sparse.csr_array(sparse.block_diag([np.ones((10, 10)) - np.eye(10)] * 3))
    walk = Walk(blocks, torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), seed=0)
    for _ in range(60):
        walk.step()
    assert walk.n_modes == pytest.approx(3, rel=0.3)
    means = walk.rows().reshape(3, 10, 4)
    torch.testing.assert_close(means, means[:, :1].expand(3, 10, 4))
