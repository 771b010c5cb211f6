import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_blobs
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from headclust.errors import DataError, SettingError
from headclust.features import Features
from headclust.graph.matrix import affinity, parts
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods import METHODS, PRESETS, kmeans
from headclust.methods.settings import change_settings
from headclust.model import ClusterModel
from headclust.scoring.metrics import accuracy


def fit(features, n_clusters=4, *, seed=0, labels=None, preset="ours", **changes):
    recipe = change_settings(PRESETS["spectral"][preset], {"n_clusters": n_clusters, **changes})
    return METHODS["spectral"]((Features.from_array(features, labels=labels),), recipe, seed)


@pytest.fixture(scope="module")
def rings():
    """Two rings around each other on the sphere, 150 points each: no plane and no centroid tells them apart."""
    generator = np.random.default_rng(0)
    angles = generator.uniform(0, 2 * np.pi, 300)
    labels = np.arange(300) % 2
    radius = np.where(labels == 0, 0.4, 1.2) + generator.normal(size=300) * 0.02
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), np.ones(300)], 1).astype(np.float32), labels


def test_agrees_with_scikit_learn_on_the_same_affinity():
    features = make_blobs(distance=1.0).features
    weights = affinity(nearest_neighbors(torch.tensor(features), 20), temperature=0.1)
    assert parts(weights).max() == 0
    theirs = SpectralClustering(4, affinity="precomputed", random_state=0).fit(weights.toarray()).labels_
    ours = fit(features, preset="authors", n_neighbors=20, temperature=0.1)
    assert adjusted_rand_score(theirs, ours.assignments) > 0.9


@pytest.mark.parametrize("preset", ["authors", "ours"])
def test_blobs_are_found(blobs, preset):
    assert accuracy(fit(blobs.features, preset=preset).assignments, blobs.labels) > 0.95


@pytest.mark.parametrize("preset", ["authors", "ours"])
def test_shapes_that_k_means_cannot_see_are_found(rings, preset):
    features, labels = rings
    result = fit(features, 2, preset=preset)
    assert accuracy(result.assignments, labels) == 1
    (lloyd,) = change_settings(kmeans.PRESETS["ours"], {"n_clusters": 2})
    baseline = METHODS["kmeans"]((Features.from_array(features),), (lloyd,), 0)
    assert accuracy(baseline.assignments, labels) < 0.7


def test_new_samples_go_by_their_neighbors(rings):
    features, labels = rings
    result = fit(features[:200], 2)
    _, confidence, clusters = result.model.assign(torch.tensor(features[200:]))
    assert accuracy(clusters[result.model.used_heads[0]], labels[200:]) == 1
    assert confidence.mean() > 0.99


def test_the_model_says_of_the_fitted_samples_what_the_fit_says(blobs):
    result = fit(blobs.features)
    again = ClusterModel.from_tensors(dict(sorted(result.model.tensors().items())))
    _, confidence, clusters = again.assign(torch.tensor(blobs.features))
    assert np.array_equal(clusters, result.head_assignments)
    np.testing.assert_allclose(confidence, result.confidence, rtol=1e-5)  # votes of neighbors in the graph
    assert again.heads.features.dtype == torch.float16


def test_the_restart_with_the_lowest_inertia_speaks(blobs):
    result = fit(blobs.features, 9)
    assert len(result.losses) == 10
    assert len(set(result.losses)) > 1
    assert result.model.used_heads[0] == int(np.argmin(result.losses))
    assert result.history == [{"restart": i, "inertia": loss} for i, loss in enumerate(result.losses)]
    assert ((result.confidence > 1 / 9) & (result.confidence <= 1.00001)).all()


@pytest.mark.usefixtures("two_threads")
def test_repeatable_to_the_bit():
    points = np.random.default_rng(0).normal(size=(900, 6)).astype(np.float32)  # more than are solved densely
    first, second, other = (fit(points, 12, seed=seed, n_heads=3) for seed in (4, 4, 5))
    for name, tensor in first.model.tensors().items():
        assert torch.equal(tensor, second.model.tensors()[name])
    assert first.losses == second.losses
    assert np.array_equal(first.confidence, second.confidence)
    assert first.losses != other.losses


def test_labels_change_nothing(blobs):
    with_labels, without = fit(blobs.features, labels=blobs.labels), fit(blobs.features)
    assert np.array_equal(with_labels.head_assignments, without.head_assignments)


def test_scale_does_not_matter(blobs):
    assert np.array_equal(fit(blobs.features * 64).head_assignments, fit(blobs.features).head_assignments)


def test_parts_of_the_graph_are_found_as_they_are():
    points = np.concatenate([np.random.default_rng(p).normal(size=(30, 8)) * 0.1 + 9 * np.eye(8)[p] for p in range(5)])
    assert parts(affinity(nearest_neighbors(torch.tensor(points).float(), 10), temperature=0.1)).max() == 4
    for preset in ("authors", "ours"):
        assert accuracy(fit(points, 5, preset=preset).assignments, np.repeat(np.arange(5), 30)) == 1


