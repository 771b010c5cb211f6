"""What the methods that divide samples have in common."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_blobs

from headclust.errors import DataError, SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS
from headclust.methods.neighbor_vote import conclude_partition
from headclust.methods.settings import change_settings
from headclust.model import ClusterModel
from headclust.scoring.metrics import accuracy

DIVIDING = ["spectral", "gmm", "ward", "leiden", "hdbscan", "umap-kmeans"]


def fit(method, features, n_clusters=4, *, seed=0, labels=None, **changes):
    recipe = change_settings(PRESETS[method]["ours"], {"n_clusters": n_clusters, **changes})
    return METHODS[method]((Features.from_array(features, labels=labels),), recipe, seed)


def divided(features, assignments, rows, **changes):
    settings = {"n_clusters": 3, "n_votes": 1, "temperature": 0.1, "n_components": 256, **changes}
    heads = len(assignments)
    space = Features.from_array(features)
    return conclude_partition(space, assignments, rows=rows, losses=[1.0] * heads, history=[], **settings)


def test_a_vote_weighs_what_an_edge_of_the_graph_does(blobs):
    # With all components, distances among principal components are those among unit rows.
    assignments = np.arange(120) % 3
    result = divided(blobs.features, [assignments], np.arange(120), n_votes=5, temperature=0.2)
    queries = blobs.features + np.float32(0.25)
    unit, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (blobs.features.astype(np.float64), queries))
    shares = np.zeros((120, 3))
    for row, similarities in enumerate(other @ unit.T):
        voters = np.argsort(-similarities)[:5]
        np.add.at(shares[row], assignments[voters], np.exp((similarities[voters] - 1) / 0.2))
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(result.model.probs(torch.tensor(queries))[0].numpy(), shares, atol=0.01)


def test_samples_too_close_for_half_precision_are_stored_in_single():
    angles = np.concatenate([np.linspace(start, start + 0.01, 1000) for start in (0, 2, 3.5)])
    features = np.stack((np.cos(angles), np.sin(angles)), 1).astype(np.float32)
    for step, dtype in ((500, torch.float16), (1, torch.float32)):
        clusters = np.arange(len(features[::step])) % 3
        result = divided(features[::step], [clusters], np.arange(len(clusters)), n_votes=10)
        assert result.model.heads.features.dtype == dtype
        again = ClusterModel.from_tensors(result.model.tensors())
        assert again.assign(torch.from_numpy(features[::step])).clusters.tolist() == clusters.tolist()
        assert result.assignments.tolist() == clusters.tolist()


def test_samples_left_out_go_by_the_others(blobs):
    rows = np.flatnonzero(np.arange(120) % 2 == 0)
    result = divided(blobs.features, [blobs.labels[rows].astype(np.int64)], rows, n_clusters=4)
    assert result.assignments[rows].tolist() == blobs.labels[rows].tolist()
    assert accuracy(result.assignments, blobs.labels) > 0.95
    assert result.model.heads.features.shape == (1, 60, 12)


@pytest.mark.parametrize("method", DIVIDING)
def test_blobs_are_found(method):
    features, labels = make_blobs(200)
    assert accuracy(fit(method, features).assignments, labels) > 0.95


@pytest.mark.parametrize("method", DIVIDING)
def test_the_model_says_of_the_fitted_samples_what_the_fit_says(method, blobs):
    result = fit(method, blobs.features)
    again = ClusterModel.from_tensors(result.model.tensors())
    _, confidence, clusters = again.assign(torch.tensor(blobs.features))
    assert np.array_equal(clusters, result.head_assignments)
    np.testing.assert_allclose(confidence, result.confidence, rtol=1e-5)  # votes of neighbors in the graph
    assert again.n_clusters == 4


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("method", DIVIDING)
def test_repeatable_to_the_bit(method, blobs):
    first, second = fit(method, blobs.features, seed=3), fit(method, blobs.features, seed=3)
    assert np.array_equal(first.head_assignments, second.head_assignments)
    assert first.losses == second.losses
    assert first.history == second.history


@pytest.mark.parametrize("method", DIVIDING)
def test_labels_change_nothing(method, blobs):
    with_labels, without = (fit(method, blobs.features, labels=labels) for labels in (blobs.labels, None))
    assert np.array_equal(with_labels.head_assignments, without.head_assignments)


@pytest.mark.parametrize("method", [method for method in DIVIDING if method != "hdbscan"])  # which may find none
@pytest.mark.parametrize(("n_samples", "n_clusters"), [(3, 1), (3, 2), (20, 1), (20, 7)])
def test_any_number_of_clusters(method, blobs, n_samples, n_clusters):
    result = fit(method, blobs.features[:n_samples], n_clusters)
    assert result.model.n_clusters == n_clusters
    assert result.head_assignments.max() < n_clusters
    assert np.isfinite(result.confidence).all()


@pytest.mark.parametrize("method", ["gmm", "ward"])
def test_as_many_clusters_as_samples(method, blobs):
    assert sorted(fit(method, blobs.features[:20], 20).assignments.tolist()) == list(range(20))


@pytest.mark.parametrize("method", DIVIDING)
def test_one_space_and_two_samples_at_least(method, blobs):
    features = Features.from_array(blobs.features)
    with pytest.raises(SettingError, match="one feature file"):
        METHODS[method]((features, features), PRESETS[method]["ours"], 0)
    with pytest.raises(DataError, match="1 sample"):
        fit(method, blobs.features[:1], 1)


@pytest.mark.parametrize("method", DIVIDING)
def test_numbers_out_of_range_are_refused_by_name(method):
    (stage,) = PRESETS[method]["ours"]
    for field in dataclasses.fields(stage):
        if field.name == "covariance":
            continue
        with pytest.raises(SettingError, match=rf"^{field.name} is -1: expected "):
            dataclasses.replace(stage, **{field.name: -1})
