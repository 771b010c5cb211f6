import numpy as np
import pytest
from conftest import make_blobs

from headclust.errors import DataError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import change_settings
from headclust.scoring.metrics import accuracy


def fit(features, n_clusters=4, **changes):
    recipe = change_settings(PRESETS["hdbscan"]["ours"], {"n_clusters": n_clusters, **changes})
    return METHODS["hdbscan"]((Features.from_array(features),), recipe, 0)


def test_noise_goes_by_the_neighbors(capfd):
    features, labels = make_blobs(400)
    result = fit(features)
    noise = result.history[0]["noise"]
    assert 0 < noise < 400
    assert f"and {noise / 4:.1f} % noise" in capfd.readouterr().err
    assert result.model.heads.features.shape[1] == 400 - noise
    assert accuracy(result.assignments, labels) > 0.9


def test_of_more_clusters_than_wanted_the_largest_are_kept(capfd):
    sizes = [80, 60, 40, 20]
    groups = [np.random.default_rng(p).normal(size=(n, 6)) * 0.2 + 9 * np.eye(6)[p] for p, n in enumerate(sizes)]
    result = fit(np.concatenate(groups), 2)
    assert "finds 4 clusters instead of 2" in capfd.readouterr().err
    assert result.model.n_clusters == 2
    assert result.assignments[:80].tolist() == [0] * 80
    assert result.assignments[80:140].tolist() == [1] * 60


def test_of_fewer_clusters_than_wanted_some_stay_empty(capfd):
    features, labels = make_blobs(200, distance=4.0)
    result = fit(features, 7)
    assert result.model.n_clusters == 7
    assert accuracy(result.assignments, labels) > 0.95
    assert "instead of 7" in capfd.readouterr().err


def test_nothing_dense_enough_is_one_line():
    with pytest.raises(DataError, match="hdbscan finds no cluster of 30 or more among 30 samples"):
        fit(np.random.default_rng(0).normal(size=(30, 5)), 1, smallest=1.0)