def test_more_parts_than_clusters_are_said(capfd):
    points = np.concatenate([np.random.default_rng(p).normal(size=(30, 8)) * 0.1 + 9 * np.eye(8)[p] for p in range(5)])
    result = fit(points, 3)
    assert "the neighbor graph has 5 connected components, more than the 3 clusters" in capfd.readouterr().err
    groups = result.assignments.reshape(5, 30)
    assert (groups == groups[:, :1]).all()


@pytest.fixture
def with_copies():
    """Four blobs of 600 that touch, and twice 12 copies of a point that has nothing in common with any other."""
    near, labels = make_blobs(2400, distance=1.1)
    return np.concatenate([np.pad(near, ((0, 0), (0, 2))), np.repeat(np.eye(14)[12:], 12, axis=0)]), labels


def test_a_small_part_takes_no_cluster_from_the_rest(with_copies):
    features, labels = with_copies
    ours = fit(features, 4, n_heads=2)
    assert parts(affinity(nearest_neighbors(torch.tensor(features).float(), 10), temperature=0.1)).max() == 2
    assert accuracy(ours.assignments[:2400], labels) > 0.9
    assert len(ours.assignments) == 2424
    assert ours.model.heads.features.shape[1] == 2400
    # In the textbook each of the two groups is the cheapest of all cuts, and with four vectors little else is left.
    for share, found in ((0.0, False), (0.1, True)):
        textbook = fit(features, 4, preset="authors", n_heads=2, smallest_part=share)
        assert (accuracy(textbook.assignments[:2400], labels) > 0.9) == found


@pytest.mark.parametrize("preset", ["authors", "ours"])
@pytest.mark.parametrize(("n_samples", "n_clusters"), [(2, 1), (2, 2), (3, 2), (5, 5), (20, 1), (20, 19), (20, 20)])
def test_any_number_of_clusters(blobs, preset, n_samples, n_clusters):
    result = fit(blobs.features[:n_samples], n_clusters, preset=preset, n_heads=2)
    assert result.head_assignments.shape == (2, n_samples)
    assert result.model.n_clusters == n_clusters
    assert result.head_assignments.max() < n_clusters
    assert np.isfinite(result.confidence).all()
    assert np.isfinite(result.losses).all()


@pytest.mark.parametrize("distinct", [2, 3])
def test_fewer_distinct_points_than_clusters(blobs, distinct):
    result = fit(np.repeat(blobs.features[:distinct], 9, axis=0), 5, n_neighbors=3)
    assert np.isfinite(result.losses).all()
    assert np.isfinite(result.confidence).all()


def test_zero_rows(blobs):
    points = blobs.features.copy()
    points[::5] = 0
    result = fit(points)
    assert np.isfinite(result.confidence).all()
    assert len(set(result.assignments[::5].tolist())) == 1


def test_too_many_neighbors_for_an_even_cluster_are_said(blobs, capfd):
    fit(blobs.features, 20, n_heads=1)
    assert "n_neighbors is 10, more than the 6 samples of an even cluster" in capfd.readouterr().err


def test_neighbors_are_cut_to_what_there_is(blobs):
    assert fit(blobs.features[:6], 2, n_neighbors=50).head_assignments.shape == (10, 6)


def test_presets():
    (authors,), (ours,) = PRESETS["spectral"]["authors"], PRESETS["spectral"]["ours"]
    assert (authors.vectors, authors.diffusion, authors.smallest_part) == (1, 0, 0)
    assert (ours.n_neighbors, authors.n_neighbors) == (10, 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_clusters", -1),
        ("n_heads", 0),
        ("n_neighbors", 0),
        ("temperature", 0.0),
        ("temperature", float("inf")),
        ("vectors", 0.0),
        ("diffusion", -1),
        ("smallest_part", 1.1),
        ("n_components", 0),
        ("max_iter", 0),
        ("tolerance", np.nan),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(SettingError, match=rf"^{name} is .*: expected "):
        dataclasses.replace(PRESETS["spectral"]["ours"][0], **{name: value})


def test_one_space_and_two_samples_at_least(blobs):
    features = Features.from_array(blobs.features)
    with pytest.raises(SettingError, match="one feature file"):
        METHODS["spectral"]((features, features), PRESETS["spectral"]["ours"], 0)
    with pytest.raises(DataError, match="1 sample"):
        fit(blobs.features[:1], 1)


def test_eigenvectors_that_do_not_fit_into_memory_are_refused_before_the_search(monkeypatch, blobs):
    monkeypatch.setattr("headclust.methods.spectral.available_memory", lambda: 100_000)
    monkeypatch.setattr("headclust.graph.cached.cached_neighbors", None)
    with pytest.raises(
        SettingError, match=r"^spectral: 6 eigenvectors of 120 samples take 0\.0 GB, 0\.0 GB are free: lower"
    ):
        fit(blobs.features)
