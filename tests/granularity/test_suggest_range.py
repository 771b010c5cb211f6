"""Ranges for blobs of a known number, for nothing at all, and at the edges."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_blobs, unit, varied

from headclust import Features
from headclust.errors import FileFormatError
from headclust.features import load_features
from headclust.granularity import Suggestion
from headclust.granularity import suggest as module
from headclust.granularity.space import PairSpace

CPU = torch.device("cpu")


def suggest(*spaces, seed=0):
    return module.suggest(spaces, seed, device=CPU)


def blob_features(n_clusters, n_samples=120, **options):
    made = make_blobs(n_samples, n_clusters, dim=16, **options)
    return Features.from_array(made.features, labels=made.labels)


@pytest.mark.parametrize("n_clusters", [3, 6, 12])
def test_the_number_of_blobs_is_in_the_range(n_clusters):
    made = suggest(blob_features(n_clusters))
    low, high = made.range
    assert low <= n_clusters <= high <= 3 * low
    assert (made.reason, made.n_used) == ("", 120)
    assert [level.n_clusters for level in made.levels][:: len(made.levels) - 1 or 1] == sorted({low, high})
    for level in made.levels:
        assert len(level.groups) == level.n_clusters
        assert sum(group.size for group in level.groups) == 120
        assert [group.size for group in level.groups] == sorted((group.size for group in level.groups), reverse=True)


def test_typical_samples_are_of_their_group():
    features = blob_features(6)
    made = suggest(features)
    (six,) = (level for level in made.levels if level.n_clusters == 6)
    for group in six.groups:
        assert len({features.labels[int(name)] for name in group.typical}) == 1


def noise(n_samples, dim, seed=0):
    """One Gaussian, away from the origin as features of networks are."""
    return Features.from_array(3 + np.random.default_rng(seed).normal(size=(n_samples, dim)).astype(np.float32))


@pytest.mark.parametrize(("n_samples", "dim"), [(20, 50), (120, 16)])
def test_a_single_cloud_has_no_structure(n_samples, dim):
    made = suggest(noise(n_samples, dim))
    assert (made.range, made.levels) == (None, ())
    assert made.reason == "shuffled columns group as well as the images do"
    assert made.curves is not None
    assert made.null is not None


def test_a_seed_repeats_a_suggestion_and_labels_do_not_change_it():
    features = blob_features(5, 60)
    made = suggest(features)
    shuffled = dataclasses.replace(features, labels=np.random.default_rng(0).permutation(features.labels))
    for other in (shuffled, dataclasses.replace(features, labels=None)):
        assert suggest(other).as_json() == made.as_json()
    assert suggest(features, seed=1).as_json() != made.as_json()


@pytest.mark.parametrize("times", [3, 7])
def test_slight_variants_count_once(times, capsys):
    """Once 240 photos, half of them variants, were 10 to 30 groups instead of 2 to 6."""
    generator = np.random.default_rng(0)
    images = 12 * generator.normal(size=(5, 40))[np.arange(100) % 5] + generator.normal(size=(100, 40))
    counts = np.where(np.arange(100) % 3, 1, times)
    once = suggest(Features.from_array(unit(images).astype(np.float32)))
    made = suggest(Features.from_array(varied(images, counts)))
    assert (made.range, made.n_used, made.n_distinct, made.n_samples) == (once.range, 100, 100, counts.sum())
    assert f"{counts.sum() - 100} of {counts.sum()} rows are slight variants of others" in capsys.readouterr().err


def test_copies_count_once(capsys):
    features = blob_features(4, 100)
    made = suggest(features)
    again = suggest(Features.from_array(np.tile(features.all().numpy(), (5, 1))))
    assert (again.n_samples, again.n_distinct, again.n_used) == (500, 100, 100)
    assert again.range == made.range
    assert "400 of 500 rows are copies of others" in capsys.readouterr().err


def test_of_many_rows_a_part_is_drawn(monkeypatch, capsys):
    monkeypatch.setattr(module, "_MOST", 100)
    made = suggest(blob_features(4, 200))
    low, high = made.range
    assert low <= 4 <= high
    assert (made.n_samples, made.n_distinct, made.n_used) == (200, 200, 100)
    assert "looking at 100 of 200 rows, drawn at random." in capsys.readouterr().err


@pytest.mark.parametrize("n_samples", [2, 9])
def test_few_rows_are_too_few(n_samples):
    made = suggest(noise(n_samples, 4))
    assert made.range is None
    assert made.reason == f"{n_samples} different rows are too few: expected at least 10"
    assert made.curves is None


@pytest.mark.parametrize("n_samples", [10, 17])
def test_the_fewest_rows_give_an_answer(n_samples):
    made = suggest(blob_features(2, n_samples, distance=4.0))
    assert made.curves.n_clusters[0] == 2
    assert all(np.isfinite(made.curves.score))
    assert made.range is None or made.range[1] <= n_samples // 3


def test_several_spaces_are_used_together(halves):
    left, right = (Features.from_array(half.features) for half in halves)
    low, high = suggest(left, right).range
    assert low <= 4 <= high


def test_views_are_used(write):
    made, generator = make_blobs(100, 4), np.random.default_rng(0)
    views = made.features + generator.normal(size=(2, *made.features.shape)).astype(np.float32)
    features = load_features(write("views.h5", made.features, views=views))
    space = PairSpace.of(features, 10, CPU)
    assert space.within is not None
    assert PairSpace.of(dataclasses.replace(features, n_views=0), 10, CPU).within is None
    low, high = suggest(features).range
    assert low <= 4 <= high


def test_the_null_has_the_covariance_but_not_the_clusters():
    space = PairSpace.of(blob_features(2, 400, distance=3.0), 10, CPU)
    identity = dataclasses.replace(space, within=torch.zeros(space.rows.shape[1], space.rows.shape[1]))
    assert torch.allclose(identity.whitened().norm(dim=1), torch.ones(400))
    # Two blobs: the first component has two humps, so it has a lower kurtosis (1 for two points) than a Gaussian's 3.
    null = space.shuffled(torch.Generator().manual_seed(0))
    first = np.linalg.svd(null.numpy() - null.numpy().mean(0), full_matrices=False)[0][:, 0]
    real = np.linalg.svd(space.whitened().numpy(), full_matrices=False)[0][:, 0]
    assert (np.mean(real**4) / np.mean(real**2) ** 2) < 1.5
    assert (np.mean(first**4) / np.mean(first**2) ** 2) > 1.9


def test_json_and_back():
    made = suggest(blob_features(4, 40))
    value = made.as_json()
    assert value["structure"] is True
    assert Suggestion.from_json(value).as_json() == value
    for broken in ([], {}, {**value, "format": "other"}, {**value, "range": 3}, {**value, "curves": {"a": 1}}):
        with pytest.raises(FileFormatError, match="no suggestion"):
            Suggestion.from_json(broken)
