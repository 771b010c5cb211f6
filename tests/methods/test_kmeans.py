import dataclasses

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.preprocessing import Normalizer, StandardScaler

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import change_settings
from headclust.model import ClusterModel
from headclust.scoring.metrics import accuracy


def fit(features, n_clusters, *, seed=0, labels=None, **changes):
    recipe = change_settings(PRESETS["kmeans"]["ours"], {"n_clusters": n_clusters, **changes})
    return METHODS["kmeans"]((Features.from_array(features, labels=labels),), recipe, seed)


def centroids_of(result):
    return result.model.heads.centroids[result.model.used_heads[0]].numpy()


def test_several_spaces_stand_side_by_side(halves):
    recipe = change_settings(PRESETS["kmeans"]["ours"], {"n_clusters": 4})
    spaces = tuple(Features.from_array(one.features) for one in halves)
    result = METHODS["kmeans"](spaces, recipe, 0)
    assert accuracy(result.assignments, halves[0].labels) > 0.95
    assert max(accuracy(fit(one.features, 4).assignments, one.labels) for one in halves) < 0.75
    joined = np.concatenate([Normalizer().fit_transform(one.features) for one in halves], axis=1) / 2**0.5
    assert min(result.losses) == pytest.approx(inertia(joined, centroids_of(result)), rel=1e-4)
    again = ClusterModel.from_tensors(result.model.tensors()).assign(*(space.all() for space in spaces))
    assert np.array_equal(again.clusters, result.assignments)


def inertia(points, centroids):
    gaps = points[:, None].astype(np.float64) - centroids[None]
    return float(np.square(gaps).sum(-1).min(1).sum())


@pytest.fixture(scope="module")
def overlapping():
    """Blobs that overlap, so that there are many local optima."""
    generator = np.random.default_rng(3)
    return (
        generator.normal(size=(12, 6))[generator.integers(0, 12, 600)] + generator.normal(size=(600, 6)) * 0.5
    ).astype(np.float32)


@pytest.mark.parametrize(
    ("normalize", "transform"),
    [
        ("l2", lambda x: Normalizer().fit_transform(x)),
        ("none", lambda x: x),
        ("standardize", lambda x: StandardScaler().fit_transform(x)),
    ],
)
@pytest.mark.parametrize("n_clusters", [2, 12])
def test_as_good_as_scikit_learn(overlapping, normalize, transform, n_clusters):
    points = transform(overlapping * 3 + 1)
    result = fit(overlapping * 3 + 1, n_clusters, normalize=normalize)
    expected = KMeans(n_clusters, n_init=10, random_state=0).fit(points).inertia_
    assert min(result.losses) == pytest.approx(inertia(points, centroids_of(result)), rel=1e-4)
    assert min(result.losses) == pytest.approx(expected, rel=0.01)


def test_the_restart_with_the_lowest_inertia_speaks(overlapping):
    result = fit(overlapping, 12)
    assert len(result.losses) == 10
    assert len(set(result.losses)) > 1
    assert result.model.used_heads[0] == int(np.argmin(result.losses))
    assert result.history == [{"restart": i, "inertia": loss} for i, loss in enumerate(result.losses)]


def test_samples_belong_to_the_nearest_centroid(overlapping):
    result = fit(overlapping, 12, normalize="none")
    gaps = np.square(overlapping[:, None].astype(np.float64) - centroids_of(result)[None]).sum(-1)
    assert result.assignments.tolist() == gaps.argmin(1).tolist()
    assert result.head_assignments.shape == (10, 600)
    assert ((result.confidence > 1 / 12) & (result.confidence <= 1)).all()


def test_every_sample_is_used():
    points = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    result = fit(points, 2, normalize="none", tolerance=0.0, n_heads=1)
    means = [points[result.assignments == cluster].astype(np.float64).mean(0) for cluster in (0, 1)]
    np.testing.assert_allclose(centroids_of(result), means, atol=2e-3)


def test_every_sample_is_used_even_with_one_cluster():
    points = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    result = fit(points, 1, normalize="none")
    np.testing.assert_allclose(centroids_of(result), points.astype(np.float64).mean(0, keepdims=True), atol=1e-5)
    assert set(result.assignments.tolist()) == {0}
    assert (result.confidence == 1).all()


@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_as_many_clusters_as_samples(blobs, normalize, capfd):
    result = fit(blobs.features[:20], 20, normalize=normalize)
    assert sorted(result.assignments.tolist()) == list(range(20))
    assert min(result.losses) == pytest.approx(0, abs=1e-3)
    assert np.isfinite(result.confidence).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("distinct", [2, 3])
def test_fewer_distinct_points_than_clusters(blobs, distinct):
    points = np.repeat(blobs.features[:distinct], 9, axis=0)
    result = fit(points, 5)
    assert np.isfinite(result.losses).all()
    assert np.isfinite(result.confidence).all()
    assert result.assignments.tolist() == np.repeat(np.arange(distinct), 9).tolist()


def test_zero_rows(blobs):
    points = blobs.features.copy()
    points[::5] = 0
    result = fit(points, 5)
    assert np.isfinite(result.confidence).all()
    assert len(set(result.assignments[::5].tolist())) == 1


@pytest.mark.usefixtures("two_threads")
def test_repeatable_to_the_bit(overlapping):
    first, second, other = (fit(overlapping, 12, seed=seed) for seed in (4, 4, 5))
    for name, tensor in first.model.tensors().items():
        assert torch.equal(tensor, second.model.tensors()[name])
    assert first.losses == second.losses
    assert np.array_equal(first.head_assignments, second.head_assignments)
    assert first.losses != other.losses


def test_restarts_draw_from_streams_of_their_own(overlapping):
    few, many = fit(overlapping, 12, n_heads=2), fit(overlapping, 12, n_heads=4)
    assert few.losses == pytest.approx(many.losses[:2], rel=1e-6)


def test_labels_change_nothing(blobs):
    with_labels, without = fit(blobs.features, 4, labels=blobs.labels), fit(blobs.features, 4)
    assert torch.equal(with_labels.model.heads.centroids, without.model.heads.centroids)


def test_blobs_are_found(blobs):
    assert accuracy(fit(blobs.features, 4).assignments, blobs.labels) > 0.95


def test_presets():
    (authors,), (ours,) = PRESETS["kmeans"]["authors"], PRESETS["kmeans"]["ours"]
    assert (authors.normalize, authors.n_heads) == ("none", 2)  # methods.md 1c
    assert (ours.normalize, ours.n_heads) == ("l2", 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_clusters", -1), ("n_heads", 0), ("max_iter", 0), ("tolerance", -1e-9), ("tolerance", np.nan)],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(SettingError, match=rf"^{name} is .*: expected "):
        dataclasses.replace(PRESETS["kmeans"]["ours"][0], **{name: value})


def test_an_unknown_normalization(blobs):
    with pytest.raises(SettingError, match="'whiten'"):
        fit(blobs.features, 4, normalize="whiten")


def test_any_number_of_iterations(blobs):
    # Once an OverflowError.
    assert fit(blobs.features, 4, max_iter=10**12).losses == fit(blobs.features, 4, max_iter=10**6).losses
