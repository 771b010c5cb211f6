import dataclasses

import numpy as np
import pytest
import torch

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import change_settings
from headclust.scoring.metrics import accuracy


def fit(features, n_clusters=4, *, seed=0, **changes):
    recipe = change_settings(PRESETS["spherical-kmeans"]["ours"], {"n_clusters": n_clusters, **changes})
    return METHODS["spherical-kmeans"]((Features.from_array(features),), recipe, seed)


def spherical(unit, centroids, iterations):
    """A plain loop in float64."""
    for _ in range(iterations):
        nearest = (unit @ centroids.T).argmax(1)
        sums = np.stack([unit[nearest == cluster].sum(0) for cluster in range(len(centroids))])
        centroids = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return centroids, (2 - 2 * (unit @ centroids.T).max(1)).sum()


def test_centroids_are_where_a_plain_loop_leaves_them(blobs):
    result = fit(blobs.features, tolerance=0.0)
    unit = blobs.features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for centroids, loss in zip(result.model.heads.centroids.numpy(), result.losses, strict=True):
        again, inertia = spherical(unit, centroids.astype(np.float64), 3)
        np.testing.assert_allclose(centroids, again, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
        assert loss == pytest.approx(inertia, rel=1e-4)


def test_the_restart_with_the_lowest_inertia_speaks(blobs):
    result = fit(blobs.features, 9)
    assert result.model.used_heads[0] == int(np.argmin(result.losses))
    assert len(set(result.losses)) > 1


def test_length_does_not_matter(blobs):
    lengths = np.random.default_rng(0).uniform(0.1, 10, size=(120, 1))
    stretched = fit((blobs.features * lengths).astype(np.float32))
    assert np.array_equal(stretched.assignments, fit(blobs.features).assignments)


@pytest.mark.parametrize(("n_samples", "n_clusters"), [(1, 1), (20, 1), (20, 20)])
def test_any_number_of_clusters(blobs, n_samples, n_clusters):
    result = fit(blobs.features[:n_samples], n_clusters, n_heads=2)
    assert len(set(result.assignments.tolist())) == n_clusters
    assert np.isfinite(result.confidence).all()


@pytest.mark.usefixtures("two_threads")
def test_repeatable_to_the_bit(blobs):
    first, second = fit(blobs.features, 9, seed=3), fit(blobs.features, 9, seed=3)
    assert torch.equal(first.model.heads.centroids, second.model.heads.centroids)


def test_blobs_are_found(blobs):
    assert accuracy(fit(blobs.features).assignments, blobs.labels) > 0.95


@pytest.mark.parametrize(("name", "value"), [("n_heads", 0), ("max_iter", 0), ("tolerance", np.nan)])
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(SettingError, match=rf"^{name} is .*: expected "):
        dataclasses.replace(PRESETS["spherical-kmeans"]["ours"][0], **{name: value})
