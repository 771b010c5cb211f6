"""How clusters join: Ward's linkage of their centers, with the id of the larger part."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage

from headclust.features import Features
from headclust.methods import Recipe
from headclust.model import FeatureTransform, joins

SIZES = (30, 20, 25, 5, 0, 40)


def model(n_clusters=6):
    return SimpleNamespace(n_clusters=n_clusters, transforms=(FeatureTransform(),), device=torch.device("cpu"))


def samples(seed=0, scale=1.0):
    """Rows around five directions, and their clusters; cluster 4 is empty."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(len(SIZES), 8))
    clusters = generator.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    rows = centers[clusters] + 0.1 * generator.normal(size=(len(clusters), 8))
    return Features.from_array((scale * rows).astype(np.float32)), clusters


def test_ward_of_unit_centers():
    features, clusters = samples()
    unit = torch.nn.functional.normalize(features.all(), dim=1).double().numpy()
    used = [0, 1, 2, 3, 5]
    centers = np.stack([unit[clusters == cluster].sum(0) for cluster in used])
    expected = linkage(centers / np.linalg.norm(centers, axis=1, keepdims=True), "ward")
    made = joins.join_clusters(model(), (features,), clusters)
    np.testing.assert_allclose([height for _, _, height in made], expected[:, 2], atol=1e-6)
    groups = [{cluster} for cluster in used]
    for (kept, joined, _), (first, second) in zip(made, expected[:, :2].astype(int), strict=True):
        parts = sorted((groups[first], groups[second]), key=lambda part: -sum(SIZES[cluster] for cluster in part))
        groups.append(parts[0] | parts[1])
        assert kept in parts[0]
        assert joined in parts[1]


def test_the_union_keeps_the_id_of_more_samples_and_of_equal_ones_the_smaller():
    rows = np.repeat(np.eye(3, 4), [4, 4, 9], axis=0)
    rows[:, 3] = np.repeat([1, 1.1, -5], [4, 4, 9])
    features = Features.from_array(rows.astype(np.float32))
    clusters = np.repeat([2, 1, 0], [4, 4, 9])
    assert [join[:2] for join in joins.join_clusters(model(3), (features,), clusters)] == [(1, 2), (0, 1)]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_features_of_any_scale(scale):
    features, clusters = samples(scale=scale)
    made = joins.join_clusters(
        SimpleNamespace(**{**vars(model()), "transforms": (FeatureTransform(l2=True),)}), (features,), clusters
    )
    assert [join[:2] for join in made] == [join[:2] for join in joins.join_clusters(model(), (samples()[0],), clusters)]


def test_large_clusters_give_some_of_their_samples(monkeypatch):
    features, clusters = samples()
    expected = [join[:2] for join in joins.join_clusters(model(), (features,), clusters)]
    monkeypatch.setattr(joins, "_SAMPLES", 50)
    monkeypatch.setattr(joins, "_LEAST", 2)
    read = []
    rows_of = joins.transformed_rows
    monkeypatch.setattr(joins, "transformed_rows", lambda *given: (read.extend(given[2]), rows_of(*given))[1])
    assert [join[:2] for join in joins.join_clusters(model(), (features,), clusters)] == expected
    assert np.bincount(clusters[read]).tolist() == [10, 10, 10, 5, 0, 10]
    assert len(set(read)) == len(read)


def test_one_cluster_and_equal_samples():
    features = Features.from_array(np.ones((6, 3), np.float32))
    assert joins.join_clusters(model(1), (features,), np.zeros(6, int)) == []
    made = joins.join_clusters(model(3), (features,), np.array([0, 0, 1, 1, 1, 2]))
    assert made[0][2] == pytest.approx(0, abs=1e-6)
    assert len(made) == 2


@pytest.mark.parametrize("method", ["kmeans", "spectral", "hdbscan", "ward"])
def test_every_kind_of_head_has_joins(method, blobs):
    features = Features.from_array(blobs.features)
    fitted = Recipe.of(method).changed({"n_clusters": 4}).fit((features,), 0)
    used = np.unique(fitted.assignments)
    made = joins.join_clusters(fitted.model, (features,), fitted.assignments)
    assert len(made) == len(used) - 1
    assert made == joins.join_clusters(fitted.model, (features,), fitted.assignments)
    assert {cluster for join in made for cluster in join[:2]} <= set(used.tolist())
