import numpy as np
from conftest import make_blobs

from headclust.features import Features
from headclust.graph.neighbors import cached_neighbors
from headclust.report.near_duplicates import ALIKE, find_near_duplicates


def rows():
    """Forty directions, three of them repeated: 5 and 30 exactly, 7 and 12 nearly, 20 at another length."""
    features = np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32)
    features[30] = features[5]
    features[12] = features[7] + 0.02 * features[8]
    features[21] = 7 * features[20]
    return features


def test_pairs_that_are_nearly_the_same():
    features = rows()
    found = find_near_duplicates(Features.from_array(features), {})
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    alike = np.triu(unit @ unit.T, 1)
    assert {(one, two) for one, two, _ in found.pairs} == set(map(tuple, np.argwhere(alike >= ALIKE)))
    assert {(one, two) for one, two, _ in found.pairs} == {(5, 30), (7, 12), (20, 21)}
    assert found.pairs[-1][:2] == (7, 12)
    assert all(0.97 <= sure <= 1 for *_, sure in found.pairs)
    assert found.n_searched == 40


def test_many_samples_are_searched_in_part():
    features = Features.from_array(np.concatenate([rows(), rows()]))
    found = find_near_duplicates(features, {}, most=60)
    assert found.n_searched == 60
    assert found == find_near_duplicates(features, {}, most=60)
    assert 0 < len(found.pairs) < 40
    array = features.all().numpy()
    for one, two, sure in found.pairs:
        cosine = array[one] @ array[two] / np.linalg.norm(array[one]) / np.linalg.norm(array[two])
        assert abs(cosine - sure) < 1e-5


def test_a_kept_graph_serves_whatever_the_size(write, monkeypatch):
    from headclust import load_features

    features = load_features(write("twins.h5", rows()))
    wanted = find_near_duplicates(features, {})
    cached_neighbors(features, 4)

    def never(*_):
        raise AssertionError("searched again")

    monkeypatch.setattr("headclust.report.near_duplicates.nearest_neighbors", never)
    assert find_near_duplicates(features, {"n_neighbors": 4}, most=10) == wanted


def test_nothing_to_find():
    assert find_near_duplicates(Features.from_array(make_blobs(1).features), {}).pairs == ()
    assert find_near_duplicates(Features.from_array(np.eye(6)), {}).pairs == ()
    assert find_near_duplicates(Features.from_array(np.zeros((6, 3))), {}).pairs == ()
