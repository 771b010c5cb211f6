import numpy as np
import pytest
import torch

from headclust import METHODS, PRESETS, load_features
from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import Recipe, clc, gradient, kmeans
from headclust.methods.settings import change_settings, list_settings
from headclust.scoring.metrics import accuracy
from headclust.training.objectives.clc import Clc


@pytest.fixture
def fit(quick):
    def fit_clc(features, n_clusters=4, *, seed=0, labels=None, **changes):
        recipe = change_settings(PRESETS["clc"]["ours"], {"n_clusters": n_clusters, **quick, **changes})
        space = features if isinstance(features, Features) else Features.from_array(features, labels=labels)
        return METHODS["clc"]((space,), recipe, seed)

    return fit_clc


@pytest.fixture
def with_views(write, blobs):
    """The blobs with two cached views: the rows moved a little."""
    moved = blobs.features + np.random.default_rng(5).normal(size=(2, 120, 12)).astype(np.float32) * 0.5
    return load_features(write("views.h5", blobs.features, blobs.labels, views=moved))


def test_it_is_the_training_loop_and_a_recipe():
    assert METHODS["clc"] is gradient.fit
    assert Recipe.of("clc").stages == change_settings(PRESETS["clc"]["ours"], {})


def test_there_is_no_authors_preset_and_it_says_why():
    assert list(PRESETS["clc"]) == ["ours"]
    with pytest.raises(SettingError) as caught:
        Recipe.of("clc", "authors")
    assert str(caught.value) == ("clc has no preset 'authors', as its authors published no code: use ours.")


def test_it_says_that_it_is_a_reconstruction():
    meanings = {setting.name: setting.meaning for setting in list_settings(PRESETS["clc"]["ours"])}
    for text in (clc.__doc__, Clc.__doc__, meanings["positive"]):
        assert "reconstruction" in text


@pytest.mark.usefixtures("two_threads")
def test_repeatable_to_the_bit(fit, blobs):
    first, second, other = (fit(blobs.features, seed=seed) for seed in (4, 4, 5))
    for name, tensor in first.model.tensors().items():
        assert torch.equal(tensor, second.model.tensors()[name])
    assert first.history == second.history
    assert first.history != other.history


def test_labels_change_nothing(fit, blobs):
    assert fit(blobs.features, labels=blobs.labels).history == fit(blobs.features).history


@pytest.mark.parametrize("seed", range(4))
def test_no_collapse_on_blobs(fit, blobs, seed):
    result = fit(blobs.features, seed=seed, length=120, warmup=10)
    assert np.bincount(result.assignments, minlength=4).min() >= 25  # of 30
    # A head may end where two groups share a cluster and one has two, as k-means may. None lets a cluster die.
    for assignments in result.head_assignments:
        assert np.bincount(assignments, minlength=4).min() >= 5
    assert result.history[-1]["category"][result.model.used_heads[0]] > 0.7  # and sure of them: 1/4 is where it started


def test_no_collapse_where_there_is_nothing_to_find(fit):
    noise = np.random.default_rng(3).normal(size=(200, 12)).astype(np.float32)
    result = fit(noise, 5, length=120, warmup=10)
    for assignments in result.head_assignments:
        assert np.bincount(assignments, minlength=5).min() >= 10  # of 40


def test_more_clusters_than_groups_are_all_used(fit, blobs):
    result = fit(blobs.features, 8, length=120, warmup=10)
    assert len(set(result.assignments.tolist())) == 8


def test_blobs_are_found_as_well_as_by_kmeans(fit, blobs):
    result = fit(blobs.features, length=150, warmup=15)
    (lloyd,) = change_settings(kmeans.PRESETS["ours"], {"n_clusters": 4})
    baseline = METHODS["kmeans"]((Features.from_array(blobs.features),), (lloyd,), 0)
    found = accuracy(result.assignments, blobs.labels)
    assert found >= accuracy(baseline.assignments, blobs.labels) - 0.01
    assert found > 0.95


def test_two_augmented_views_as_positives(fit, with_views, blobs, capsys):
    result = fit(with_views, positive="augmented", length=120, warmup=10)
    assert "neighbors stand in" not in capsys.readouterr().err
    assert len(set(result.assignments.tolist())) == 4
    assert accuracy(result.assignments, blobs.labels) > 0.5


def test_without_cached_views_neighbors_stand_in_and_it_says_so(fit, blobs, capsys):
    result = fit(blobs.features, positive="augmented", length=10)
    assert "neighbors stand in for them in clc" in capsys.readouterr().err
    assert np.isfinite(result.losses).all()


def test_the_history_tells_what_each_part_does(fit, blobs):
    for record in fit(blobs.features).history:
        assert all(0.2 <= value <= 1 for value in record["category"])
        assert all(-1 <= value <= 1 for value in record["instance"])


@pytest.mark.parametrize("n_samples", [2, 3, 12])
def test_fewer_images_than_neighbors_or_a_batch(fit, blobs, n_samples):
    result = fit(blobs.features[:n_samples], 2, length=3, warmup=0)
    assert result.head_assignments.shape == (3, n_samples)
    assert np.isfinite(result.losses).all()


def test_a_single_cluster(fit, blobs):
    result = fit(blobs.features, 1)
    assert set(result.assignments.tolist()) == {0}
    assert result.confidence.tolist() == [1.0] * 120


def test_duplicates_and_zero_rows(fit, blobs):
    features = np.repeat(blobs.features[:40], 3, axis=0)
    features[::7] = 0
    result = fit(features)
    assert np.isfinite(result.losses).all()
    assert np.isfinite(result.confidence).all()


def test_heads_without_an_embedding_are_refused_in_one_line(blobs):
    recipe = change_settings(PRESETS["clc"]["ours"], {"n_clusters": 4, "head": "linear", "length": 3})
    with pytest.raises(SettingError, match=r"instance part.*head=mlp"):
        METHODS["clc"]((Features.from_array(blobs.features),), recipe, 0)
