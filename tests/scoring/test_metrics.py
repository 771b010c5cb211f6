import itertools
import math
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from headclust.errors import DataError
from headclust.scoring import metrics

EXTERNAL = {
    "nmi": sklearn.metrics.normalized_mutual_info_score,
    "ami": sklearn.metrics.adjusted_mutual_info_score,
    "ari": sklearn.metrics.adjusted_rand_score,
}


@st.composite
def clusterings(draw, max_clusters=5, max_classes=5, least_label=0):
    size = draw(st.integers(1, 30))
    ids = st.lists(st.integers(0, max_clusters - 1), min_size=size, max_size=size)
    labels = st.lists(st.integers(least_label, max_classes - 1), min_size=size, max_size=size)
    return np.array(draw(ids)), np.array(draw(labels))


def best_matching(assignments, labels):
    """Accuracy, and accuracy with majorities, by trying every one-to-one matching of clusters and classes."""
    clusters, classes = np.unique(assignments), np.unique(labels)
    table = np.array([[np.sum((assignments == k) & (labels == c)) for c in classes] for k in clusters])
    size = max(table.shape)
    padded = np.pad(table, ((0, size - len(clusters)), (0, size - len(classes))))
    scores = []
    for order in itertools.permutations(range(size)):
        hits = sum(padded[row, column] for row, column in enumerate(order))
        left = [row for row, column in enumerate(order) if column >= len(classes)]
        scores.append((hits, sum(padded[row].max() for row in left)))
    hits, majorities = max(scores)
    return hits / len(labels), (hits + majorities) / len(labels)


@given(clusterings())
def test_accuracy_is_the_best_of_all_matchings(case):
    assert metrics.accuracy(*case) == pytest.approx(best_matching(*case)[0])


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5)])
def test_clusters_are_matched_one_to_one(shape):
    table = np.random.default_rng(0).integers(0, 9, shape)
    rows, columns = metrics.match_clusters(table)
    assert len(set(rows)) == len(set(columns)) == min(shape)
    assert (np.diff(rows) > 0).all()
    tall = table if shape[0] >= shape[1] else table.T
    matchings = itertools.permutations(range(len(tall)), tall.shape[1])
    assert table[rows, columns].sum() == max(tall[list(m), range(tall.shape[1])].sum() for m in matchings)


@given(clusterings(max_clusters=5, max_classes=3))
def test_accuracy_majority_adds_the_majority_of_clusters_left_over(case):
    assert metrics.accuracy_majority(*case) == pytest.approx(best_matching(*case)[1])


def test_accuracy_majority_does_not_depend_on_the_names_of_clusters():
    # Once 0.55 or 0.64, by which of two equally good matchings came first.
    assignments = np.array([0, 0, 0, 0, 0, 0, 3, 1, 2, 0, 3])
    labels = np.array([0, 0, 1, 3, 3, 3, 3, 0, 1, 1, 3])
    actual = {
        metrics.accuracy_majority(np.array(names)[assignments], labels) for names in itertools.permutations(range(4))
    }
    assert actual == {7 / 11}


@pytest.mark.parametrize("name", EXTERNAL)
@given(case=clusterings())
def test_the_others_are_scikit_learns(name, case):
    assert metrics.METRICS[name](*case) == pytest.approx(EXTERNAL[name](case[1], case[0]), abs=1e-9)


@given(case=clusterings(), seed=st.integers(0, 99))
def test_renaming_clusters_and_classes_changes_nothing(case, seed):
    generator = np.random.default_rng(seed)
    renamed = generator.permutation(9)[case[0]], generator.permutation(9)[case[1]]
    assert metrics.score(*renamed) == pytest.approx(metrics.score(*case), abs=1e-9)


