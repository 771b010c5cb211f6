import numpy as np
import pytest
from conftest import make_blobs

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import change_settings
from headclust.scoring.metrics import accuracy


def fit(features, n_clusters=4, *, method="umap-kmeans", **changes):
    recipe = change_settings(PRESETS[method]["ours"], {"n_clusters": n_clusters, **changes})
    return METHODS[method]((Features.from_array(features),), recipe, 0)


@pytest.mark.slow
def test_extents_that_k_means_cannot_see_are_found():
    # As in test_gmm.py: in an embedding, extents depend on the number of samples and no longer on distances.
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    spread = np.where(labels, 0.3, 0.02)[:, None]
    points = np.column_stack([generator.normal(size=(400, 2)) * spread + 0.4 * labels[:, None], np.ones(400)])
    reached = accuracy(fit(points, 2).assignments, labels)
    assert reached > 0.93
    assert reached > accuracy(fit(points, 2, method="kmeans").assignments, labels) + 0.05


@pytest.mark.slow
def test_the_restart_of_least_inertia_is_used(blobs):
    result = fit(blobs.features, 9)
    assert len(set(result.losses)) > 1
    assert result.model.used_heads[0] == int(np.argmin(result.losses))
    assert [record["inertia"] for record in result.history] == result.losses


@pytest.mark.slow
def test_fewer_rows_than_neighbors_and_few_columns_are_fitted_without_a_word_of_the_library(capfd):
    features, _ = make_blobs(12)
    result = fit(features[:, :2], 3, dimensions=5)
    assert len(set(result.assignments.tolist())) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert [line[:29] for line in err.splitlines()] == ["warning: n_neighbors is 11, m"]


def test_a_missing_library_is_one_line(blobs, monkeypatch):
    monkeypatch.setattr("headclust.graph.umap.has_umap", lambda: False)
    with pytest.raises(SettingError) as caught:
        fit(blobs.features)
    line = 'umap-kmeans needs umap-learn, which is not installed: pip install "headclust[maps]".'
    assert str(caught.value) == line
