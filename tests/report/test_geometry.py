import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_blobs

from headclust.features import Features
from headclust.model import transformed_rows
from headclust.report import read_data
from headclust.report.geometry import Geometry, measure, nearest_clusters, select_images


def by_hand(data):
    """Unit rows, centers and similarities, computed directly."""
    (space,), (transform,) = data.spaces, data.model.transforms
    rows = F.normalize(transform(space.all()), dim=1).double().numpy()
    sums = np.stack([rows[data.clusters == cluster].sum(0) for cluster in range(4)])
    centers = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return rows, centers, rows @ centers.T


def test_samples_among_the_clusters(data, monkeypatch):
    monkeypatch.setattr("headclust.report.geometry._ROWS", 7)
    _, centers, similarities = by_hand(data)
    geometry = measure(data.model, data.spaces, data.clusters)
    samples = np.arange(60)
    assert np.allclose(geometry.centers, centers @ centers.T, atol=1e-5)
    assert np.allclose(geometry.own, similarities[samples, data.clusters], atol=1e-5)
    similarities[samples, data.clusters] = -2
    assert np.array_equal(geometry.neighbor, similarities.argmax(1))
    assert np.allclose(geometry.other, similarities.max(1), atol=1e-5)


def test_an_empty_cluster_is_near_to_none(data):
    clusters = np.where(data.clusters == 3, 2, data.clusters)
    geometry = measure(data.model, data.spaces, clusters)
    assert 3 not in geometry.neighbor
    assert (geometry.centers[3] == -1).all()
    assert [other for other, _ in nearest_clusters(0, geometry)] == sorted(
        [1, 2], key=lambda other: -geometry.centers[0, other]
    )


def test_one_cluster_has_no_neighbor(data):
    geometry = measure(data.model, data.spaces, np.zeros(60, np.int64))
    assert (geometry.neighbor == -1).all()
    assert nearest_clusters(0, geometry) == []
    images = select_images(np.arange(60), data.confidence, geometry, 3)
    assert images.borderline == ()


def test_spaces_lie_side_by_side(data):
    class Two:
        device = torch.device("cpu")
        transforms = (torch.nn.Identity(), torch.nn.Identity())

    features = make_blobs(9).features
    space = Features.from_array(features)
    rows = transformed_rows(Two, (space, space), np.array([4, 2]))
    assert rows.shape == (2, 24)
    assert torch.allclose(rows.norm(dim=1), torch.ones(2))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert (rows[0] @ rows[1]).item() == pytest.approx(unit[4] @ unit[2], abs=1e-5)


def make_geometry(own, other, neighbor=1):
    own, other = np.array(own, np.float32), np.array(other, np.float32)
    return Geometry(np.eye(2, dtype=np.float32), own, other, np.full(len(own), neighbor))


def test_images_of_a_cluster():
    #                          more confident half: 0 to 3
    confidence = np.array([0.9, 0.8, 0.9, 0.8, 0.5, 0.4, 0.6, 0.7], np.float32)
    geometry = make_geometry([0.5, 0.9, 0.7, 0.6, 0.99, 0.3, 0.4, 0.2], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.35, 0.1])
    images = select_images(np.arange(8), confidence, geometry, 1)
    assert images.typical == (1, 2)
    assert images.unsure == (5,)
    assert images.borderline == (6,)
    images = select_images(np.arange(8), confidence, geometry, 4)
    assert images.typical == (1, 2, 3, 0)
    assert images.unsure == (5, 4, 6, 7)
    assert images.borderline == ()
    assert sorted(images.rows) == list(range(8))


def test_without_features_the_most_confident_are_typical():
    confidence = np.array([0.9, 0.8, 0.95, 0.1], np.float32)
    images = select_images(np.array([0, 1, 2, 3]), confidence, None, 1)
    assert (images.typical, images.unsure, images.borderline) == ((2, 0), (3,), ())


def test_ties_are_ordered_by_row():
    images = select_images(np.array([3, 5, 8]), np.full(9, 0.5, np.float32), make_geometry([0.5] * 9, [0.1] * 9), 1)
    assert (images.typical, images.unsure, images.borderline) == ((3, 5), (8,), ())


def test_labels_are_not_used(world):
    data = read_data(world.run)
    before = measure(data.model, data.spaces, data.clusters)
    object.__setattr__(data.spaces[0], "labels", np.zeros(60, np.int64))
    after = measure(data.model, data.spaces, data.clusters)
    assert all(np.array_equal(first, second) for first, second in zip(before, after, strict=True))
