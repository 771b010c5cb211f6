import numpy as np
import pytest

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import change_settings
from headclust.scoring.metrics import accuracy


def fit(features, n_clusters=4, *, seed=0, **changes):
    recipe = change_settings(PRESETS["gmm"]["ours"], {"n_clusters": n_clusters, **changes})
    return METHODS["gmm"]((Features.from_array(features),), recipe, seed)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_blobs_are_found_with_every_covariance(blobs, covariance):
    assert accuracy(fit(blobs.features, covariance=covariance, n_components=4).assignments, blobs.labels) > 0.95


def test_extents_that_k_means_cannot_see_are_found():
    # A small cluster at the edge of a wide one: the nearest centroid gives it half of the other's samples.
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    spread = np.where(labels, 0.3, 0.02)[:, None]
    points = np.column_stack([generator.normal(size=(400, 2)) * spread + 0.4 * labels[:, None], np.ones(400)])
    (lloyd,) = change_settings(PRESETS["kmeans"]["ours"], {"n_clusters": 2})
    baseline = METHODS["kmeans"]((Features.from_array(points),), (lloyd,), 0)
    found = accuracy(fit(points, 2).assignments, labels)
    assert found > 0.95
    assert found > accuracy(baseline.assignments, labels) + 0.05


def test_the_likeliest_restart_speaks(blobs):
    result = fit(blobs.features, 9)
    assert len(set(result.losses)) > 1
    assert result.model.used_heads[0] == int(np.argmin(result.losses))
    assert [record["log_likelihood"] for record in result.history] == [-loss for loss in result.losses]


def test_a_covariance_that_collapses_is_one_line(blobs):
    with pytest.raises(SettingError, match=r"^the mixture cannot be fitted .*: raise ridge") as caught:
        fit(np.repeat(blobs.features[:5], 6, axis=0), 5, covariance="full", ridge=0.0)
    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_covariance():
    with pytest.raises(SettingError, match="covariance is 'round': expected one of full, tied, diag, spherical"):
        change_settings(PRESETS["gmm"]["ours"], {"covariance": "round"})
