import numpy as np
import pytest
import torch
from conftest import make_blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.manifold import spectral_embedding

from headclust.features.rows import unit_length
from headclust.graph.eigenvectors import leading_eigenvectors
from headclust.graph.matrix import affinity, diffusion_map, large_parts, normalized, parts
from headclust.graph.neighbors import NeighborGraph, nearest_neighbors


def neighbor_weights(points, k, temperature=0.1):
    return affinity(nearest_neighbors(torch.tensor(points).float(), k), temperature=temperature)


@pytest.fixture(scope="module")
def joined():
    """The affinity of four blobs that overlap, in one part."""
    return neighbor_weights(make_blobs(distance=0.6).features, 20)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1e6])
def test_weights_are_those_of_a_plain_loop(blobs, temperature):
    graph = nearest_neighbors(torch.tensor(blobs.features), 5)
    expected = np.zeros((120, 120))
    for row in range(120):
        for column, similarity in zip(graph.indices[row].tolist(), graph.similarities[row].tolist(), strict=True):
            weight = np.exp(-(1 - min(similarity, 1)) / temperature)
            expected[row, column] = max(expected[row, column], weight)
            expected[column, row] = max(expected[column, row], weight)
    actual = affinity(graph, temperature=temperature)
    np.testing.assert_allclose(actual.toarray(), expected, rtol=1e-6)
    assert (actual != actual.T).nnz == 0
    assert actual.diagonal().tolist() == [0] * 120
    if temperature == 1e6:
        np.testing.assert_allclose(actual.data, 1, atol=1e-5)


def test_a_similarity_above_one_by_rounding_weighs_one():
    graph = NeighborGraph(torch.tensor([[1], [0]], dtype=torch.int32), torch.tensor([[1.0000001], [1.0000001]]))
    assert affinity(graph, temperature=0.001).toarray().tolist() == [[0, 1], [1, 0]]


def test_normalized_against_scipys_laplacian(joined):
    expected = np.eye(120) - sparse.csgraph.laplacian(joined.toarray(), normed=True)
    np.testing.assert_allclose(normalized(joined).toarray(), expected, atol=1e-12)


