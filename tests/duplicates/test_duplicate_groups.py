import numpy as np
from conftest import make_blobs

from headclust.features import Features
from headclust.graph.cached import cached_neighbors
from headclust.report import near_duplicates, nearest
from headclust.report.near_duplicates import MIN_SIMILARITY


def find_near_duplicates(features, settings, **options):
    return near_duplicates.find_near_duplicates(nearest.find_nearest(features, settings, **options))


def rows():
    """Forty directions, three of them repeated: 5 and 30 are equal, 7 and 12 nearly, 20 and 21 differ in length."""
    features = np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32)
    features[30] = features[5]
    features[12] = features[7] + 0.02 * features[8]
    features[21] = 7 * features[20]
    return features


def test_pairs_that_are_nearly_the_same():
    features = rows()
    duplicates = find_near_duplicates(Features.from_array(features), {})
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarities = np.triu(unit @ unit.T, 1)
    assert {(first, second) for first, second, _ in duplicates.pairs} == set(
        map(tuple, np.argwhere(similarities >= MIN_SIMILARITY))
    )
    assert {(first, second) for first, second, _ in duplicates.pairs} == {(5, 30), (7, 12), (20, 21)}
    assert duplicates.pairs[-1][:2] == (7, 12)
    assert all(0.97 <= similarity <= 1 for *_, similarity in duplicates.pairs)
    assert duplicates.n_searched == 40


def test_many_samples_are_searched_in_part():
    features = Features.from_array(np.concatenate([rows(), rows()]))
    duplicates = find_near_duplicates(features, {}, max_searched=60)
    assert duplicates.n_searched == 60
    assert duplicates == find_near_duplicates(features, {}, max_searched=60)
    assert 0 < len(duplicates.pairs) < 40
    array = features.all().numpy()
    for first, second, similarity in duplicates.pairs:
        cosine = array[first] @ array[second] / np.linalg.norm(array[first]) / np.linalg.norm(array[second])
        assert abs(cosine - similarity) < 1e-5


def test_a_cached_graph_is_used_whatever_the_size(write, monkeypatch):
    from headclust import load_features

    features = load_features(write("duplicates.h5", rows()))
    expected = find_near_duplicates(features, {})
    cached_neighbors(features, 4)

    def never(*_):
        raise AssertionError("searched again")

    monkeypatch.setattr("headclust.graph.neighbors.nearest_neighbors", never)
    assert find_near_duplicates(features, {"n_neighbors": 4}, max_searched=10) == expected


def test_no_near_duplicates():
    assert find_near_duplicates(Features.from_array(make_blobs(1).features), {}).pairs == ()
    assert find_near_duplicates(Features.from_array(np.eye(6)), {}).pairs == ()
    assert find_near_duplicates(Features.from_array(np.zeros((6, 3))), {}).pairs == ()
