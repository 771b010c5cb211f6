import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclust import ensemble, metrics


@pytest.mark.parametrize(("losses", "wanted"), [([3.0, 1.0, 2.0], 1), ([-1.0], 0), ([2.0, -5.0, -5.0], 1)])
def test_choose_takes_the_lowest_loss_and_the_first_of_equals(losses, wanted):
    assert ensemble.choose(losses) == wanted
    assert type(ensemble.choose(losses)) is int


@st.composite
def two_clusterings(draw):
    n_clusters = draw(st.integers(1, 5))
    size = draw(st.integers(1, 25))
    ids = st.lists(st.integers(0, n_clusters - 1), min_size=size, max_size=size)
    return np.array(draw(ids)), np.array(draw(ids)), n_clusters


@given(two_clusterings())
def test_align_is_the_best_of_all_renamings(case):
    assignments, reference, n_clusters = case
    aligned = ensemble.align(assignments, reference, n_clusters)
    renamings = [np.array(names) for names in itertools.permutations(range(n_clusters))]
    assert any(np.array_equal(names[assignments], aligned) for names in renamings)
    assert (aligned == reference).sum() == max((names[assignments] == reference).sum() for names in renamings)


@given(two_clusterings(), st.integers(0, 20))
def test_a_renamed_clustering_agrees_wholly(case, seed):
    assignments, _, n_clusters = case
    renamed = np.random.default_rng(seed).permutation(n_clusters)[assignments]
    assert np.array_equal(ensemble.align(renamed, assignments, n_clusters), assignments)
    assert ensemble.agreement(np.stack((assignments, renamed)), assignments, n_clusters) == 1.0


def test_agreement_by_hand():
    heads = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]])
    assert ensemble.agreement(heads, heads[0], 2) == pytest.approx((1 + 1 + 0.75) / 3)


def test_a_single_clustering_has_nobody_to_agree_with():
    assert ensemble.agreement(np.array([[0, 1, 1]]), np.array([0, 1, 1]), 2) is None


SIZES = {"n_samples", "n_clusters", "clusters_used", "largest_share", "entropy", "agreement", "seconds"}


def test_summarize_without_labels():
    heads = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    report = ensemble.summarize(heads, 1, 3, seconds=1.23456)
    assert set(report) == SIZES
    assert report["seconds"] == 1.235
    assert (report["n_samples"], report["clusters_used"], report["largest_share"]) == (4, 1, 1.0)
    assert report["agreement"] == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize("labels", [None, np.array([-1, -1, -1, -1])])
def test_unknown_labels_score_nothing(labels):
    heads = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    assert set(ensemble.summarize(heads, 0, 3, seconds=1, labels=labels)) == SIZES


def test_labels_score_the_chosen_head():
    heads, labels = np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), np.array([5, 5, 2, -1])
    for chosen in (0, 1):
        report = ensemble.summarize(heads, chosen, 3, seconds=1, labels=labels)
        assert {name: report[name] for name in report.keys() - SIZES} == metrics.score(heads[chosen], labels)
