"""Features of extreme but finite scale: the groups of ordinary features, or one line."""

import numpy as np
import pytest
import torch
from conftest import make_blobs

from headclust.errors import DataError
from headclust.features import Features
from headclust.methods import METHODS, Recipe
from headclust.model import ClusterModel
from headclust.runs import novelty
from headclust.scoring.metrics import accuracy
from headclust.training.stages import Stage

SCALES = [1e-45, 1e-40, 1e-30, 1e-20, 1e20, 1e30]
NORMALIZATIONS = ["none", "l2", "standardize", "pca"]
SHORT = {"consensus": {"pairs.length": 10, "tries": 1}, "scan": {"self_label.length": 2}, "spectral": {"n_heads": 2}}


def scaled(scale):
    """Three clear groups whose largest value is about `scale` * 100, and their labels."""
    blobs = make_blobs(90, n_clusters=3, dim=8, distance=10)
    return (np.round(blobs.features.astype(np.float64) * 20) * scale / 8).astype(np.float32), blobs.labels


def fit(features, method="kmeans", n_clusters=3, **changes):
    recipe = Recipe.of(method, settings={"n_clusters": n_clusters, **SHORT.get(method, {}), **changes})
    if isinstance(recipe.stages[0], Stage):
        recipe = recipe.changed({"n_heads": 2, "length": 20, "warmup": 1})
    return recipe.fit([Features.from_array(features)], 0)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_kmeans_at_any_scale_with_every_normalization(scale, normalize):
    features, labels = scaled(scale)
    result = fit(features, normalize=normalize)
    assert accuracy(result.assignments, labels) == 1
    again = ClusterModel.from_tensors(result.model.tensors())
    assert again.assign(torch.from_numpy(features)).clusters.tolist() == result.assignments.tolist()


@pytest.mark.parametrize("scale", [1e-40, 1e20])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_at_any_scale(scale, method):
    # A power of two, so that both have the same digits.
    ordinary, _ = scaled(1)
    features = np.ldexp(ordinary, int(np.log2(scale)))
    if scale > 1:
        assert fit(features, method).assignments.tolist() == fit(ordinary, method).assignments.tolist()
    assert np.isfinite(fit(features, method).confidence).all()


def test_ordinary_features_are_left_as_they_are():
    features, _ = scaled(1)
    for normalize in NORMALIZATIONS:
        (transform,) = fit(features, normalize=normalize).model.transforms
        assert transform.power is None
    assert fit(features, normalize="none").model.transforms[0].mean is None


def test_one_huge_constant_column():
    features, labels = scaled(1)
    features[:, 0] = 1e30
    for normalize in ("none", "standardize"):
        assert accuracy(fit(features, normalize=normalize).assignments, labels) == 1
    for method in ("kmeans", "spherical-kmeans", "ward"):
        with pytest.raises(DataError, match=r"all rows point the same way.*--set normalize=none"):
            fit(features, method)


@pytest.mark.parametrize("method", ["kmeans", "spherical-kmeans", "spectral", "ward"])
def test_groups_far_from_the_origin(method):
    # Their cosines are equal up to rounding.
    features, labels = scaled(1)
    assert accuracy(fit(features + np.float32(1e5), method).assignments, labels) == 1


def test_one_huge_row(capfd):
    features, labels = scaled(1)
    features[5] *= 1e25
    assert accuracy(fit(features).assignments, labels) == 1
    assert capfd.readouterr().err == ""
    assert set(fit(features, normalize="none").assignments.tolist()) == {0, 1}
    assert "times as large as the usual row: only it counts" in capfd.readouterr().err


def test_one_huge_column_is_told(capfd):
    features, labels = scaled(1)
    features[:, 2] *= 1e25
    assert accuracy(fit(features, normalize="standardize").assignments, labels) == 1
    assert capfd.readouterr().err == ""
    fit(features, normalize="none")
    assert "warning: column 2 of the features is" in capfd.readouterr().err


def test_novelty_at_any_scale():
    spaces = [Features.from_array(scaled(scale)[0]) for scale in (2.0**-60, 1, 2.0**60)]
    first, *others = [novelty.measure(novelty.keep([space], 0), [space], fitted=True).tolist() for space in spaces]
    assert others == [first, first]