@given(clusterings())
def test_ranges_and_names(case):
    scores = metrics.score(*case)
    overclustered = len(np.unique(case[0])) > len(np.unique(case[1]))
    assert set(scores) == {"accuracy", "nmi", "ami", "ari"} | ({"accuracy_majority"} if overclustered else set())
    assert all(type(value) is float for value in scores.values())
    assert all(0 <= scores[name] <= 1 + 1e-12 for name in scores.keys() - {"ami", "ari"})
    assert all(-1 <= scores[name] <= 1 + 1e-12 for name in ("ami", "ari"))
    assert scores.get("accuracy_majority", 1) >= scores["accuracy"]


@given(clusterings())
def test_majority_equals_accuracy_without_clusters_to_spare(case):
    if len(np.unique(case[0])) <= len(np.unique(case[1])):
        assert metrics.accuracy_majority(*case) == metrics.accuracy(*case)


def test_more_clusters_than_classes_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assignments = np.array([0, 0, 0, 1, 2, 2, 3, 3])
    assert metrics.accuracy(assignments, labels) == 5 / 8
    assert metrics.score(assignments, labels)["accuracy_majority"] == 1.0


@given(clusterings(least_label=-1))
def test_unknown_labels_are_left_out(case):
    assignments, labels = case
    labeled = labels >= 0
    if labeled.any():
        assert metrics.score(assignments, labels) == metrics.score(assignments[labeled], labels[labeled])
    else:
        with pytest.raises(DataError, match="no label is known"):
            metrics.score(assignments, labels)


@given(clusterings())
def test_confusion_is_scikit_learns(case):
    expected = sklearn.metrics.cluster.contingency_matrix(*case)
    assert np.array_equal(metrics.confusion(*case), expected)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((3, 1), (3, 1)), ((0,), (0,))])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(DataError):
        metrics.accuracy(np.zeros(shapes[0], np.int64), np.zeros(shapes[1], np.int64))


def test_a_perfect_clustering_of_many_classes():
    labels = np.arange(300).repeat(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = metrics.score(labels[::-1].copy(), labels[::-1].copy())
    assert scores == pytest.approx(dict.fromkeys(("accuracy", "nmi", "ami", "ari"), 1.0))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(7, 12))
def test_describe(assignments, n_clusters):
    actual = metrics.describe(np.array(assignments), n_clusters)
    shares = np.array([assignments.count(cluster) / len(assignments) for cluster in range(n_clusters)])
    assert actual["n_samples"] == len(assignments)
    assert actual["n_clusters"] == n_clusters
    assert actual["clusters_used"] == len(set(assignments))
    assert actual["largest_share"] == pytest.approx(shares.max())
    assert actual["entropy"] == pytest.approx(scipy.stats.entropy(shares) / math.log(n_clusters), abs=1e-12)


@pytest.mark.parametrize(
    ("assignments", "n_clusters", "entropy"), [([0, 1, 2, 3], 4, 1.0), ([2, 2], 4, 0.0), ([0, 0, 0], 1, 1.0)]
)
def test_describe_at_its_ends(assignments, n_clusters, entropy):
    actual = metrics.describe(np.array(assignments), n_clusters)
    assert actual["entropy"] == pytest.approx(entropy)
    assert math.copysign(1, actual["entropy"]) == 1  # no minus zero in reports


@pytest.mark.parametrize(
    ("described", "starts"),
    [
        ({"clusters_used": 4, "n_clusters": 4, "largest_share": 0.3}, []),
        ({"clusters_used": 3, "n_clusters": 4, "largest_share": 0.74}, ["only 3 of 4 clusters are used"]),
        ({"clusters_used": 10, "n_clusters": 10, "largest_share": 0.3}, []),
        ({"clusters_used": 10, "n_clusters": 10, "largest_share": 0.31}, ["one cluster holds 31.0 % of the samples"]),
        ({"clusters_used": 9, "n_clusters": 10, "largest_share": 0.9}, ["only 9 of 10", "one cluster holds 90.0 %"]),
    ],
)
def test_a_collapse_is_in_the_sizes(described, starts):
    actual = metrics.warnings_of(described)
    assert len(actual) == len(starts)
    assert all(sentence.startswith(start) for sentence, start in zip(actual, starts, strict=True))
