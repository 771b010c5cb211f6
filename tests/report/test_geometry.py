import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_blobs

from headclust.features import Features
from headclust.report import read_data
from headclust.report.geometry import Geometry, choose, measure, nearest, seen


def by_hand(data):
    """Unit rows, centers and similarities, written plainly."""
    (space,), (transform,) = data.spaces, data.model.transforms
    rows = F.normalize(transform(space.all()), dim=1).double().numpy()
    sums = np.stack([rows[data.clusters == cluster].sum(0) for cluster in range(4)])
    centers = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return rows, centers, rows @ centers.T


def test_samples_among_the_clusters(data, monkeypatch):
    monkeypatch.setattr("headclust.report.geometry._ROWS", 7)
    _, centers, near = by_hand(data)
    found = measure(data.model, data.spaces, data.clusters)
    samples = np.arange(60)
    assert np.allclose(found.alike, centers @ centers.T, atol=1e-5)
    assert np.allclose(found.own, near[samples, data.clusters], atol=1e-5)
    near[samples, data.clusters] = -2
    assert np.array_equal(found.neighbor, near.argmax(1))
    assert np.allclose(found.other, near.max(1), atol=1e-5)


def test_an_unused_cluster_is_near_to_nothing(data):
    clusters = np.where(data.clusters == 3, 2, data.clusters)
    found = measure(data.model, data.spaces, clusters)
    assert 3 not in found.neighbor
    assert (found.alike[3] == -1).all()
    assert [other for other, _ in nearest(0, found)] == sorted([1, 2], key=lambda other: -found.alike[0, other])


def test_one_cluster_has_no_neighbor(data):
    found = measure(data.model, data.spaces, np.zeros(60, np.int64))
    assert (found.neighbor == -1).all()
    assert nearest(0, found) == []
    shown = choose(np.arange(60), data.confidence, found, 3)
    assert shown.borderline == ()


def test_spaces_lie_side_by_side(data):
    class Two:
        transforms = (torch.nn.Identity(), torch.nn.Identity())

    features = make_blobs(9).features
    space = Features.from_array(features)
    rows = seen(Two, (space, space), np.array([4, 2]))
    assert rows.shape == (2, 24)
    assert torch.allclose(rows.norm(dim=1), torch.ones(2))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert (rows[0] @ rows[1]).item() == pytest.approx(unit[4] @ unit[2], abs=1e-5)


def made(own, other, neighbor=1):
    own, other = np.array(own, np.float32), np.array(other, np.float32)
    return Geometry(np.eye(2, dtype=np.float32), own, other, np.full(len(own), neighbor))


def test_what_stands_for_a_cluster():
    #                          surer half: 0 to 3
    confidence = np.array([0.9, 0.8, 0.9, 0.8, 0.5, 0.4, 0.6, 0.7], np.float32)
    geometry = made([0.5, 0.9, 0.7, 0.6, 0.99, 0.3, 0.4, 0.2], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.35, 0.1])
    shown = choose(np.arange(8), confidence, geometry, 1)
    assert shown.typical == (1, 2)
    assert shown.unsure == (5,)
    assert shown.borderline == (6,)
    shown = choose(np.arange(8), confidence, geometry, 4)
    assert shown.typical == (1, 2, 3, 0)
    assert shown.unsure == (5, 4, 6, 7)
    assert shown.borderline == ()
    assert sorted(shown.rows) == list(range(8))


def test_without_features_the_surest_stand_for_a_cluster():
    confidence = np.array([0.9, 0.8, 0.95, 0.1], np.float32)
    shown = choose(np.array([0, 1, 2, 3]), confidence, None, 1)
    assert (shown.typical, shown.unsure, shown.borderline) == ((2, 0), (3,), ())


def test_equals_come_by_row():
    shown = choose(np.array([3, 5, 8]), np.full(9, 0.5, np.float32), made([0.5] * 9, [0.1] * 9), 1)
    assert (shown.typical, shown.unsure, shown.borderline) == ((3, 5), (8,), ())


def test_labels_do_not_matter(world):
    data = read_data(world.run)
    before = measure(data.model, data.spaces, data.clusters)
    object.__setattr__(data.spaces[0], "labels", np.zeros(60, np.int64))
    after = measure(data.model, data.spaces, data.clusters)
    assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))
