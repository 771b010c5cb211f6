"""Probes of features with labels: reference scores beside a clustering, never part of one.

Time and memory are bounded: of many samples a random part is used, which a line on stderr and the scores name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.features import Features
from headclust.progress import note

if TYPE_CHECKING:
    import torch

_TEMPERATURE = 0.07  # of the kNN votes, as in the evaluation of https://github.com/facebookresearch/dino
# Samples whose neighbors are searched, among any number of others; of 20,000, a share has a standard error below 0.4 %.
_SEARCHED = 20_000
_FITTED = 100_000  # samples that the linear probe is fitted to


def neighbor_purity(features: Features, *, n_neighbors: int = 50, device: torch.device | None = None) -> float:
    """Share of pairs of a sample and one of its cosine nearest neighbors that have the same label, in [0, 1].

    With more than 20,000 labeled samples, the pairs are those of 20,000 random ones.

    Args:
        features: Labeled samples; pairs with an unknown label are left out.
        n_neighbors: Neighbors per sample, at most n_samples - 1.
        device: Where to search; the CPU by default.
    """
    from headclust.graph.cached import cached_neighbors
    from headclust.graph.neighbors import COLUMNS, nearest_among
    from headclust.graph.unit_rows import UnitRows

    labels, k = _labels(features), min(n_neighbors, features.n_samples - 1)
    samples = _drawn(np.flatnonzero(labels >= 0), _SEARCHED, "neighbor purity: the neighbors of")
    if features.n_samples <= _SEARCHED:
        neighbors = cached_neighbors(features, k, search="exact", device=device).indices.numpy()[samples]
    else:
        rows = UnitRows(features, device=device, rows_per_block=COLUMNS)
        neighbors = nearest_among(rows.take(samples), rows, k, own=samples)[1].numpy()
    # Labels of the neighbors, (n_samples, k), and the pairs in which both labels are known.
    votes = labels[neighbors]
    same = (votes == labels[samples, None]).sum()
    return float(same / max(1, (votes >= 0).sum()))


def knn_accuracy(
    train: Features, test: Features, *, n_neighbors: int = 20, device: torch.device | None = None
) -> float:
    """Accuracy on `test` of a vote of the nearest `train` samples, weighted by exp(cosine similarity / 0.07).

    Args:
        train: Labeled samples that vote.
        test: Labeled samples to classify; of more than 20,000, as many random ones.
        n_neighbors: Number of voters; all labeled samples in `train` if there are fewer.
        device: Where to search; the CPU by default.
    """
    from headclust.graph.neighbors import COLUMNS, nearest_among
    from headclust.graph.unit_rows import UnitRows

    voters, labels = _labeled(train)
    samples = _drawn(np.flatnonzero(_labels(test) >= 0), _SEARCHED, "kNN: the test features are")
    rows = UnitRows(voters, device=device, rows_per_block=COLUMNS)
    scores, neighbors = nearest_among(rows.place(test.rows(samples)), rows, min(n_neighbors, len(labels)))
    classes, votes = np.unique(labels, return_inverse=True)
    # Sum of weights per class, (n_samples, n_classes). A weight relative to that of the nearest does not overflow.
    shares = np.zeros((len(samples), len(classes)))
    weights = np.exp((scores - scores[:, :1]).double().numpy() / _TEMPERATURE)
    np.add.at(shares, (np.arange(len(samples))[:, None], votes[neighbors.numpy()]), weights)
    return float(np.mean(classes[shares.argmax(1)] == _labels(test)[samples]))


def linear_accuracy(train: Features, test: Features, *, device: torch.device | None = None) -> float:
    """Accuracy on `test` of a logistic regression (C = 1) on standardized features of `train`.

    The solver is L-BFGS, as in scikit-learn, in float32.

    Args:
        train: Labeled samples; of more than 100,000, as many random ones are fitted.
        test: Labeled samples to classify.
        device: Where to compute; the CPU by default.
    """
    from headclust.scoring.logistic import fit_logistic

    fitted = _drawn(np.flatnonzero(_labels(train) >= 0), _FITTED, "linear probe: the training features are")
    classes, y = np.unique(_labels(train)[fitted], return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"{train.path or 'the features'}: one class only: a linear probe needs two.")
    predict = fit_logistic(train.rows(fitted), y, len(classes), device=device)
    labeled, labels = _labeled(test)
    predicted = np.concatenate([predict(rows) for rows in labeled.blocks()])
    return float(np.mean(classes[predicted] == labels))


PROBES = {"knn_accuracy": knn_accuracy, "linear_accuracy": linear_accuracy}


def probe(train: Features, test: Features, *, device: torch.device | None = None) -> dict[str, float]:
    """Every probe by name: `knn_accuracy` and `linear_accuracy` on `test`, `neighbor_purity` of `train`.

    Where only a random part of the samples was used, NAME_samples is their number.

    Args:
        train: Labeled samples.
        test: Other labeled samples.
        device: Where to compute; the CPU by default.
    """
    scores = {name: accuracy(train, test, device=device) for name, accuracy in PROBES.items()}
    scores["neighbor_purity"] = neighbor_purity(train, device=device)
    n_train, n_test = (int((_labels(features) >= 0).sum()) for features in (train, test))
    used = {"knn_accuracy": (n_test, _SEARCHED), "linear_accuracy": (n_train, _FITTED)}
    used["neighbor_purity"] = (n_train, _SEARCHED)
    return {**scores, **{f"{name}_samples": most for name, (n_samples, most) in used.items() if n_samples > most}}


def _labels(features: Features) -> NDArray[np.int64]:
    if features.labels is None or not (features.labels >= 0).any():
        raise DataError(f"{features.path or 'the features'}: no labels: probes need them.")
    return features.labels


def _labeled(features: Features) -> tuple[Features, NDArray[np.int64]]:
    """The samples with a known label, and their labels."""
    labels = _labels(features)
    rows = np.flatnonzero(labels >= 0)
    return (features if len(rows) == len(labels) else features.select(rows)), labels[rows]


def _drawn(rows: NDArray[np.int64], most: int, use: str) -> NDArray[np.int64]:
    """The rows, or if there are more than `most`, as many at random, in order; a line on stderr says so."""
    if len(rows) <= most:
        return rows
    note(f"{use} {most:,} of {len(rows):,} labeled samples, drawn at random.")
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
