import numpy as np
import pytest
import torch
from conftest import make_blobs
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from headclust import Features
from headclust.errors import FileFormatError
from headclust.runs.novelty import Seen, keep, measure


def features(rows):
    return Features.from_array(np.asarray(rows, np.float32))


def naive_novelty(fitted, new):
    """The definition, by scikit-learn, in float64; of the fitted rows themselves where new is None."""
    total, usual = 0, 0
    for space, rows in enumerate(fitted):
        reference = normalize(rows.astype(float))
        search = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(reference)
        own = search.kneighbors(reference)[0][:, 1:].mean(1)
        distances = own if new is None else search.kneighbors(normalize(new[space].astype(float)), 3)[0].mean(1)
        total, usual = total + distances / own.mean(), usual + own / own.mean()
    return (usual[None] < total[:, None] - 1e-9).sum(1) / (len(fitted[0]) + 1)


@pytest.mark.parametrize("n_spaces", [1, 2])
def test_novelty_equals_the_definition(blobs, n_spaces):
    generator = np.random.default_rng(0)
    new = make_blobs(80, seed=1).features * generator.uniform(0.5, 2, (80, 1)).astype(np.float32)
    second = 100 * generator.normal(size=(12, 5)).astype(np.float32)
    fitted, new_spaces = [blobs.features, blobs.features @ second][:n_spaces], [new, new @ second][:n_spaces]
    seen = keep([features(rows) for rows in fitted], 0)
    # float16 rows may swap two that are next to each other.
    actual = measure(seen, [features(rows) for rows in new_spaces])
    np.testing.assert_allclose(actual, naive_novelty(fitted, new_spaces), atol=2.5 / 121)
    own = measure(seen, [features(rows) for rows in fitted], fitted=True)
    np.testing.assert_allclose(own, naive_novelty(fitted, None), atol=2.5 / 121)
    assert actual.dtype == np.float32
    assert 0 <= actual.min() <= actual.max() < 1


def test_fitted_samples_are_not_compared_with_themselves(blobs):
    fitted = features(blobs.features)
    own = measure(keep([fitted], 0), [fitted], fitted=True)
    np.testing.assert_allclose(np.sort(own), np.arange(120) / 121, atol=1e-6)
    assert measure(keep([fitted], 0), [fitted]).mean() < own.mean()


def test_images_of_the_same_source_have_any_share_alike():
    blobs = make_blobs(2000, seed=1)
    fitted, new = features(blobs.features[:1000]), features(blobs.features[1000:])
    actual = measure(keep([fitted], 0), [new])
    assert stats.kstest(actual, "uniform").pvalue > 0.001
    assert 0 < (actual >= 0.99).mean() < 0.03


def test_images_of_an_unseen_blob_have_a_high_novelty():
    blobs = make_blobs(1000, n_clusters=5, seed=2)
    seen_before = blobs.labels < 4
    fitted, new = features(blobs.features[seen_before][:600]), features(blobs.features)
    actual = measure(keep([fitted], 0), [new])
    late = np.flatnonzero(seen_before)[600:]
    rows = np.concatenate([late, np.flatnonzero(~seen_before)])
    assert roc_auc_score(~seen_before[rows], actual[rows]) > 0.95


def test_of_many_samples_some_are_kept():
    rows = np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)
    many, wide = features(rows), features(np.tile(rows[:400], (1, 5000)))
    reference = keep([many], 3)
    assert len(reference.numbers) == 4096
    assert reference.numbers.tolist() == sorted(set(reference.numbers.tolist()))
    assert all(
        torch.equal(a, b) for a, b in zip(reference.tensors().values(), keep([many], 3).tensors().values(), strict=True)
    )
    assert not torch.equal(reference.numbers, keep([many], 4).numbers)
    np.testing.assert_allclose(reference.rows[0].numpy(), normalize(rows[reference.numbers]), atol=1e-3)
    assert len(keep([wide], 0).numbers) == 256
    # Those that were not reference are measured with the rest.
    own = measure(reference, [many], fitted=True)
    left = np.setdiff1d(np.arange(5000), reference.numbers)
    assert stats.kstest(own[left], "uniform").pvalue > 0.001


@pytest.mark.parametrize("rows", [np.ones((1, 12)), np.ones((2, 12)), np.zeros((9, 12)), np.eye(2, 12)[[0, 1] * 30]])
def test_few_samples_and_samples_that_are_the_same(rows):
    fitted = features(rows)
    for samples, same in ((fitted, True), (features(rows[:1]), False)):
        assert measure(keep([fitted], 0), [samples], fitted=same).tolist() == [0] * samples.n_samples


def test_other_images_than_copies_of_one():
    seen = keep([features(np.ones((200, 12)))], 0)
    assert measure(seen, [features(np.eye(3, 12))]).tolist() == pytest.approx([200 / 201] * 3)


def test_it_comes_back_from_tensors(blobs):
    seen = keep([features(blobs.features), features(blobs.features[:, :5])], 0)
    again = Seen.from_tensors(seen.tensors(), [12, 5], 120)
    new = [features(blobs.features[:7] + 1), features(blobs.features[:7, :5])]
    assert np.array_equal(measure(again, new), measure(seen, new))


@pytest.mark.parametrize(
    ("change", "dims", "n_samples"),
    [
        ({"numbers": torch.arange(119)}, [12], 120),
        ({"numbers": torch.arange(120) - 1}, [12], 120),
        ({"numbers": torch.arange(120).float()}, [12], 120),
        ({"numbers": torch.arange(120)[:, None]}, [12], 120),
        ({"numbers": torch.arange(120).reshape(2, 60)}, [12], 120),
        ({}, [13], 120),
        ({}, [12, 12], 120),
        ({}, [12], 119),
    ],
)
def test_tensors_of_something_else(blobs, change, dims, n_samples):
    tensors = {**keep([features(blobs.features)], 0).tensors(), **change}
    with pytest.raises(FileFormatError, match="the kept samples"):
        Seen.from_tensors(tensors, dims, n_samples)
