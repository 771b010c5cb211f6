"""Probes of features with labels: reference scores beside a clustering, never part of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.features import Features

_TEMPERATURE = 0.07  # of the kNN votes, as in the evaluation of https://github.com/facebookresearch/dino


def neighbor_purity(features: Features, *, n_neighbors: int = 50) -> float:
    """Share of pairs of a sample and one of its cosine nearest neighbors that have the same label, in [0, 1].

    Args:
        features: Labeled samples; pairs with an unknown label are left out.
        n_neighbors: Neighbors per sample, at most n_samples - 1.
    """
    from headclust.graph.cached import cached_neighbors

    labels = _labels(features)
    graph = cached_neighbors(features, min(n_neighbors, features.n_samples - 1))
    # Labels of the neighbors, (n_samples, k), and the pairs in which both labels are known.
    votes = labels[graph.indices.numpy()]
    counted = (votes >= 0) & (labels >= 0)[:, None]
    same = (votes == labels[:, None]) & counted
    return float(same.sum() / max(1, counted.sum()))


def knn_accuracy(train: Features, test: Features, *, n_neighbors: int = 20) -> float:
    """Accuracy on `test` of a vote of the nearest `train` samples, weighted by exp(cosine similarity / 0.07).

    Args:
        train: Labeled samples that vote.
        test: Labeled samples to classify.
        n_neighbors: Number of voters; all labeled samples in `train` if there are fewer.
    """
    from sklearn.neighbors import KNeighborsClassifier

    x, y = _labeled_rows(train)
    # scikit-learn's cosine distance is 1 - similarity.
    classifier = KNeighborsClassifier(
        min(n_neighbors, len(y)), metric="cosine", weights=lambda d: np.exp((1 - d) / _TEMPERATURE)
    )
    return float(classifier.fit(x, y).score(*_labeled_rows(test)))


def linear_accuracy(train: Features, test: Features) -> float:
    """Accuracy on `test` of a logistic regression (C = 1) on standardized features of `train`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = _labeled_rows(train)
    if len(np.unique(y)) < 2:
        raise DataError(f"{train.path or 'the features'}: one class only: a linear probe needs two.")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000, tol=1e-3))
    return float(probe.fit(x, y).score(*_labeled_rows(test)))


PROBES = {"knn_accuracy": knn_accuracy, "linear_accuracy": linear_accuracy}


def probe(train: Features, test: Features) -> dict[str, float]:
    """Every probe by name: `knn_accuracy` and `linear_accuracy` on `test`, `neighbor_purity` of `train`."""
    scores = {name: accuracy(train, test) for name, accuracy in PROBES.items()}
    return {**scores, "neighbor_purity": neighbor_purity(train)}


def _labels(features: Features) -> NDArray[np.int64]:
    if features.labels is None or not (features.labels >= 0).any():
        raise DataError(f"{features.path or 'the features'}: no labels: probes need them.")
    return features.labels


def _labeled_rows(features: Features) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and labels of the samples with a known label."""
    labels = _labels(features)
    rows = np.flatnonzero(labels >= 0)
    return features.rows(rows).numpy(), labels[rows]
