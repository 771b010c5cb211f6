"""Scores of cuts against scikit-learn and brute force."""

import itertools

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.metrics import silhouette_score

from headclust.features.rows import unit_length
from headclust.granularity.cuts import cut, modularity, silhouette, strength


@pytest.fixture(scope="module")
def unit_rows():
    return unit_length(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)))


def test_the_silhouette_is_that_of_scikit_learn(unit_rows):
    clusters = np.random.default_rng(0).integers(0, 4, 60)
    clusters[7] = 4  # alone
    expected = silhouette_score(unit_rows.double().numpy(), clusters, metric="cosine")
    assert silhouette(unit_rows, clusters) == pytest.approx(expected, abs=1e-5)


def test_modularity_is_that_of_its_definition():
    generator = np.random.default_rng(0)
    dense = np.triu(generator.uniform(size=(12, 12)) * (generator.uniform(size=(12, 12)) < 0.4), 1)
    dense += dense.T
    clusters, degrees = generator.integers(0, 3, 12), dense.sum(axis=1)
    expected = sum(
        dense[i, j] / dense.sum() - degrees[i] * degrees[j] / dense.sum() ** 2
        for i, j in itertools.product(range(12), repeat=2)
        if clusters[i] == clusters[j]
    )
    assert modularity(sparse.csr_array(dense), clusters) == pytest.approx(expected)


def test_prediction_strength_counts_pairs_that_stay_together():
    generator = np.random.default_rng(0)
    own, other = generator.integers(0, 3, 30), generator.integers(0, 4, 30)
    shares, sizes = [], []
    for cluster in range(3):
        pairs = list(itertools.combinations(np.flatnonzero(own == cluster), 2))
        shares.append(np.mean([other[i] == other[j] for i, j in pairs]))
        sizes.append((own == cluster).sum())
    chance = np.square(np.bincount(other) / 30).sum()
    expected = (np.average(shares, weights=sizes) - chance) / (1 - chance)
    assert strength(own, other) == pytest.approx(expected)


def test_prediction_strength_is_one_for_the_same_clusters_and_zero_for_chance():
    own = np.random.default_rng(0).integers(0, 5, 2_000)
    assert strength(own, (own + 1) % 5) == 1
    assert abs(strength(own, np.random.default_rng(1).integers(0, 5, 2_000))) < 0.01
    assert strength(own, np.zeros(2_000, np.int64)) == 0
    assert strength(np.arange(4), np.arange(4)) == 0  # no pair


def test_blobs_are_cut_apart(blobs):
    rows = unit_length(torch.tensor(blobs.features))
    cuts = cut(rows, [2, 4, 8, 16], lambda scores: len(scores) == 3, n_neighbors=8, seed=0, tries=2, splits=1)
    pairs = set(zip(cuts.assignments[4].tolist(), blobs.labels.tolist(), strict=True))
    assert len(pairs) == 4
    assert all(len(set(cuts.assignments[count])) == count for count in (2, 4, 8))
    # Halves of the samples have the same four blobs, but cut them into eight in ways of their own.
    assert cuts.scores[4].prediction_strength > 0.9 > cuts.scores[8].prediction_strength
    assert cuts.scores[4].silhouette == max(score.silhouette for score in cuts.scores.values())
