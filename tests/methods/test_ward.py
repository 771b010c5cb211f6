import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

from headclust.features import Features
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import change_settings


def fit(features, n_clusters=4, **changes):
    recipe = change_settings(PRESETS["ward"]["ours"], {"n_clusters": n_clusters, **changes})
    return METHODS["ward"]((Features.from_array(features),), recipe, 0)


@pytest.mark.parametrize("n_clusters", [2, 9])
def test_with_all_samples_as_neighbors_it_is_wards_method(blobs, n_clusters):
    expected = AgglomerativeClustering(n_clusters, linkage="ward").fit_predict(normalize(blobs.features))
    found = fit(blobs.features, n_clusters, n_neighbors=119)
    assert adjusted_rand_score(expected, found.assignments) == pytest.approx(1, abs=0.05)


def test_more_parts_than_clusters_are_joined_at_their_nearest():
    points = np.concatenate([np.random.default_rng(p).normal(size=(30, 8)) * 0.1 + 9 * np.eye(8)[p] for p in range(5)])
    groups = fit(points, 3).assignments.reshape(5, 30)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0].tolist())) == 3


def test_the_loss_falls_with_the_number_of_clusters(blobs):
    losses = [fit(blobs.features, n_clusters).losses[0] for n_clusters in (1, 4, 20, 120)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == 0
