import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from headclust.report.scores import compare
from headclust.scoring.metrics import accuracy, accuracy_majority

CLUSTERS = np.array([2, 2, 2, 5, 5, 5, 5, 7, 7, 0])
LABELS = np.array([1, 1, 0, 0, 0, 0, 3, 3, 3, -1])
NAMES = ("ant", "bee", "cat", "dog")


def test_clusters_against_classes():
    scores = compare(CLUSTERS, LABELS, NAMES)
    assert scores.class_names == ("ant", "bee", "dog")
    assert scores.clusters == (5, 2, 7)
    assert scores.table.tolist() == [[3, 0, 1], [1, 2, 0], [0, 0, 2]]
    assert [(score.name, score.size, score.cluster) for score in scores.classes] == [
        ("ant", 4, 5),
        ("bee", 2, 2),
        ("dog", 3, 7),
    ]
    assert [score.accuracy for score in scores.classes] == pytest.approx([0.75, 1, 2 / 3])
    assert set(scores.confused) == {("ant", "bee", 1), ("dog", "ant", 1)}
    assert scores.n_labeled == 9
    assert scores.majority(2) == ("bee", pytest.approx(2 / 3))
    assert scores.majority(0) is None


@pytest.mark.parametrize(("n_clusters", "n_classes"), [(6, 6), (9, 4), (3, 8)])
def test_the_same_as_the_metrics_and_scikit_learn(n_clusters, n_classes):
    generator = np.random.default_rng(n_clusters)
    labels = generator.integers(0, n_classes, 400)
    clusters = np.where(generator.random(400) < 0.7, labels % n_clusters, generator.integers(0, n_clusters, 400))
    scores = compare(clusters, labels, [f"c{label}" for label in range(n_classes)])
    right = sum(score.accuracy * score.size for score in scores.classes)
    assert right / 400 == pytest.approx(accuracy(clusters, labels))
    size = max(n_clusters, n_classes)
    reference = confusion_matrix(clusters, labels, labels=range(size))
    assert np.array_equal(scores.table, reference[np.array(scores.clusters)][:, :n_classes])
    if n_clusters >= n_classes:
        spare = sum(row.max() for row in scores.table[scores.n_matched :])
        assert (right + spare) / 400 == pytest.approx(accuracy_majority(clusters, labels))


def test_labels_without_names():
    scores = compare(np.array([0, 1]), np.array([3, 12]), ())
    assert scores.class_names == ("3", "12")
