import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from headclust.model import ensemble
from headclust.scoring import metrics


@pytest.mark.parametrize(("losses", "expected"), [([3.0, 1.0, 2.0], 1), ([-1.0], 0), ([2.0, -5.0, -5.0], 1)])
def test_choose_takes_the_lowest_loss_and_the_first_of_ties(losses, expected):
    assert ensemble.choose(losses) == expected
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


def test_a_single_clustering_has_no_agreement():
    assert ensemble.agreement(np.array([[0, 1, 1]]), np.array([0, 1, 1]), 2) is None


SIZES = {"n_samples", "n_clusters", "clusters_used", "largest_share", "entropy", "agreement", "seconds"}


def test_summarize_without_labels():
    heads = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    report = ensemble.summarize(heads, heads[1], 3, seconds=1.23456)
    assert set(report) == SIZES
    assert report["seconds"] == 1.235
    assert (report["n_samples"], report["clusters_used"], report["largest_share"]) == (4, 1, 1.0)
    assert report["agreement"] == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize("labels", [None, np.array([-1, -1, -1, -1])])
def test_unknown_labels_score_nothing(labels):
    heads = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    assert set(ensemble.summarize(heads, heads[0], 3, seconds=1, labels=labels)) == SIZES


def test_labels_score_the_chosen_head():
    heads, labels = np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), np.array([5, 5, 2, -1])
    for chosen in (0, 1):
        report = ensemble.summarize(heads, heads[chosen], 3, seconds=1, labels=labels)
        assert {name: report[name] for name in report.keys() - SIZES} == metrics.score(heads[chosen], labels)


@given(two_clusterings())
def test_an_alignment_is_a_renaming_that_align_applies(case):
    assignments, reference, n_clusters = case
    names = ensemble.alignment(assignments, reference, n_clusters)
    assert sorted(names.tolist()) == list(range(n_clusters))
    assert names.dtype == np.int64
    assert np.array_equal(names[assignments], ensemble.align(assignments, reference, n_clusters))


@st.composite
def neighborhoods(draw):
    n_clusters, size, k = draw(st.integers(1, 6)), draw(st.integers(1, 30)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    neighbors = generator.integers(0, size, size=(size, k)).astype(np.int32)
    return generator.integers(0, n_clusters, size), neighbors, n_clusters


@given(neighborhoods())
def test_neighbor_information_is_scikit_learns_of_all_pairs_both_ways(case):
    assignments, neighbors, _ = case
    own = np.repeat(assignments, neighbors.shape[1])
    others = assignments[neighbors].ravel()
    expected = mutual_info_score(np.concatenate((own, others)), np.concatenate((others, own)))
    assert ensemble.neighbor_information(*case) == pytest.approx(expected, abs=1e-9)


@given(neighborhoods(), st.integers(0, 20))
def test_neighbor_information_has_bounds_and_does_not_look_at_names(case, seed):
    assignments, neighbors, n_clusters = case
    actual = ensemble.neighbor_information(*case)
    assert -1e-12 <= actual <= np.log(n_clusters) + 1e-12
    renamed = np.random.default_rng(seed).permutation(n_clusters)[assignments]
    assert ensemble.neighbor_information(renamed, neighbors, n_clusters) == pytest.approx(actual, abs=1e-12)
    # Clusters that nobody is in change nothing.
    assert ensemble.neighbor_information(assignments, neighbors, n_clusters + 3) == pytest.approx(actual, abs=1e-12)


def test_neighbor_information_by_hand():
    groups = np.repeat(np.arange(4), 5)
    neighbors = np.array([[5 * (row // 5) + (row + 1) % 5] for row in range(20)], dtype=np.int32)
    # Clusters that are the groups, two of the groups as one, and groups cut in two, which neighbors do not tell apart.
    assert ensemble.neighbor_information(groups, neighbors, 4) == pytest.approx(np.log(4))
    assert ensemble.neighbor_information(groups // 2, neighbors, 4) == pytest.approx(np.log(2))
    assert ensemble.neighbor_information(np.zeros(20, np.int64), neighbors, 4) == 0
    halves = np.arange(20) % 5 // 3
    assert ensemble.neighbor_information(halves, neighbors, 2) < 0.1


@st.composite
def several_clusterings(draw):
    n_clusters, size, heads = draw(st.integers(1, 4)), draw(st.integers(1, 15)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return generator.integers(0, n_clusters, size=(heads, size)), n_clusters


def named(assignments, names):
    return np.stack([name[clusters] for name, clusters in zip(names, assignments, strict=True)])


@given(several_clusterings())
def test_common_names_are_the_best_of_all_for_the_majority_they_lead_to(case):
    assignments, n_clusters = case
    names = ensemble.common_names(assignments, n_clusters, start=0)
    renamings = [np.array(renaming) for renaming in itertools.permutations(range(n_clusters))]
    assert all(any(np.array_equal(name, renaming) for renaming in renamings) for name in names)
    renamed = named(assignments, names)
    majority = np.array([np.bincount(votes, minlength=n_clusters).argmax() for votes in renamed.T])
    for clusters, row in zip(assignments, renamed, strict=True):
        assert (row == majority).sum() == max((renaming[clusters] == majority).sum() for renaming in renamings)


@given(several_clusterings(), st.integers(0, 20))
def test_how_the_other_heads_name_their_clusters_does_not_matter(case, seed):
    assignments, n_clusters = case
    generator = np.random.default_rng(seed)
    start = int(generator.integers(len(assignments)))
    renamings = [generator.permutation(n_clusters) for _ in assignments]
    alike = np.stack([renaming[assignments[start]] for renaming in renamings])
    names = ensemble.common_names(alike, n_clusters, start=start)
    assert (named(alike, names) == alike[start]).all()  # all say the same, under the names of the start


def test_common_names_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    heads = np.stack([(truth + shift) % 3 for shift in range(4)])
    heads[0, 0], heads[2, 5], heads[3, 8] = 1, 2, 1
    renamed = named(heads, ensemble.common_names(heads, 3, start=0))
    majority = np.array([np.bincount(votes, minlength=3).argmax() for votes in renamed.T])
    assert np.array_equal(majority, truth)
    assert (renamed != truth).sum(1).tolist() == [1, 0, 1, 1]


def test_common_names_of_many_clusters_agree_more_than_given_names():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 30, size=900)
    heads = np.stack([generator.permutation(30)[truth] for _ in range(6)])
    wrong = generator.random(heads.shape) < 0.3
    heads[wrong] = generator.integers(0, 30, size=wrong.sum())
    renamed = named(heads, ensemble.common_names(heads, 30, start=4))
    majority = np.array([np.bincount(votes, minlength=30).argmax() for votes in renamed.T])
    assert metrics.accuracy(majority, truth) > 0.95
    assert (renamed == majority).mean() > 0.6 > (heads == majority).mean()
