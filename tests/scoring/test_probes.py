import numpy as np
import pytest

from headclust.errors import DataError
from headclust.features import Features
from headclust.scoring.probes import PROBES, knn_accuracy, linear_accuracy, neighbor_purity, probe


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive_purity(x, labels, k):
    table = unit(x.astype(np.float64)) @ unit(x.astype(np.float64)).T
    np.fill_diagonal(table, -np.inf)
    same = counted = 0
    for row in range(len(x)):
        for other in np.argsort(-table[row])[:k]:
            if labels[row] >= 0 and labels[other] >= 0:
                counted += 1
                same += labels[row] == labels[other]
    return same / counted


def naive_knn(train_x, train_y, test_x, test_y, k):
    table = unit(test_x.astype(np.float64)) @ unit(train_x.astype(np.float64)).T
    hits = 0
    for row in range(len(test_x)):
        votes = np.zeros(train_y.max() + 1)
        for other in np.argsort(-table[row])[:k]:
            votes[train_y[other]] += np.exp(table[row, other] / 0.07)
        hits += votes.argmax() == test_y[row]
    return hits / len(test_x)


@pytest.fixture
def noisy():
    generator = np.random.default_rng(4)
    labels = np.arange(90) % 3
    return (np.eye(3, 5)[labels] + generator.normal(size=(90, 5)) * 0.6).astype(np.float32), labels


@pytest.mark.parametrize("k", [1, 5, 20])
def test_neighbor_purity_is_the_share_of_neighbors_alike(noisy, k):
    x, labels = noisy
    partly = np.where(np.arange(90) % 4 == 0, -1, labels)
    for y in (labels, partly):
        actual = neighbor_purity(Features.from_array(x, labels=y), n_neighbors=k)
        assert actual == pytest.approx(naive_purity(x, y, k))


def test_purity_asks_for_no_more_neighbors_than_there_are(noisy):
    x, labels = noisy
    actual = neighbor_purity(Features.from_array(x[:7], labels=labels[:7]))
    assert actual == pytest.approx(naive_purity(x[:7], labels[:7], 6))


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_accuracy_is_a_weighted_vote(noisy, k):
    x, labels = noisy
    train, test = (Features.from_array(x[part], labels=labels[part]) for part in (slice(0, 60), slice(60, None)))
    expected = naive_knn(x[:60], labels[:60], x[60:], labels[60:], k)
    assert 0.4 < expected < 1
    assert knn_accuracy(train, test, n_neighbors=k) == pytest.approx(expected)


@pytest.mark.parametrize("name", PROBES)
def test_unknown_labels_neither_vote_nor_count(noisy, name):
    x, labels = noisy
    hidden = labels.copy()
    hidden[::3] = -1
    labeled = hidden >= 0
    partly = Features.from_array(x, labels=hidden)
    only = Features.from_array(x[labeled], labels=labels[labeled])
    assert PROBES[name](partly, partly) == PROBES[name](only, only)


@pytest.mark.parametrize("name", PROBES)
def test_blobs_are_separated_and_shuffled_labels_are_not(blobs, name):
    shuffled = np.random.default_rng(0).permutation(blobs.labels)
    for labels, low, high in ((blobs.labels, 0.95, 1.0), (shuffled, 0.0, 0.5)):
        train = Features.from_array(blobs.features[:80], labels=labels[:80])
        test = Features.from_array(blobs.features[80:], labels=labels[80:])
        assert low <= PROBES[name](train, test) <= high


def test_probe_gives_all_of_them(noisy):
    x, labels = noisy
    train, test = (Features.from_array(x[part], labels=labels[part]) for part in (slice(0, 60), slice(60, None)))
    assert probe(train, test) == {
        "knn_accuracy": knn_accuracy(train, test),
        "linear_accuracy": linear_accuracy(train, test),
        "neighbor_purity": neighbor_purity(train),
    }


@pytest.mark.parametrize("labels", [None, np.full(90, -1)])
def test_without_labels(noisy, labels):
    features = Features.from_array(noisy[0], labels=labels)
    for ask in (neighbor_purity, lambda f: knn_accuracy(f, f), lambda f: linear_accuracy(f, f)):
        with pytest.raises(DataError, match="no labels: probes need them"):
            ask(features)


def test_a_single_class_is_a_one_line_error(noisy):
    # Once scikit-learn's ValueError.
    features = Features.from_array(noisy[0], labels=np.zeros(90, np.int64))
    with pytest.raises(DataError, match="one class only"):
        probe(features, features)
