import numpy as np
import pytest
import torch
from scipy import sparse

from headclust.errors import SettingError
from headclust.graph import eigenvectors as solver
from headclust.graph.eigenvectors import leading_eigenvectors
from headclust.graph.matrix import affinity, normalized
from headclust.graph.neighbors import nearest_neighbors


def neighbor_weights(points, k):
    return affinity(nearest_neighbors(torch.tensor(points).float(), k), temperature=0.1)


def lumps(n_parts, size, *, alike=False, seed=0):
    """The normalized graph of `n_parts` groups that nothing joins; `alike` makes them copies of one."""
    generators = (np.random.default_rng(seed if alike else seed + part) for part in range(n_parts))
    blocks = [neighbor_weights(generator.normal(size=(size, 6)), 6) for generator in generators]
    return normalized(sparse.csr_array(sparse.block_diag(blocks)))


def assert_eigenpairs(matrix, values, vectors):
    values, vectors = values.numpy(), vectors.double().numpy()
    expected = np.linalg.eigvalsh(matrix.toarray())[::-1]
    np.testing.assert_allclose(values, expected[: len(values)], atol=2e-5)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-4)


@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("count", [1, 7, 119, 120])
def test_eigenvectors_against_numpy(blobs, monkeypatch, sparsely, count):
    if sparsely:
        monkeypatch.setattr(solver, "_is_dense", lambda n, width: False)
        monkeypatch.setattr(solver, "_width", lambda count: min(120, count + 20))
    matrix = normalized(neighbor_weights(blobs.features, 8))
    assert_eigenpairs(matrix, *leading_eigenvectors(matrix, count, seed=0))


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize(("n_parts", "size", "count"), [(5, 200, 5), (12, 100, 13), (40, 30, 30), (40, 30, 50)])
def test_no_copy_of_an_eigenvalue_is_missed(n_parts, size, count, alike):
    # Lanczos methods with single vectors give 0.8 where the fourth or fifth copy of 1 belongs.
    matrix = lumps(n_parts, size, alike=alike)
    assert matrix.shape[0] > solver._DENSE
    assert_eigenpairs(matrix, *leading_eigenvectors(matrix, count, seed=0))


@pytest.mark.usefixtures("two_threads")
def test_the_same_seed_gives_the_same_bits():
    matrix = lumps(1, 800)
    (_, first), (_, second), (_, other) = (leading_eigenvectors(matrix, 6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    np.testing.assert_allclose((first * other).sum(0).abs(), 1, atol=1e-4)


def test_an_iteration_that_is_far_from_converged_is_one_line(monkeypatch):
    monkeypatch.setattr(solver, "_ROUNDS", 1)
    monkeypatch.setattr(solver, "_GROWTH", 2)
    with pytest.raises(SettingError, match=r"60 eigenvectors .* did not converge: raise n_neighbors"):
        leading_eigenvectors(lumps(1, 1_500), 60, seed=0)


def test_vectors_of_a_similar_matrix_are_a_start(monkeypatch):
    matrix = lumps(3, 400)
    values, vectors = leading_eigenvectors(matrix, 9, seed=0)
    monkeypatch.setattr(solver, "_ROUNDS", 1)
    with_start, _ = leading_eigenvectors(matrix, 9, seed=1, start=vectors)
    np.testing.assert_allclose(with_start, values, atol=1e-5)


@pytest.mark.parametrize(("n", "count"), [(500, 20), (3_000, 20), (3_000, 1_400)])
def test_memory_is_that_of_the_blocks(n, count):
    width = count * 1.25 + 10
    blocks = 20 * n * width
    assert solver.eigenvector_bytes(n, count) == pytest.approx(
        blocks if n > 600 and 2 * width < n else 8 * n * (2 * n + count)
    )
