import numpy as np
import pytest
import torch
from conftest import make_blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import ArpackNoConvergence
from sklearn.manifold import spectral_embedding

from headclust import graph as graph_module
from headclust.errors import SettingError
from headclust.graph import affinity, diffusion_map, leading_eigenvectors, normalized, parts
from headclust.neighbors import NeighborGraph, nearest_neighbors


def neighbor_weights(points, k, temperature=0.1):
    return affinity(nearest_neighbors(torch.tensor(points).float(), k), temperature=temperature)


@pytest.fixture(scope="module")
def joined():
    """The affinity of four blobs that overlap, in one part."""
    return neighbor_weights(make_blobs(distance=0.6).features, 20)


def lumps(n_parts, size, *, alike=False, seed=0):
    """The normalized graph of `n_parts` groups that nothing joins; `alike` makes them copies of one."""
    generators = (np.random.default_rng(seed if alike else seed + part) for part in range(n_parts))
    blocks = [neighbor_weights(generator.normal(size=(size, 6)), 6) for generator in generators]
    return normalized(sparse.csr_array(sparse.block_diag(blocks)))


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1e6])
def test_weights_are_those_of_a_plain_loop(blobs, temperature):
    graph = nearest_neighbors(torch.tensor(blobs.features), 5)
    wanted = np.zeros((120, 120))
    for row, (found, similarities) in enumerate(zip(graph.indices.tolist(), graph.similarities.tolist(), strict=True)):
        for column, similarity in zip(found, similarities, strict=True):
            weight = np.exp(-(1 - min(similarity, 1)) / temperature)
            wanted[row, column] = max(wanted[row, column], weight)
            wanted[column, row] = max(wanted[column, row], weight)
    found = affinity(graph, temperature=temperature)
    np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-6)
    assert (found != found.T).nnz == 0
    assert found.diagonal().tolist() == [0] * 120
    if temperature == 1e6:
        np.testing.assert_allclose(found.data, 1, atol=1e-5)


def test_a_similarity_above_one_by_rounding_weighs_one():
    graph = NeighborGraph(torch.tensor([[1], [0]], dtype=torch.int32), torch.tensor([[1.0000001], [1.0000001]]))
    assert affinity(graph, temperature=0.001).toarray().tolist() == [[0, 1], [1, 0]]


def test_normalized_against_scipys_laplacian(joined):
    wanted = np.eye(120) - sparse.csgraph.laplacian(joined.toarray(), normed=True)
    np.testing.assert_allclose(normalized(joined).toarray(), wanted, atol=1e-12)


def test_a_sample_without_edges_stays_a_row_of_zeros():
    weights = sparse.csr_array(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    assert normalized(weights).toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_parts_are_numbered_by_size():
    weights = sparse.csr_array(sparse.block_diag([np.ones((2, 2)), np.ones((4, 4)), np.ones((3, 3))]))
    assert parts(weights).tolist() == [2, 2, 0, 0, 0, 0, 1, 1, 1]


def assert_eigenpairs(matrix, values, vectors):
    wanted = np.linalg.eigvalsh(matrix.toarray())[::-1]
    np.testing.assert_allclose(values, wanted[: len(values)], atol=2e-5)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-4)


@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("count", [1, 7, 119, 120])
def test_eigenvectors_against_numpy(blobs, monkeypatch, sparsely, count):
    if sparsely:
        monkeypatch.setattr(graph_module, "_DENSE", 0)
        monkeypatch.setattr(graph_module, "_DENSE_AT_MOST", 0)
    matrix = normalized(neighbor_weights(blobs.features, 8))
    assert_eigenpairs(matrix, *leading_eigenvectors(matrix, count, seed=0))


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize(("n_parts", "size", "count"), [(5, 200, 5), (12, 100, 13), (40, 30, 30), (40, 30, 50)])
def test_no_copy_of_an_eigenvalue_is_missed(n_parts, size, count, alike):
    # ARPACK by itself gives 0.8 where the fourth or fifth copy of 1 belongs.
    matrix = lumps(n_parts, size, alike=alike)
    assert matrix.shape[0] > graph_module._DENSE
    assert_eigenpairs(matrix, *leading_eigenvectors(matrix, count, seed=0))


def test_the_same_seed_gives_the_same_bits():
    matrix = lumps(1, 800)
    (_, first), (_, second), (_, other) = (leading_eigenvectors(matrix, 6, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(np.abs((first * other).sum(0)), 1, atol=1e-6)


def test_a_solver_that_gives_up_is_one_line(monkeypatch):
    def give_up(*args, **kwargs):
        raise ArpackNoConvergence("No convergence (%s)", np.empty(0), np.empty((0, 0)))

    monkeypatch.setattr(graph_module, "eigsh", give_up)
    with pytest.raises(SettingError, match=r"6 eigenvectors .* were not found: raise n_neighbors"):
        leading_eigenvectors(lumps(1, 800), 6, seed=0)


def test_rows_without_steps_are_those_of_scikit_learn(joined):
    assert parts(joined).max() == 0
    theirs = spectral_embedding(joined.toarray(), n_components=4, drop_first=False, random_state=0)
    # Theirs are divided by the root of the degrees, which a row's length takes out again.
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = diffusion_map(normalized(joined), 4, steps=0, seed=0)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-6)


def test_distances_are_those_of_a_random_walk(joined):
    # Coifman and Lafon: with all vectors, the diffusion distance after t steps compares rows of P^t.
    weights = joined.toarray()
    degrees = weights.sum(1)
    twice = np.linalg.matrix_power(weights / degrees[:, None], 2) / np.sqrt(degrees)
    wanted = twice / np.linalg.norm(twice, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(normalized(joined).toarray())
    assert values.min() < 0  # which a walk's vectors leave out: eigenvalues below 0 say nothing of clusters
    ours = vectors * values**2
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    np.testing.assert_allclose(ours @ ours.T, wanted @ wanted.T, atol=1e-9)
    positive = vectors[:, values > 0] * values[values > 0] ** 2
    positive /= np.linalg.norm(positive, axis=1, keepdims=True)
    found = diffusion_map(normalized(joined), 120, steps=2, seed=0)
    np.testing.assert_allclose(found @ found.T, positive @ positive.T, atol=1e-9)


def test_steps_make_later_vectors_count_less(joined):
    spread = [np.square(diffusion_map(normalized(joined), 6, steps=steps, seed=0)).mean(0)[-1] for steps in (0, 3, 10)]
    assert spread[0] > spread[1] > spread[2]


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(1, 45), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_rows_are_finite_and_of_length_one_or_zero(n_samples, k, steps, seed):
    generator = np.random.default_rng(seed)
    points = generator.integers(-1, 2, size=(n_samples, 3))  # copies and zero rows among them
    weights = neighbor_weights(points, min(k, n_samples - 1))
    count = int(generator.integers(1, n_samples + 1))
    rows = diffusion_map(normalized(weights), count, steps=steps, seed=0)
    assert rows.shape == (n_samples, count)
    lengths = np.linalg.norm(rows, axis=1)
    assert (np.isclose(lengths, 1) | (lengths == 0)).all()