def test_a_sample_without_edges_stays_a_row_of_zeros():
    weights = sparse.csr_array(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    assert normalized(weights).toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_parts_are_numbered_by_size():
    weights = sparse.csr_array(sparse.block_diag([np.ones((2, 2)), np.ones((4, 4)), np.ones((3, 3))]))
    assert parts(weights).tolist() == [2, 2, 0, 0, 0, 0, 1, 1, 1]


def map_of(weights, count, *, steps):
    """The diffusion map of a graph with `count` vectors."""
    return diffusion_map(*leading_eigenvectors(normalized(weights), count, seed=0), steps=steps).numpy()


def test_rows_without_steps_are_those_of_scikit_learn(joined):
    assert parts(joined).max() == 0
    reference = spectral_embedding(joined.toarray(), n_components=4, drop_first=False, random_state=0)
    # scikit-learn divides by the root of the degrees, which unit rows do not depend on.
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    ours = map_of(joined, 4, steps=0)
    np.testing.assert_allclose(ours @ ours.T, reference @ reference.T, atol=1e-6)


def test_distances_are_those_of_a_random_walk(joined):
    # Coifman and Lafon: with all vectors, the diffusion distance after t steps compares rows of P^t.
    weights = joined.toarray()
    degrees = weights.sum(1)
    twice = np.linalg.matrix_power(weights / degrees[:, None], 2) / np.sqrt(degrees)
    expected = twice / np.linalg.norm(twice, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(normalized(joined).toarray())
    assert values.min() < 0  # which a walk's vectors leave out: eigenvalues below 0 say nothing of clusters
    ours = vectors * values**2
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    np.testing.assert_allclose(ours @ ours.T, expected @ expected.T, atol=1e-9)
    positive = vectors[:, values > 0] * values[values > 0] ** 2
    positive /= np.linalg.norm(positive, axis=1, keepdims=True)
    actual = map_of(joined, 120, steps=2)
    np.testing.assert_allclose(actual @ actual.T, positive @ positive.T, atol=1e-5)


def test_steps_make_later_vectors_count_less(joined):
    spread = [np.square(map_of(joined, 6, steps=steps)).mean(0)[-1] for steps in (0, 3, 10)]
    assert spread[0] > spread[1] > spread[2]


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(1, 45), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_rows_are_finite_and_of_length_one_or_zero(n_samples, k, steps, seed):
    generator = np.random.default_rng(seed)
    points = generator.integers(-1, 2, size=(n_samples, 3))  # copies and zero rows among them
    weights = neighbor_weights(points, min(k, n_samples - 1))
    count = int(generator.integers(1, n_samples + 1))
    rows = map_of(weights, count, steps=steps)
    assert rows.shape == (n_samples, count)
    lengths = np.linalg.norm(rows, axis=1)
    assert (np.isclose(lengths, 1) | (lengths == 0)).all()


def blocks(*sizes):
    """A graph of cliques with so many samples each, in a shuffled order, and the clique of each sample."""
    order = np.random.default_rng(0).permutation(sum(sizes))
    weights = sparse.block_diag([np.ones((size, size)) - np.eye(size) for size in sizes]).tocsr()
    return sparse.csr_array(weights[order][:, order]), np.repeat(np.arange(len(sizes)), sizes)[order]


@pytest.mark.parametrize(
    ("sizes", "n_clusters", "smallest", "expected"),
    [
        ((50, 40, 5), 2, 0.1, {0, 1, 2}),  # 4.75 are enough
        ((50, 40, 4), 2, 0.1, {0, 1}),
        ((50, 40, 4), 2, 0.05, {0, 1, 2}),
        ((50, 40, 4), 3, 0.1, {0, 1, 2}),  # 3.1 are
        ((50, 40, 4), 2, 0.0, {0, 1, 2}),
        ((50, 40, 4), 2, 0.9, {0}),
        ((60,), 5, 1.0, {0}),
        ((4, 4, 4, 4, 4), 1, 0.5, {0, 1, 2, 3, 4}),  # none is large: all stay
        ((30, 4, 4, 4, 4, 4, 4, 4, 4), 1, 0.4, set(range(9))),  # what is large is not most
        ((9, 2, 2, 2), 10, 0.0, {0, 1, 2, 3}),
        ((6, 1, 1), 7, 1.0, {0, 1, 2}),  # the large part has fewer samples than there are clusters
    ],
)
def test_large_parts_by_hand(sizes, n_clusters, smallest, expected):
    weights, clique = blocks(*sizes)
    rows = large_parts(weights, n_clusters, smallest=smallest)
    assert rows.tolist() == [row for row in range(len(clique)) if clique[row] in expected]


@pytest.mark.parametrize(("n_clusters", "warned"), [(1, False), (2, True), (3, False)])
def test_more_large_parts_than_clusters_are_a_warning(n_clusters, warned, capfd):
    # A single cluster holds all parts, as it should.
    large_parts(blocks(20, 20, 20)[0], n_clusters, smallest=0.1)
    assert ("graph has 3 connected components, more than the 2 clusters" in capfd.readouterr().err) == warned


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 6), st.floats(0, 1))
def test_large_parts_are_whole_and_most_of_the_samples(sizes, n_clusters, smallest):
    n_clusters = min(n_clusters, sum(sizes))
    weights, clique = blocks(*sizes)
    rows = large_parts(weights, n_clusters, smallest=smallest)
    assert len(rows) >= max(sum(sizes) / 2, n_clusters)
    assert (np.diff(rows) > 0).all()
    assert np.isin(clique, clique[rows]).sum() == len(rows)


@pytest.mark.parametrize("steps", [0, 6])
def test_the_first_columns_of_a_diffusion_map_are_the_map_of_fewer_vectors(joined, steps):
    whole = map_of(joined, 9, steps=steps)
    for count in (1, 4, 9):
        alone = map_of(joined, count, steps=steps)
        first = unit_length(torch.from_numpy(whole[:, :count])).numpy()
        np.testing.assert_allclose(first @ first.T, alone @ alone.T, atol=1e-5)
