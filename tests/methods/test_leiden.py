import sys

import numpy as np
import pytest
from conftest import make_blobs

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS, leiden
from headclust.methods.settings import change_settings
from headclust.scoring.metrics import accuracy


def fit(features, n_clusters=4, **changes):
    recipe = change_settings(PRESETS["leiden"]["ours"], {"n_clusters": n_clusters, **changes})
    return METHODS["leiden"]((Features.from_array(features),), recipe, 0)


@pytest.mark.parametrize("n_clusters", [2, 4, 7])
def test_the_resolution_gives_the_wanted_number(n_clusters, capfd):
    result = fit(make_blobs(distance=1.0).features, n_clusters)
    assert len(set(result.assignments.tolist())) == n_clusters
    assert result.losses == [0]
    assert "resolution" not in capfd.readouterr().err


@pytest.mark.parametrize(("expected", "said"), [(2, "vote on the smallest"), (5, "stay empty")])
def test_a_number_that_no_resolution_gives_is_said(expected, said, capfd):
    # One trial at resolution 1: the four blobs.
    features, labels = make_blobs(distance=4.0)
    result = fit(features, expected, trials=1)
    assert f"no resolution tried gives {expected} communities, the nearest 4: " in (told := capfd.readouterr().err)
    assert said in told
    assert result.model.n_clusters == expected
    if expected > 4:
        assert accuracy(result.assignments, labels) == 1


def test_bisection_ends_at_the_nearest_number():
    def communities(resolution):
        return np.arange(20) % max(1, min(20, int(resolution * 3) // 2 * 2 + 1))  # odd numbers only

    assert leiden._search(communities, 7, 40).max() + 1 == 7
    assert leiden._search(communities, 8, 40).max() + 1 in (7, 9)
    assert leiden._search(communities, 1, 40).max() + 1 == 1


@pytest.mark.parametrize("library", ["igraph", "leidenalg"])
def test_a_missing_library_is_one_line(blobs, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingError) as caught:
        fit(blobs.features)
    assert str(caught.value) == f'leiden needs {library}, which is not installed: pip install "headclust[graph]".'
