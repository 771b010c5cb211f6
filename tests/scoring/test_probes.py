import numpy as np
import pytest
import torch

from headclust.errors import DataError
from headclust.features import Features
from headclust.scoring import logistic, probes
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


@pytest.fixture(scope="module")
def digits():
    """200 samples to learn from and 100 to test on: scikit-learn's digits, as float32, and their classes."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x[:200].astype(np.float32), y[:200]), (x[200:300].astype(np.float32), y[200:300])


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


@pytest.mark.parametrize("logits", [1 << 24, 7])
def test_linear_accuracy_is_that_of_scikit_learn(digits, monkeypatch, logits):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    monkeypatch.setattr(logistic, "_LOGITS", logits)
    (x, y), (other_x, other_y) = digits
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000, tol=1e-3)).fit(x, y)
    train, test = Features.from_array(x, labels=y), Features.from_array(other_x, labels=other_y)
    assert linear_accuracy(train, test) == pytest.approx(reference.score(other_x, other_y), abs=0.011)
    predict = logistic.fit_logistic(train.all(), np.unique(y, return_inverse=True)[1], len(np.unique(y)))
    assert np.mean(predict(test.all()) == reference.predict(other_x)) > 0.97


def test_the_gradient_of_the_logistic_regression(digits):
    (x, y), _ = digits
    rows, labels = torch.from_numpy(x[:40].copy()), torch.from_numpy(y[:40])
    weights = torch.randn(x.shape[1] + 1, 10, generator=torch.Generator().manual_seed(0)) / 50
    expected = weights.clone().requires_grad_()
    logits = rows @ expected[:-1] + expected[-1]
    loss = torch.nn.functional.cross_entropy(logits, labels) + expected[:-1].square().sum() / 2 / 40
    loss.backward()
    weights.grad = torch.full_like(weights, 9.0)
    torch.testing.assert_close(logistic._set_gradient_(weights, rows, labels), loss.detach())
    torch.testing.assert_close(weights.grad, expected.grad)


def test_of_many_samples_a_random_part_is_used_and_said(digits, monkeypatch, capsys):
    (x, y), (other_x, other_y) = digits
    train, test = Features.from_array(x, labels=y), Features.from_array(other_x, labels=other_y)
    whole = probe(train, test)
    assert (set(whole), capsys.readouterr().err) == ({*PROBES, "neighbor_purity"}, "")
    monkeypatch.setattr(probes, "_SEARCHED", 90)
    monkeypatch.setattr(probes, "_FITTED", 150)
    part = probe(train, test)
    assert capsys.readouterr().err.splitlines() == [
        "kNN: the test features are 90 of 100 labeled samples, drawn at random.",
        "linear probe: the training features are 150 of 200 labeled samples, drawn at random.",
        "neighbor purity: the neighbors of 90 of 200 labeled samples, drawn at random.",
    ]
    sizes = {"knn_accuracy_samples": 90, "linear_accuracy_samples": 150, "neighbor_purity_samples": 90}
    assert part == {**{name: pytest.approx(whole[name], abs=0.1) for name in whole}, **sizes}
    assert part == probe(train, test)  # the same samples again


def test_probes_read_rows_in_blocks(digits, monkeypatch):
    (x, y), (other_x, other_y) = digits
    train, test = Features.from_array(x, labels=y), Features.from_array(other_x, labels=other_y)
    whole = probe(train, test)
    monkeypatch.setattr(Features, "all", lambda self: pytest.fail("all rows at once"))
    assert probe(train, test) == whole


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
