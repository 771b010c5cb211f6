import numpy as np
import pytest

from headclust.duplicates.nearest import N_NEAREST, find_nearest
from headclust.features import Features
from headclust.graph.cached import cached_neighbors


@pytest.fixture
def array():
    return np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)


def expected(array):
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    similarities = unit @ unit.T
    np.fill_diagonal(similarities, -2)
    return np.argsort(-similarities, axis=1)


def test_the_nearest_of_all(array):
    nearest = find_nearest(Features.from_array(array), {})
    assert np.array_equal(nearest.rows, np.arange(50))
    assert np.array_equal(nearest.indices, expected(array)[:, :N_NEAREST])


def test_the_nearest_among_some_of_many(array):
    nearest = find_nearest(Features.from_array(array), {}, max_searched=20)
    assert len(nearest.rows) == 20
    assert np.array_equal(nearest.indices, nearest.rows[expected(array[nearest.rows])[:, :N_NEAREST]])


@pytest.mark.parametrize("cached", [3, 10])
def test_a_cached_graph_gives_as_many_as_it_has(array, write, cached):
    from headclust import load_features

    features = load_features(write("x.h5", array))
    cached_neighbors(features, cached)
    nearest = find_nearest(features, {"n_neighbors": cached}, max_searched=10)
    assert np.array_equal(nearest.indices, expected(array)[:, : min(cached, N_NEAREST)])


@pytest.mark.parametrize("n_samples", [1, 2, 4])
def test_few_images(array, n_samples):
    nearest = find_nearest(Features.from_array(array[:n_samples]), {})
    assert nearest.indices.shape == (n_samples, n_samples - 1)
